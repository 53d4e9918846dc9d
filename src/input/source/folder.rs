use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

use super::{ImageSource, identity_of_files, read};
use crate::error::{Error, Result};

/// Endings of the files that are taken for images; what they are is then decided by their content.
const ENDINGS: [&str; 8] = ["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"];

/// Labelled image files: one sub-folder a class.
///
/// Classes and files are in alphabetical order, whatever order the file system has.
///
/// # Examples
/// ```
/// use clip_adapter::input::ImageFolder;
///
/// let root = tempfile::tempdir().unwrap();
/// for (class, file) in [("dog", "a.jpg"), ("cat", "b.png"), ("cat", "notes.txt")] {
///     std::fs::create_dir_all(root.path().join(class)).unwrap();
///     std::fs::write(root.path().join(class).join(file), []).unwrap();
/// }
/// let photos = ImageFolder::open(root.path())?;
/// assert_eq!(photos.class_names(), ["cat", "dog"]);
/// assert_eq!((photos.files().len(), photos.labels()), (2, &[0, 1][..]));
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFolder {
    class_names: Vec<String>,
    files: Vec<PathBuf>,
    labels: Vec<usize>,
}

impl ImageFolder {
    /// Lists the images of every sub-folder.
    ///
    /// # Errors
    /// [`Error::Read`] if a folder cannot be listed; [`Error::Data`] if there is no class or no image.
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        let root = root.as_ref();
        let mut folder = Self { class_names: Vec::new(), files: Vec::new(), labels: Vec::new() };
        for path in sorted(root)?.into_iter().filter(|path| path.is_dir()) {
            let label = folder.class_names.len();
            folder.class_names.push(path.file_name().unwrap_or_default().to_string_lossy().into_owned());
            let images = sorted(&path)?.into_iter().filter(|path| is_image(path));
            folder.files.extend(images);
            folder.labels.resize(folder.files.len(), label);
        }
        if folder.files.is_empty() {
            let expected = "a sub-folder of images for each class";
            return Err(Error::data(root.display().to_string(), expected, "no image"));
        }
        Ok(folder)
    }

    /// Gives the classes other names, such as `river boat` where the folder is `river_boat`.
    pub fn map_class_names(mut self, name: impl FnMut(&str) -> String) -> Self {
        self.class_names = self.class_names.iter().map(String::as_str).map(name).collect();
        self
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

fn sorted(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |source| Error::read(folder, source);
    let entries = fs::read_dir(folder).map_err(failed)?;
    let mut paths =
        entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>().map_err(failed)?;
    paths.sort();
    Ok(paths)
}

fn is_image(path: &Path) -> bool {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str())) && path.is_file()
}
