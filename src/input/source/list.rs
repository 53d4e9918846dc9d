use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::folder::images_in;
use super::{ImageSource, identity_of_files, read};
use crate::error::Result;

/// Image files in the order given, without labels.
///
/// # Examples
/// ```
/// use clip_adapter::input::{ImageList, ImageSource};
///
/// let photos = ImageList::new(["a.jpg", "b.png"]);
/// assert_eq!((photos.len(), photos.label(0)), (2, None));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageList {
    files: Vec<PathBuf>,
}

impl ImageList {
    /// A list of these files; whether they are there shows when they are read.
    pub fn new(files: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        Self { files: files.into_iter().map(Into::into).collect() }
    }

    /// All images in a folder and its sub-folders, whatever they are of, sorted: what [`ImageFolder`](super::ImageFolder)
    /// would take for images.
    ///
    /// # Errors
    /// [`Error::Read`](crate::Error::Read) if a folder cannot be listed.
    pub fn of_folder(root: impl AsRef<Path>) -> Result<Self> {
        Ok(Self { files: images_in(root.as_ref())? })
    }

    /// The files.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }
}

impl ImageSource for ImageList {
    fn len(&self) -> usize {
        self.files.len()
    }

    fn key(&self, index: usize) -> Cow<'_, Path> {
        self.files[index].as_path().into()
    }

    fn bytes(&self, index: usize) -> Result<Vec<u8>> {
        read(&self.files[index])
    }

    fn identity(&self) -> Result<String> {
        identity_of_files(&self.files)
    }
}
