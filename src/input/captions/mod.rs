//! Images with sentences about them: what is written beside each, or all of it in one file.

mod annotations;
mod left_out;
mod records;
mod table;

pub use left_out::{LeftOut, Why, left_out_lines};

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::path::{Component, Path, PathBuf};

use super::source::{files_below, readable};
use super::texts::read_text;
use super::{ImageList, read_texts};
use crate::error::{Error, Result};

/// Images of a folder with one or more captions each, and a list of what was left out of it.
///
/// Captions stand beside the image ([`beside`](Self::beside)) or in one file ([`read`](Self::read)):
///
/// | File | What it holds |
/// | --- | --- |
/// | `photo.txt` beside `photo.jpg` | one caption a line |
/// | `.jsonl`, `.ndjson`, or an array in `.json` | records with an image and a caption, or an array of captions |
/// | `.csv`, `.tsv`, `.txt` with a heading | columns of an image and a caption, by comma, tab or `\|` (Flickr8k, Flickr30k, open_clip) |
/// | `.token`, `.txt` without one | `photo.jpg#0`, a tab, the caption (Flickr8k, Flickr30k) |
/// | `.json` with `images` and `annotations` | COCO's captions: `id` and `file_name`; `image_id` and `caption` |
/// | `.json` with `images` alone | Karpathy's: `filename`, `filepath`, `sentences` with `raw`, `split` |
///
/// In records and headings the image is called `file_name`, `image`, `image_name`, `filename` or `filepath`, and the
/// caption `text`, `caption`, `captions`, `comment` or `title`; `split` is kept where there is one. Images are named
/// relative to the folder. Blanks around a caption are no part of it.
///
/// Images come in the order in which the file first names them (beside: of their paths), and so do the captions of
/// each. Images without a caption, captions without an image, empty captions and lines that are not as the others are
/// in [`left_out`](Self::left_out).
///
/// # Examples
/// ```
/// use clip_adapter::input::{CaptionedImages, Why};
///
/// let folder = tempfile::tempdir().unwrap();
/// let file = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
/// ["a.jpg", "b.jpg", "c.jpg"].map(|name| file(name, ""));
/// file("captions.csv", "image,caption\na.jpg,a cat\na.jpg,\"a cat, asleep\"\nb.jpg,a dog\nd.jpg,a bird\n");
///
/// let photos = CaptionedImages::read(folder.path(), folder.path().join("captions.csv"))?;
/// assert_eq!(photos.images().files().len(), 2);
/// assert_eq!(photos.captions(0), ["a cat", "a cat, asleep"]);
/// let [missing, alone] = photos.left_out() else { panic!("{:?}", photos.left_out()) };
/// assert_eq!((missing.to_string().as_str(), &missing.why), ("line 5: `d.jpg`: a caption without an image", &Why::NoImage));
/// assert_eq!(alone.to_string(), "`c.jpg`: an image without a caption");
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptionedImages {
    images: ImageList,
    captions: Vec<Vec<String>>,
    splits: Vec<Option<String>>,
    left_out: Vec<LeftOut>,
}

impl CaptionedImages {
    /// Takes the captions of every image from the `.txt` beside it, one a line; blank lines are none.
    ///
    /// # Errors
    /// [`Error::Read`] if a folder or file cannot be read; [`Error::Malformed`] if a text is not UTF-8;
    /// [`Error::Data`] if no image has a caption.
    pub fn beside(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let (images, others) = files_below(folder)?;
        let is_text =
            |path: &PathBuf| path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("txt"));
        let texts: BTreeSet<PathBuf> = others.into_iter().filter(is_text).collect();
        let mut found = Collected::of(folder);
        let mut taken = BTreeSet::new();
        for image in images {
            let texts_of = ["txt", "TXT"].map(|ending| image.with_extension(ending));
            let Some(text) = texts_of.into_iter().find(|text| texts.contains(text)) else {
                found.leave_out(named(folder, &image), Why::NoCaption);
                continue;
            };
            let captions = read_texts(&text)?;
            let before = found.files.len();
            for caption in captions.iter().map(|line| line.trim()).filter(|line| !line.is_empty()) {
                found.add(image.clone(), caption, None);
            }
            if found.files.len() == before {
                found.leave_out(named(folder, &text), Why::EmptyCaption);
            }
            taken.insert(text);
        }
        for text in texts.difference(&taken) {
            found.leave_out(named(folder, text), Why::NoImage);
        }
        found.finish()
    }

    /// Takes the captions from a file of one of the kinds above, whose images are in `folder` and those below it.
    ///
    /// # Errors
    /// [`Error::Read`] if it cannot be read; [`Error::Malformed`], with the line or entry, if it is not UTF-8, of none
    /// of these kinds, or nothing in it is as it should be; [`Error::Data`] if no image has a caption.
    pub fn read(folder: impl AsRef<Path>, file: impl AsRef<Path>) -> Result<Self> {
        let (folder, file) = (folder.as_ref(), file.as_ref());
        let text = read_text(file)?;
        let ending = file.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        let entries = match ending.as_deref() {
            Some("json") => match text.trim_start().starts_with('[') {
                true => records::array(file, &text)?,
                false => annotations::read(file, &text)?,
            },
            Some("jsonl" | "ndjson") => records::lines(&text),
            _ => table::read(file, &text)?,
        };
        let mut found = Collected::of(folder);
        for entry in entries.iter() {
            let Entry { place, content } = entry;
            match content {
                Ok(row) => found.take(*place, row),
                Err(why) => found.leave_out(place.to_string(), why.clone()),
            }
        }
        if let (None, Some(Entry { place, content: Err(Why::Unreadable { expected, found }) })) =
            (entries.iter().find(|entry| entry.content.is_ok()), entries.first())
        {
            return Err(Error::malformed(file, place, expected, found));
        }
        let (images, _) = files_below(folder)?;
        let alone: Vec<&PathBuf> =
            images.iter().filter(|image| !found.mentioned.contains_key(*image)).collect();
        for image in alone {
            found.leave_out(named(folder, image), Why::NoCaption);
        }
        found.finish()
    }

    /// The images, in order.
    pub fn images(&self) -> &ImageList {
        &self.images
    }

    /// The captions of an image, in order; never none.
    ///
    /// # Panics
    /// If there is no such image.
    pub fn captions(&self, image: usize) -> &[String] {
        &self.captions[image]
    }

    /// Which part of a data set an image belongs to, where the file says so.
    ///
    /// # Panics
    /// If there is no such image.
    pub fn split(&self, image: usize) -> Option<&str> {
        self.splits[image].as_deref()
    }

    /// Everything that is no part of this: lines in their order, and then images.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }
}

/// Where in a file something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Line(u64),
    Entry(&'static str, usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Entry(list, at) => write!(f, "{list}[{at}]"),
        }
    }
}

/// What one line or entry says of an image, or what is wrong with it.
#[derive(Debug)]
struct Entry {
    place: Place,
    content: std::result::Result<Row, Why>,
}

#[derive(Debug, PartialEq)]
struct Row {
    image: String,
    captions: Vec<String>,
    split: Option<String>,
}

/// What becomes [`CaptionedImages`].
struct Collected<'a> {
    folder: &'a Path,
    mentioned: HashMap<PathBuf, Option<usize>>,
    files: Vec<PathBuf>,
    captions: Vec<Vec<String>>,
    splits: Vec<Option<String>>,
    left_out: Vec<LeftOut>,
}

impl<'a> Collected<'a> {
    fn of(folder: &'a Path) -> Self {
        Self {
            folder,
            mentioned: HashMap::new(),
            files: Vec::new(),
            captions: Vec::new(),
            splits: Vec::new(),
            left_out: Vec::new(),
        }
    }

    fn leave_out(&mut self, what: String, why: Why) {
        self.left_out.push(LeftOut { what, why });
    }

    fn take(&mut self, place: Place, row: &Row) {
        let file = match within(&row.image).map(|relative| self.folder.join(relative)) {
            Some(file) if self.mentioned.contains_key(&file) || file.is_file() => file,
            _ => return self.leave_out(format!("{place}: `{}`", row.image), Why::NoImage),
        };
        self.mentioned.entry(file.clone()).or_insert(None);
        let captions = row.captions.iter().map(|caption| caption.trim());
        let whole: Vec<&str> = captions.filter(|caption| !caption.is_empty()).collect();
        if whole.len() < row.captions.len() || whole.is_empty() {
            self.leave_out(format!("{place}: `{}`", row.image), Why::EmptyCaption);
        }
        for caption in whole {
            self.add(file.clone(), caption, row.split.as_deref());
        }
    }

    fn add(&mut self, file: PathBuf, caption: &str, split: Option<&str>) {
        let at = match self.mentioned.get(&file) {
            Some(Some(at)) => *at,
            _ => {
                let at = self.files.len();
                self.mentioned.insert(file.clone(), Some(at));
                self.files.push(file);
                self.captions.push(Vec::new());
                self.splits.push(split.map(str::to_owned));
                at
            }
        };
        self.captions[at].push(caption.to_owned());
    }

    fn finish(self) -> Result<CaptionedImages> {
        if self.files.is_empty() {
            let lines = left_out_lines(&self.left_out).join("; ");
            let found = if lines.is_empty() { "no image".to_owned() } else { lines };
            return Err(Error::data(readable(self.folder), "an image with a caption", found));
        }
        let Self { files, captions, splits, left_out, .. } = self;
        Ok(CaptionedImages { images: ImageList::new(files), captions, splits, left_out })
    }
}

/// A path as a person knows it: relative to the folder.
fn named(folder: &Path, path: &Path) -> String {
    format!("`{}`", readable(path.strip_prefix(folder).unwrap_or(path)))
}

/// A relative path that does not lead out of where it starts.
fn within(name: &str) -> Option<PathBuf> {
    let mut path = PathBuf::new();
    for part in Path::new(name.trim()).components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            _ => return None,
        }
    }
    (!path.as_os_str().is_empty()).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leads_out_of_the_folder_is_none() {
        assert_eq!(within("./a/b.jpg"), Some(PathBuf::from("a/b.jpg")));
        for name in ["../a.jpg", "a/../../b.jpg", "/etc/passwd", "", "."] {
            assert_eq!(within(name), None, "{name}");
        }
    }
}
