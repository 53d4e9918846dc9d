//! From sources of images to features: decoding and resizing on worker threads while the model runs, on one device or
//! several, in parts on a cluster, kept in a store that an interrupted run goes on from.

mod folder;
mod job;
mod manifest;
mod options;
mod pipeline;
mod shards;
mod store;
mod videos;

use std::ops::Range;
use std::path::PathBuf;

pub use options::{Broken, ExtractProgress, Extraction};
pub use store::Store;
pub use videos::{EncodedVideo, frame_set};

use self::shards::{Rows, kept, name_skipped};
use crate::error::{Error, Result};
use crate::features::{Embeddings, FeatureSet};
use crate::input::ImageSource;

/// What an extraction found.
#[derive(Debug)]
#[non_exhaustive]
pub struct Extracted {
    /// One row an image, not normalised.
    pub embeddings: Embeddings,
    /// The images that the rows are of: paths, or what their source calls them.
    pub keys: Vec<PathBuf>,
    /// The images that were left out, each with what was wrong with it.
    pub skipped: Vec<(PathBuf, Error)>,
    labels: Vec<Option<usize>>,
    class_names: Vec<String>,
}

impl Extracted {
    /// Names the rows of consecutive images of a source.
    fn of(source: &dyn ImageSource, images: Range<usize>, rows: Rows, dim: usize) -> Result<Self> {
        let kept = kept(images, &rows.skipped);
        Ok(Self {
            keys: kept.iter().map(|&image| source.key(image).into_owned()).collect(),
            labels: kept.iter().map(|&image| source.label(image)).collect(),
            class_names: source.class_names().to_vec(),
            skipped: name_skipped(source, &rows.skipped),
            embeddings: Embeddings::new(rows.values, dim)?,
        })
    }

    /// The features with their labels, each row of unit length.
    ///
    /// # Errors
    /// [`Error::Data`] with the first image whose class the source does not know, or if two classes share a name.
    pub fn labelled(&self) -> Result<FeatureSet> {
        let label = |(row, label): (usize, &Option<usize>)| {
            label.ok_or_else(|| Error::data(self.keys[row].display().to_string(), "a class", "none"))
        };
        let labels = self.labels.iter().enumerate().map(label).collect::<Result<_>>()?;
        FeatureSet::new(self.embeddings.normalised(), labels, self.class_names.clone())
    }
}
