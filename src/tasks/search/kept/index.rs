use std::path::Path;

use super::{Item, LeftOut};
use crate::error::{Error, Result};
use crate::features::{Embeddings, FeatureFile};
use crate::tasks::search::{Hit, Index, Rows};

/// An index of images by their CLIP features, kept in one file: rows in 16 bits, paths, and the backbone's identity.
#[derive(Debug, Clone)]
pub struct PhotoIndex {
    pub(super) backbone: String,
    pub(super) items: Vec<Item>,
    pub(super) left_out: Vec<LeftOut>,
    pub(super) rows: Rows,
}

impl PhotoIndex {
    /// Opens an index of this backbone's features, [`ClipBackbone::identity`](crate::ClipBackbone::identity).
    pub fn open(path: impl AsRef<Path>, _backbone: &str) -> Result<Self> {
        Err(Error::unsupported(path.as_ref().display().to_string(), "an index", "an index"))
    }

    /// An index of all images of a feature file, which are called `split/row`.
    pub fn of_features(file: &FeatureFile) -> Result<Self> {
        Err(Error::unsupported(file.dataset(), "an index", "features"))
    }

    /// Writes the index, whole or not at all.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        Err(Error::unsupported(path.as_ref().display().to_string(), "an index", "an index"))
    }

    /// The images, one a row, in the order of their paths.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// The images that have no row.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// The identity of the backbone whose features these are.
    pub fn backbone(&self) -> &str {
        &self.backbone
    }

    /// The rows, of unit length.
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    /// The row of an image, by its path.
    pub fn row_of(&self, path: &str) -> Option<usize> {
        self.items.binary_search_by(|item| item.path.as_str().cmp(path)).ok()
    }

    /// The embedding of an image, of unit length.
    ///
    /// # Errors
    /// As [`Rows::row`].
    pub fn embedding(&self, row: usize) -> Result<Vec<f32>> {
        self.rows.row(row)
    }
}

impl Index for PhotoIndex {
    fn len(&self) -> usize {
        self.items.len()
    }

    fn dim(&self) -> usize {
        self.rows.dim()
    }

    fn search(&self, queries: &Embeddings, k: usize) -> Result<Vec<Vec<Hit>>> {
        self.rows.search(queries, k)
    }
}
