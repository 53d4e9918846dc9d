//! Against hubs, the gallery items that come first for queries which they have nothing to do with: an offset a gallery
//! item, found on queries of a bank that are none of the test's. It stays a dot product.

use super::scoring::{Direction, directions, unit};
use crate::error::{Error, Result};
use crate::evaluate::retrieval::{RetrievalReport, each_row};
use crate::features::{Embeddings, Pairs};
use crate::numerics::argmax;

/// Both directions with a correction that comes from the bank's queries of the same kind.
pub(super) fn corrected(
    bank: &Pairs,
    pairs: &Pairs,
    fit: impl Fn(&Embeddings, &Embeddings) -> Result<CorrectedGallery>,
) -> Result<RetrievalReport> {
    directions(&unit(pairs)?, |direction: Direction, queries, gallery| {
        let gallery = fit(gallery, direction.sides(bank).0)?;
        Ok((gallery.queries(queries)?, gallery.rows))
    })
}

/// A gallery whose items have an offset each, as one more number of a row: the dot product of a row with a query that
/// ends in 1 is the corrected score. Any index of inner products can hold it.
///
/// # Examples
/// ```
/// use clip_adapter::{evaluate::retrieval::dot, features::Embeddings, tasks::retrieval::Nnn};
///
/// let gallery = Embeddings::new(vec![1.0, 0.0, 0.6, 0.8], 2)?;
/// let bank = Embeddings::new(vec![0.0, 1.0, 0.0, 1.0], 2)?;
/// let corrected = Nnn { a: 0.5, k: Some(2) }.fit(&gallery, &bank)?;
/// let query = corrected.queries(&Embeddings::new(vec![0.0, 2.0], 2)?)?;
/// approx::assert_abs_diff_eq!(dot(query.row(0), corrected.rows().row(1)), 0.8 - 0.5 * 0.8, epsilon = 1e-6);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct CorrectedGallery {
    rows: Embeddings, // [items, dim + 1]
    /// Items for which a query is corrected if they come first for it; none means always.
    activated: Option<Vec<bool>>,
}

impl CorrectedGallery {
    pub(super) fn new(gallery: &Embeddings, offsets: &[f32], activated: Option<Vec<bool>>) -> Result<Self> {
        Ok(Self { rows: extended(gallery, offsets.iter().copied())?, activated })
    }

    /// Unit rows with the offset at the end: `[items, dim + 1]`.
    pub fn rows(&self) -> &Embeddings {
        &self.rows
    }

    /// Queries for it: unit rows with a 1 at the end, or a 0 for a query that is left as it is.
    ///
    /// # Errors
    /// [`Error::Dim`] if their width is not the gallery's before it was corrected.
    pub fn queries(&self, queries: &Embeddings) -> Result<Embeddings> {
        let dim = self.rows.dim() - 1;
        if queries.dim() != dim {
            return Err(Error::Dim { what: "queries".to_owned(), expected: dim, found: queries.dim() });
        }
        let queries = queries.normalised();
        let Some(activated) = &self.activated else {
            return extended(&queries, std::iter::repeat_n(1.0, queries.rows()));
        };
        let mut last = Vec::with_capacity(queries.rows());
        each_row(&extended(&queries, std::iter::repeat_n(0.0, queries.rows()))?, &self.rows, |_, scores| {
            last.push(if activated[argmax(scores)] { 1.0 } else { 0.0 });
            Ok(())
        })?;
        extended(&queries, last.into_iter())
    }
}

/// Rows with one more number each.
fn extended(rows: &Embeddings, last: impl Iterator<Item = f32>) -> Result<Embeddings> {
    let values = rows.values().chunks_exact(rows.dim()).zip(last);
    let values = values.flat_map(|(row, last)| row.iter().copied().chain([last]).collect::<Vec<f32>>());
    Embeddings::new(values.collect(), rows.dim() + 1)
}
