//! What a store is of.

use std::{
    fs,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{ClipBackbone, Error, Result, archive::write_atomically, fingerprint::short_hex};

/// The format that a store's manifest declares.
const FORMAT: &str = "clip-store/1";

/// Identifies the features of a store: other features have another manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    pub format: String,
    /// Names weights, activation and preprocessing.
    pub backbone: String,
    /// How many images, and a digest of the list.
    pub images: String,
    pub dim: usize,
    pub batch: usize,
    pub shard: usize,
}

impl Manifest {
    pub fn new(clip: &ClipBackbone, files: &[PathBuf], batch: usize, shard: usize) -> Result<Self> {
        Ok(Self {
            format: FORMAT.into(),
            backbone: clip.identity().into(),
            images: list_digest(files)?,
            dim: clip.config().embed_dim,
            batch,
            shard,
        })
    }

    /// Reads the manifest of a store.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = Self::path(folder);
        let text = fs::read_to_string(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
        let malformed = |part: &str, expected: &str, found: String| Error::Malformed {
            path: path.clone(),
            part: part.into(),
            expected: expected.into(),
            found,
        };
        let manifest: Self = serde_json::from_str(&text)
            .map_err(|error| malformed("JSON", "the manifest of a store", error.to_string()))?;
        if manifest.format != FORMAT {
            return Err(malformed("format", FORMAT, manifest.format));
        }
        if manifest.shard == 0 {
            return Err(malformed("shard", "1 or more images", "0".into()));
        }
        Ok(manifest)
    }

    /// Writes this manifest to a folder, or checks that the one there is the same.
    pub fn claim(&self, folder: &Path) -> Result<()> {
        let path = Self::path(folder);
        if path.exists() {
            return self.check(&Self::read(folder)?);
        }
        let failed = |source| Error::Write { path: path.clone(), source };
        fs::create_dir_all(folder).map_err(failed)?;
        let text = serde_json::to_vec_pretty(self).map_err(|error| failed(error.into()))?;
        write_atomically(&path, |file| file.write_all(&text).map_err(failed))
    }

    /// That `found` is of the same features.
    pub fn check(&self, found: &Self) -> Result<()> {
        let parts = [
            ("backbones of the store", self.backbone.clone(), found.backbone.clone()),
            ("lists of images of the store", self.images.clone(), found.images.clone()),
            ("widths of the store", self.dim.to_string(), found.dim.to_string()),
            ("batches of the store", self.batch.to_string(), found.batch.to_string()),
            ("shards of the store", self.shard.to_string(), found.shard.to_string()),
        ];
        match parts.into_iter().find(|(_, expected, found)| expected != found) {
            None => Ok(()),
            Some((what, expected, found)) => Err(Error::Fingerprint { what, expected, found }),
        }
    }

    fn path(folder: &Path) -> PathBuf {
        folder.join("manifest.json")
    }
}

/// The number of images and a digest of each one's place, length and time of its last change. Places are relative
/// to the folder that holds them all, so that a list is the same wherever that folder is mounted.
pub(super) fn list_digest(files: &[PathBuf]) -> Result<String> {
    let root = common_folder(files);
    let mut hash = Sha256::new();
    for file in files {
        let metadata = fs::metadata(file).map_err(|source| Error::Read { path: file.clone(), source })?;
        let place = file.strip_prefix(root).unwrap_or(file).to_string_lossy();
        let changed = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        hash.update((place.len() as u64).to_le_bytes());
        hash.update(place.as_bytes());
        hash.update(metadata.len().to_le_bytes());
        hash.update(changed.map_or(0u128, |time| time.as_nanos()).to_le_bytes());
    }
    Ok(format!("{} images {}", files.len(), short_hex(hash)))
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

        let digest_in = |root: &Path, name: &str| {
            let path = root.join("cat").join(name);
            fs::create_dir_all(root.join("cat")).unwrap();
            let file = fs::File::create(&path).unwrap();
            file.set_modified(UNIX_EPOCH).unwrap();
            list_digest(&[path]).unwrap()
        };
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert_eq!(digest_in(here.path(), "1.jpg"), digest_in(there.path(), "1.jpg"));
        assert_ne!(digest_in(here.path(), "1.jpg"), digest_in(there.path(), "2.jpg"));
    }
}
