//! What a store is of.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::archive::write_atomically;
use crate::backbone::{ClipBackbone, Precision};
use crate::error::{Error, Result};
use crate::fingerprint::require_backbone;
use crate::input::ImageSource;

/// The format that a store's manifest declares.
const FORMAT: &str = "clip-store/1";

/// Identifies the features of a store: other features have another manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    pub format: String,
    /// Names weights, activation and preprocessing.
    pub backbone: String,
    /// What the towers compute in.
    #[serde(default, skip_serializing_if = "is_f32")]
    pub precision: Precision,
    /// How many images, and [`ImageSource::identity`].
    pub images: String,
    pub dim: usize,
    pub batch: usize,
    pub shard: usize,
}

fn is_f32(precision: &Precision) -> bool {
    *precision == Precision::F32
}

impl Manifest {
    pub fn new(clip: &ClipBackbone, source: &dyn ImageSource, batch: usize, shard: usize) -> Result<Self> {
        Ok(Self {
            format: FORMAT.into(),
            backbone: clip.identity().into(),
            precision: clip.precision(),
            images: images_of(source)?,
            dim: clip.config().embed_dim,
            batch,
            shard,
        })
    }

    /// Reads the manifest of a store.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = Self::path(folder);
        let text = fs::read_to_string(&path).map_err(|source| Error::read(&path, source))?;
        let malformed =
            |part: &str, expected: &str, found: String| Error::malformed(&path, part, expected, found);
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
        let failed = |source| Error::write(&path, source);
        fs::create_dir_all(folder).map_err(failed)?;
        let text = serde_json::to_vec_pretty(self).map_err(|error| failed(error.into()))?;
        write_atomically(&path, |file| file.write_all(&text).map_err(failed))
    }

    /// The number of images.
    pub fn count(&self, folder: &Path) -> Result<usize> {
        let count = self.images.split(' ').next().and_then(|count| count.parse().ok());
        count
            .ok_or_else(|| Error::malformed(Self::path(folder), "images", "a number of images", &self.images))
    }

    /// The same for another list of images.
    pub fn of(&self, source: &dyn ImageSource) -> Result<Self> {
        Ok(Self { images: images_of(source)?, ..self.clone() })
    }

    /// That `found` is of the same features.
    pub fn check(&self, found: &Self) -> Result<()> {
        require_backbone("backbones of the store", &self.backbone, &found.backbone)?;
        let parts = [
            ("precisions of the store", self.precision.to_string(), found.precision.to_string()),
            ("lists of images of the store", self.images.clone(), found.images.clone()),
            ("widths of the store", self.dim.to_string(), found.dim.to_string()),
            ("batches of the store", self.batch.to_string(), found.batch.to_string()),
            ("shards of the store", self.shard.to_string(), found.shard.to_string()),
        ];
        match parts.into_iter().find(|(_, expected, found)| expected != found) {
            None => Ok(()),
            Some((what, expected, found)) => Err(Error::fingerprint(what, expected, found)),
        }
    }

    fn path(folder: &Path) -> PathBuf {
        folder.join("manifest.json")
    }
}

fn images_of(source: &dyn ImageSource) -> Result<String> {
    Ok(format!("{} images {}", source.len(), source.identity()?))
}
