//! Where images come from: folders, lists, and whatever a user writes.

mod folder;
mod list;
mod name;

pub use folder::ImageFolder;
pub use list::ImageList;
pub use name::readable;

pub(super) use folder::files_below;

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};

use super::decode::read;
use crate::error::{Error, Result};
use crate::fingerprint::short_hex;

/// A list of images that can be read one by one, from several threads: a folder, a list of files, a database.
///
/// # Examples
/// Images in memory, which is what a database or an archive gives:
/// ```
/// use std::{borrow::Cow, path::Path};
/// use clip_adapter::{ClipBackbone, Result, burn::tensor::Device, input::ImageSource};
///
/// struct Uploads(Vec<(String, Vec<u8>)>);
///
/// impl ImageSource for Uploads {
///     fn len(&self) -> usize {
///         self.0.len()
///     }
///     fn key(&self, index: usize) -> Cow<'_, Path> {
///         Path::new(&self.0[index].0).into()
///     }
///     fn bytes(&self, index: usize) -> Result<Vec<u8>> {
///         Ok(self.0[index].1.clone())
///     }
/// }
///
/// let image = std::fs::read("tests/golden/images/alpha.png").unwrap();
/// let clip = ClipBackbone::from_pretrained("tests/golden/hf_gelu_patch14", &Device::flex())?;
/// let extracted = clip.extract().run(&Uploads(vec![("a cat".into(), image)]))?;
/// assert_eq!(extracted.keys, [Path::new("a cat")]);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
pub trait ImageSource: Sync {
    /// The number of images.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What an image is called: its path, or a key that the user knows it by. No two have the same.
    ///
    /// # Panics
    /// If `index` is not below [`len`](Self::len), as the other functions may.
    fn key(&self, index: usize) -> Cow<'_, Path>;

    /// The bytes of an image, still encoded.
    ///
    /// # Errors
    /// [`Error::Read`] or another that names it.
    fn bytes(&self, index: usize) -> Result<Vec<u8>>;

    /// The class of an image, an index into [`class_names`](Self::class_names); none where it is not known.
    fn label(&self, _index: usize) -> Option<usize> {
        None
    }

    /// The classes' names, in label order.
    fn class_names(&self) -> &[String] {
        &[]
    }

    /// What tells this list from others: features that are kept of another list are not used for this one.
    ///
    /// By default a digest of the keys of the images. A source whose images can change under their keys should
    /// say so here, as those of files do with the length and the time of the last change of each.
    ///
    /// # Errors
    /// [`Error::Read`] if an image that is listed is gone.
    fn identity(&self) -> Result<String> {
        let mut hash = Sha256::new();
        for index in 0..self.len() {
            add_text(&mut hash, &self.key(index).to_string_lossy());
        }
        Ok(short_hex(hash))
    }
}

fn add_text(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text.as_bytes());
}

/// A digest of each file's place, length and time of its last change. Places are relative to
/// the folder that holds them all, so that a list is the same wherever that folder is mounted.
fn identity_of_files(files: &[PathBuf]) -> Result<String> {
    let root = common_folder(files);
    let mut hash = Sha256::new();
    for file in files {
        let metadata = fs::metadata(file).map_err(|source| Error::read(file, source))?;
        add_text(&mut hash, &file.strip_prefix(root).unwrap_or(file).to_string_lossy());
        let changed = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        hash.update(metadata.len().to_le_bytes());
        hash.update(changed.map_or(0u128, |time| time.as_nanos()).to_le_bytes());
    }
    Ok(short_hex(hash))
}

/// The deepest folder above all files.
fn common_folder(files: &[PathBuf]) -> &Path {
    let mut root = files.first().and_then(|file| file.parent()).unwrap_or(Path::new(""));
    for file in files {
        while !file.starts_with(root) {
            root = root.parent().unwrap_or(Path::new(""));
        }
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_the_same_wherever_it_is_mounted() {
        let files = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(common_folder(&files(&["/a/b/cat/1.jpg", "/a/b/dog/2.jpg"])), Path::new("/a/b"));
        assert_eq!(common_folder(&files(&["cat/1.jpg", "dog/2.jpg"])), Path::new(""));
        assert_eq!(common_folder(&files(&["/a/1.jpg", "b/2.jpg"])), Path::new(""));
        assert_eq!(common_folder(&[]), Path::new(""));

        let identity_in = |root: &Path, name: &str| {
            let path = root.join("cat").join(name);
            fs::create_dir_all(root.join("cat")).unwrap();
            let file = fs::File::create(&path).unwrap();
            file.set_modified(UNIX_EPOCH).unwrap();
            ImageList::new([path]).identity().unwrap()
        };
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert_eq!(identity_in(here.path(), "1.jpg"), identity_in(there.path(), "1.jpg"));
        assert_ne!(identity_in(here.path(), "1.jpg"), identity_in(there.path(), "2.jpg"));
    }
}
