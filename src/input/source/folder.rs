use std::borrow::Cow;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use image::ImageFormat;

use super::{ImageSource, identity_of_files, read, readable};
use crate::error::{Error, Result};

/// Endings of the files that are taken for images; what they are is then decided by their content.
const ENDINGS: [&str; 12] =
    ["jpg", "jpeg", "jpe", "jfif", "pjpeg", "pjp", "png", "webp", "gif", "bmp", "tif", "tiff"];

/// What programs leave in a data set beside hidden folders: thumbnails of a NAS, the other half of a Mac's archive,
/// what was deleted.
const TOOLS: [&str; 8] = [
    "__MACOSX",
    "__pycache__",
    "@eaDir",
    "@Recycle",
    "#recycle",
    "$RECYCLE.BIN",
    "System Volume Information",
    "lost+found",
];

/// What the parts of a data set are called.
const SPLITS: [&str; 3] = ["train", "val", "test"];

/// Classes that an error names.
const NAMED: usize = 4;

/// Labelled image files: one sub-folder a class.
///
/// A class is a sub-folder of the root, and its images are those in it and in its own sub-folders, as torchvision's
/// `ImageFolder` has it; files straight in the root belong to none. Classes and files are in alphabetical order,
/// whatever order the file system has. Hidden folders and files, those of tools such as `__MACOSX` and `@eaDir`, and
/// links that lead back to a folder above are left out. An image is a file that ends as one (`.jpg`, `.jpeg`, `.jpe`,
/// `.jfif`, `.pjpeg`, `.pjp`, `.png`, `.webp`, `.gif`, `.bmp`, `.tif`, `.tiff`, in any case), or one without an ending
/// that begins as one.
///
/// # Examples
/// ```
/// use clip_adapter::input::ImageFolder;
///
/// let root = tempfile::tempdir().unwrap();
/// for (class, file) in [("dog", "a.jpg"), ("cat", "b.png"), ("cat/kittens", "c.jfif"), ("cat", "notes.txt")] {
///     std::fs::create_dir_all(root.path().join(class)).unwrap();
///     std::fs::write(root.path().join(class).join(file), []).unwrap();
/// }
/// let photos = ImageFolder::open(root.path())?;
/// assert_eq!(photos.class_names(), ["cat", "dog"]);
/// assert_eq!((photos.files().len(), photos.labels()), (3, &[0, 0, 1][..]));
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFolder {
    class_names: Vec<String>,
    files: Vec<PathBuf>,
    labels: Vec<usize>,
}

impl ImageFolder {
    /// Lists the images of every class.
    ///
    /// # Errors
    /// [`Error::Read`] if a folder cannot be listed; [`Error::Data`] if a class has no image, there is no class, or
    /// the sub-folders are the splits of a data set ([`splits`](Self::splits)).
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        let root = root.as_ref();
        let (folder, empty) = Self::list(root, classes(root)?)?;
        match empty.first() {
            None => Ok(folder),
            Some(_) => Err(Error::data(readable(root), "an image in each class", without_image(&empty))),
        }
    }

    /// As [`open`](Self::open), but a class without an image is left out: the second value says which.
    ///
    /// # Errors
    /// As [`open`](Self::open) for all else.
    pub fn open_leaving_out(root: impl AsRef<Path>) -> Result<(Self, Vec<String>)> {
        let root = root.as_ref();
        let (folder, empty) = Self::list(root, classes(root)?)?;
        Ok((folder, empty.into_iter().map(|class| class.name).collect()))
    }

    /// The splits of a data set, `train`, `val` and `test`, each with the folder of its classes; none if the
    /// sub-folders are classes themselves.
    ///
    /// Such names are splits where no other sub-folder holds an image and they have sub-folders that do. So a class
    /// may be called `train`.
    ///
    /// # Errors
    /// [`Error::Read`] if a folder cannot be listed.
    pub fn splits(root: impl AsRef<Path>) -> Result<Vec<(&'static str, PathBuf)>> {
        let classes = classes(root.as_ref())?;
        let named = |split: &'static str| {
            let class = classes.iter().find(|class| class.name == split);
            class.map(|class| (split, class.path.clone()))
        };
        Ok(match are_splits(&classes) {
            true => SPLITS.into_iter().filter_map(named).collect(),
            false => Vec::new(),
        })
    }

    /// The classes that have an image, and those that have none.
    fn list(root: &Path, classes: Vec<Class>) -> Result<(Self, Vec<Class>)> {
        if are_splits(&classes) {
            let names: Vec<&str> = classes.iter().map(|class| class.name.as_str()).collect();
            let found = format!("the splits {} of a data set: open one of them", names.join(", "));
            return Err(Error::data(readable(root), "a sub-folder of images for each class", found));
        }
        let (present, empty): (Vec<_>, Vec<_>) =
            classes.into_iter().partition(|class| !class.images.is_empty());
        if present.is_empty() {
            let found = if empty.is_empty() { "no sub-folder".into() } else { without_image(&empty) };
            return Err(Error::data(readable(root), "a sub-folder of images for each class", found));
        }
        let mut folder = Self { class_names: Vec::new(), files: Vec::new(), labels: Vec::new() };
        for class in present {
            let label = folder.class_names.len();
            folder.class_names.push(class.name);
            folder.files.extend(class.images);
            folder.labels.resize(folder.files.len(), label);
        }
        Ok((folder, empty))
    }

    /// Gives the classes other names, such as `river boat` where the folder is `river_boat`.
    pub fn map_class_names(mut self, name: impl FnMut(&str) -> String) -> Self {
        self.class_names = self.class_names.iter().map(String::as_str).map(name).collect();
        self
    }

    /// The same without some classes and their images.
    pub fn retain_classes(self, mut keep: impl FnMut(&str) -> bool) -> Self {
        let mut folder = Self { class_names: Vec::new(), files: Vec::new(), labels: Vec::new() };
        let labels: Vec<Option<usize>> = (self.class_names.into_iter())
            .map(|name| {
                keep(&name).then(|| {
                    folder.class_names.push(name);
                    folder.class_names.len() - 1
                })
            })
            .collect();
        for (file, label) in self.files.into_iter().zip(self.labels) {
            if let Some(label) = labels[label] {
                folder.files.push(file);
                folder.labels.push(label);
            }
        }
        folder
    }

    /// The classes' names, in label order: the sub-folders', unless they were mapped.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// The image files.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// One class index a file.
    pub fn labels(&self) -> &[usize] {
        &self.labels
    }
}

impl ImageSource for ImageFolder {
    fn len(&self) -> usize {
        self.files.len()
    }

    fn key(&self, index: usize) -> Cow<'_, Path> {
        self.files[index].as_path().into()
    }

    fn bytes(&self, index: usize) -> Result<Vec<u8>> {
        read(&self.files[index])
    }

    fn label(&self, index: usize) -> Option<usize> {
        Some(self.labels[index])
    }

    fn class_names(&self) -> &[String] {
        &self.class_names
    }

    fn identity(&self) -> Result<String> {
        identity_of_files(&self.files)
    }
}

/// A sub-folder, and what it holds.
#[derive(Debug, Default)]
struct Class {
    name: String,
    path: PathBuf,
    images: Vec<PathBuf>,
    /// Files that are no images, and the first of them.
    others: usize,
    other: Option<PathBuf>,
}

/// The sub-folders of a folder that are no tool's.
fn classes(root: &Path) -> Result<Vec<Class>> {
    let mut classes = Vec::new();
    for path in visible(root)?.into_iter().filter(|path| path.is_dir()) {
        let name = readable(path.file_name().unwrap_or_default());
        let mut class = Class { name, path: path.clone(), ..Class::default() };
        class.fill(&path)?;
        classes.push(class);
    }
    Ok(classes)
}

impl Class {
    /// Takes in a folder and those within it.
    fn fill(&mut self, folder: &Path) -> Result<()> {
        for path in visible(folder)? {
            if path.is_dir() {
                if !leads_back(&path, folder) {
                    self.fill(&path)?;
                }
            } else if is_image(&path) {
                self.images.push(path);
            } else {
                self.others += 1;
                self.other.get_or_insert(path);
            }
        }
        Ok(())
    }

    /// Whether an image of it is in a sub-folder.
    fn is_above_its_images(&self) -> bool {
        self.images.iter().any(|image| image.parent() != Some(self.path.as_path()))
    }
}

/// All images in a folder and its sub-folders.
pub(super) fn images_in(root: &Path) -> Result<Vec<PathBuf>> {
    Ok(files_below(root)?.0)
}

fn are_splits(classes: &[Class]) -> bool {
    let mut present = classes.iter().filter(|class| !class.images.is_empty()).peekable();
    present.peek().is_some()
        && present.clone().all(|class| SPLITS.contains(&class.name.as_str()))
        && present.any(Class::is_above_its_images)
}

/// Which classes have no image, and what they hold instead.
fn without_image(empty: &[Class]) -> String {
    let one = |class: &Class| match &class.other {
        None => format!("`{}`", class.name),
        Some(other) => {
            let name = readable(other.file_name().unwrap_or_default());
            let files = if class.others == 1 { "file" } else { "files" };
            format!("`{}` ({} {files}, such as {name})", class.name, class.others)
        }
    };
    let mut names: Vec<String> = empty.iter().take(NAMED).map(one).collect();
    if let more @ 1.. = empty.len().saturating_sub(NAMED) {
        names.push(format!("{more} more"));
    }
    format!("none in {}", names.join(", "))
}

/// Every image in a folder and those below it, in order of their paths, and every file that is none.
pub(in crate::input) fn files_below(root: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let (mut images, mut others, mut folders) = (Vec::new(), Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for path in visible(&folder)? {
            match path.is_dir() {
                true if leads_back(&path, &folder) => {}
                true => folders.push(path),
                false if is_image(&path) => images.push(path),
                false => others.push(path),
            }
        }
    }
    images.sort();
    others.sort();
    Ok((images, others))
}

/// What a folder holds for a person to see, sorted.
fn visible(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |source| Error::read(folder, source);
    let entries = fs::read_dir(folder).map_err(failed)?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>();
    let mut paths = paths.map_err(failed)?;
    paths.retain(|path| {
        let name = path.file_name().unwrap_or_default();
        !name.as_encoded_bytes().starts_with(b".") && !TOOLS.iter().any(|tool| name == *tool)
    });
    paths.sort();
    Ok(paths)
}

/// Whether a sub-folder is a link to a folder that it is in.
fn leads_back(path: &Path, folder: &Path) -> bool {
    path.is_symlink()
        && match (path.canonicalize(), folder.canonicalize()) {
            (Ok(target), Ok(folder)) => folder.starts_with(target),
            _ => true,
        }
}

/// A link to nothing that is called as an image counts, so that reading it says so.
fn is_image(path: &Path) -> bool {
    match path.extension() {
        Some(ending) => {
            let ending = ending.to_string_lossy().to_lowercase();
            ENDINGS.contains(&ending.as_str()) && !path.is_dir()
        }
        None => path.is_file() && begins_as_image(path),
    }
}

fn begins_as_image(path: &Path) -> bool {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
    let mut start = [0; 16];
    let read = File::open(path).and_then(|mut file| file.read(&mut start));
    let format = read.ok().and_then(|length| image::guess_format(&start[..length]).ok());
    format.is_some_and(|format| [Bmp, Gif, Jpeg, Png, Tiff, WebP].contains(&format))
}
