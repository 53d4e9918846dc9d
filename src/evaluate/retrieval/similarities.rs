use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::features::Embeddings;
use crate::numerics::vector::{LANES, widest};

/// Queries that are scored at once: what each processor has to do is then much more than to be told so.
const BLOCK: usize = 64;

/// The scores of every query with every item of a gallery: `[queries, gallery]`.
///
/// # Examples
/// ```
/// use clip_adapter::evaluate::retrieval::Similarities;
/// use clip_adapter::features::Embeddings;
///
/// let (a, b) = (Embeddings::new(vec![1.0, 0.0, 0.6, 0.8], 2)?, Embeddings::new(vec![0.0, 1.0], 2)?);
/// let scores = Similarities::of(&a, &b)?;
/// assert_eq!(scores.values(), [0.0, 0.8]);
/// assert_eq!(scores.transposed().gallery(), 2);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Similarities {
    values: Vec<f32>,
    gallery: usize,
}

impl Similarities {
    /// Takes `values` as rows of `gallery` scores.
    ///
    /// # Errors
    /// [`Error::Data`] if the values are not whole rows or one is not finite.
    pub fn new(values: Vec<f32>, gallery: usize) -> Result<Self> {
        if gallery == 0 || !values.len().is_multiple_of(gallery) {
            let found = format!("{} values", values.len());
            return Err(Error::data("scores", format!("whole rows of {gallery} items"), found));
        }
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(Self { values, gallery }),
            Some(at) => {
                Err(Error::data(format!("scores of query {}", at / gallery), "finite values", values[at]))
            }
        }
    }

    /// The dot products of all rows, as they are.
    ///
    /// # Errors
    /// [`Error::Dim`] if the widths differ, [`Error::Data`] if a side has no row.
    pub fn of(queries: &Embeddings, gallery: &Embeddings) -> Result<Self> {
        let mut values = Vec::with_capacity(queries.rows() * gallery.rows());
        each_row(queries, gallery, |_, row| {
            values.extend_from_slice(row);
            Ok(())
        })?;
        Self::new(values, gallery.rows())
    }

    /// The number of queries.
    pub fn queries(&self) -> usize {
        self.values.len() / self.gallery
    }

    /// The number of items in the gallery.
    pub fn gallery(&self) -> usize {
        self.gallery
    }

    /// All scores, query after query.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The scores of every query.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.gallery)
    }

    /// The items as queries and the queries as items.
    pub fn transposed(&self) -> Self {
        let (queries, gallery) = (self.queries(), self.gallery);
        Self { values: crate::numerics::transposed(&self.values, queries, gallery), gallery: queries }
    }
}

/// Calls `each` with the number of every query and its dot products with the whole gallery, in order. Equal rows have
/// equal scores, bit for bit, wherever they stand, which a matrix product does not promise.
///
/// # Errors
/// [`Error::Dim`] if the widths differ, [`Error::Data`] if a side has no row, and whatever `each` fails with.
pub fn each_row(
    queries: &Embeddings,
    gallery: &Embeddings,
    mut each: impl FnMut(usize, &[f32]) -> Result<()>,
) -> Result<()> {
    gallery.check_dim("queries", queries.dim())?;
    for (what, rows) in [("queries", queries), ("gallery", gallery)] {
        if rows.rows() == 0 {
            return Err(Error::data(what, "at least one row", "none"));
        }
    }
    for start in (0..queries.rows()).step_by(BLOCK) {
        let block: Vec<Vec<f32>> = (start..(start + BLOCK).min(queries.rows()))
            .into_par_iter()
            .map(|query| {
                let query = queries.row(query);
                gallery.values().chunks_exact(gallery.dim()).map(|item| dot(query, item)).collect()
            })
            .collect();
        for (at, row) in block.iter().enumerate() {
            each(start + at, row)?;
        }
    }
    Ok(())
}

/// `sum_i a_i b_i`, always in the same order.
///
/// # Examples
/// ```
/// assert_eq!(clip_adapter::evaluate::retrieval::dot(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0]), 32.0);
/// ```
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    widest(
        #[inline(always)]
        || {
            let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
            let mut lanes = [0.0; LANES];
            for (a, b) in a.iter().zip(b) {
                for lane in 0..LANES {
                    lanes[lane] += a[lane] * b[lane];
                }
            }
            let rest = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>();
            lanes.into_iter().sum::<f32>() + rest
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dot_product_takes_every_number_once() {
        for count in [1, 15, 16, 17, 40] {
            let a: Vec<f32> = (1..=count).map(|at| at as f32).collect();
            assert_eq!(dot(&a, &vec![2.0; count]), (count * (count + 1)) as f32);
        }
    }

    #[test]
    fn rows_come_in_order_whatever_the_block() {
        let rows = |count: usize| Embeddings::new((1..=count).map(|at| at as f32).collect(), 1).unwrap();
        let mut seen = 0;
        each_row(&rows(150), &rows(3), |query, row| {
            assert_eq!((query, row[2]), (seen, 3.0 * (seen + 1) as f32));
            seen += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, 150);
        let scores = Similarities::of(&rows(2), &rows(3)).unwrap();
        assert_eq!(scores.values(), [1.0, 2.0, 3.0, 2.0, 4.0, 6.0]);
        assert_eq!(scores.transposed().values(), [1.0, 2.0, 2.0, 4.0, 3.0, 6.0]);
        assert_eq!((scores.queries(), scores.gallery(), scores.rows().len()), (2, 3, 2));
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let (one, two) =
            (Embeddings::new(vec![1.0], 1).unwrap(), Embeddings::new(vec![1.0, 2.0], 2).unwrap());
        assert!(matches!(Similarities::of(&one, &two), Err(Error::Dim { expected: 2, found: 1, .. })));
        let none = Embeddings::new(vec![], 1).unwrap();
        assert!(matches!(Similarities::of(&one, &none), Err(Error::Data { what, .. }) if what == "gallery"));
        assert!(
            Similarities::new(vec![1.0, f32::NAN], 2).is_err() && Similarities::new(vec![1.0], 2).is_err()
        );
    }
}
