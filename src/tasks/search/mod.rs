//! Finding images by a sentence, by an image, or by both: exact search over rows of features, and the index of a folder
//! of photographs that one keeps.
//!
//! [`Rows`] hold the features and answer exactly; [`PhotoIndex`] is what stays on disk, and [`Indexer`] builds it and
//! brings it up to date. Whatever answers queries is an [`Index`].

#[cfg(feature = "ann")]
mod ann;
mod best;
mod block;
mod kept;
mod npy;
mod rows;

#[cfg(feature = "ann")]
pub use ann::{Ann, AnnIndex};
pub use kept::{Changes, Found, INDEX_FORMAT, Indexer, Item, LeftOut, PhotoIndex};
pub use npy::NpyType;
pub use rows::Rows;

use std::fmt::Debug;

use crate::error::{Error, Result};
use crate::features::Embeddings;

/// A row that was found, and its inner product with the query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// The row of the gallery.
    pub row: usize,
    /// `<query, row>`: the cosine where both have unit length.
    pub score: f32,
}

/// What answers queries with the rows that score highest: exactly, as [`Rows`], or nearly.
pub trait Index: Debug + Send + Sync {
    /// The number of rows.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The width of a row.
    fn dim(&self) -> usize;

    /// For each query the `k` rows of the largest inner product with it, best first; of equal ones the lower row first.
    /// All rows where there are fewer than `k`. Queries are taken as they are: normalise them for cosines.
    ///
    /// # Shapes
    /// - `queries`: `[queries, dim]`
    ///
    /// # Errors
    /// [`Error::Dim`] if the queries have another width.
    fn search(&self, queries: &Embeddings, k: usize) -> Result<Vec<Vec<Hit>>>;
}

/// That queries have the rows' width.
fn check_queries(queries: &Embeddings, dim: usize) -> Result<()> {
    if queries.dim() == dim {
        return Ok(());
    }
    Err(Error::Dim { what: "queries".into(), expected: dim, found: queries.dim() })
}
