use serde::{Deserialize, Serialize};

use super::corrected::{CorrectedGallery, corrected};
use crate::error::{Error, Result, not_negative};
use crate::evaluate::retrieval::{RetrievalReport, each_row};
use crate::features::{Embeddings, Pairs, TestPairs};

/// Queries of the bank whose mean is subtracted, where there are enough of them.
const NEIGHBOURS: usize = 16;

/// Of a smaller bank a part of this: with more of it in the mean, hubs are no longer told from others.
const PART: usize = 4;

/// Nearest neighbour normalisation: what a gallery item's nearest reference queries score with it is subtracted.
///
/// `score(q, g_j) = <q, g_j> - a b_j`, in which `b_j` is the mean of the `k` largest `<r, g_j>` over the queries `r` of a
/// bank: training captions where images are sought, training images where captions are (Chowdhury et al., 2024,
/// <https://arxiv.org/abs/2410.24114>). The authors take `a = 0.75` and `k = 128` with a large bank; `k` must be a small
/// part of it.
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `a` | 0.5 | 0 or more | what is subtracted, as a part of the mean; 0 is zero-shot |
/// | `k` | null | 1 to the bank, or null | queries of the bank in the mean; null is 16, or a quarter of a bank below 64 |
///
/// # Examples
/// ```
/// use clip_adapter::{features::PairFile, tasks::retrieval::{self, Nnn}};
///
/// let (train, test) = PairFile::synthetic(0)?.split(1)?;
/// let before = retrieval::evaluate(&test)?;
/// let nnn = Nnn::chosen(&train)?; // a and k by halves of the training pairs
/// assert!(nnn.evaluate(&train, &test)?.rsum > before.rsum);
/// assert_eq!(Nnn { a: 0.0, k: None }.evaluate(&train, &test)?.rsum, before.rsum);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Nnn {
    /// What is subtracted, as a part of the mean.
    pub a: f64,
    /// Queries of the bank in the mean; `None` goes by the bank.
    pub k: Option<usize>,
}

impl Default for Nnn {
    fn default() -> Self {
        Self { a: 0.5, k: None }
    }
}

impl Nnn {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first one outside.
    pub fn validate(&self) -> Result<()> {
        not_negative("a", self.a)?;
        match self.k {
            Some(0) => Err(Error::setting("k", "1 or more", 0)),
            _ => Ok(()),
        }
    }

    /// The gallery with its offsets, from a bank of queries.
    ///
    /// # Shapes
    /// - `gallery`: `[items, dim]`, `bank`: `[queries, dim]`, both of any length
    ///
    /// # Errors
    /// [`Error::Setting`] for a setting out of range, also a `k` larger than the bank; [`Error::Dim`] if the widths
    /// differ, [`Error::Data`] if one of the two is empty.
    pub fn fit(&self, gallery: &Embeddings, bank: &Embeddings) -> Result<CorrectedGallery> {
        self.validate()?;
        let k = match self.k {
            None => NEIGHBOURS.min(bank.rows() / PART).max(1),
            Some(k) if k <= bank.rows() => k,
            Some(k) => return Err(Error::setting("k", format!("1 to the {} of the bank", bank.rows()), k)),
        };
        let gallery = gallery.normalised();
        let mut offsets = Vec::with_capacity(gallery.rows());
        each_row(&gallery, &bank.normalised(), |_, scores| {
            offsets.push(-(self.a * mean_of_largest(scores, k)) as f32);
            Ok(())
        })?;
        CorrectedGallery::new(&gallery, &offsets, None)
    }

    /// Both directions of a test, with training pairs as the bank.
    ///
    /// # Errors
    /// As [`fit`](Self::fit).
    pub fn evaluate(&self, bank: &Pairs, test: &TestPairs) -> Result<RetrievalReport> {
        self.report(bank, test.pairs())
    }

    /// The same of pairs that are no test.
    pub(super) fn report(&self, bank: &Pairs, pairs: &Pairs) -> Result<RetrievalReport> {
        corrected(bank, pairs, |gallery, bank| self.fit(gallery, bank))
    }
}

/// The mean of the `k` largest of some scores.
fn mean_of_largest(scores: &[f32], k: usize) -> f64 {
    let mut scores = scores.to_vec();
    let (largest, last, _) = scores.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
    // Sorted, so that the sum does not depend on how they were partitioned.
    largest.sort_by(|a, b| b.total_cmp(a));
    (largest.iter().map(|&score| f64::from(score)).sum::<f64>() + f64::from(*last)) / k as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::retrieval::dot;
    use crate::features::PairFile;

    fn sides() -> (Embeddings, Embeddings, Embeddings) {
        let (train, test) = PairFile::synthetic(3).unwrap().split(1).unwrap();
        (test.pairs().texts().clone(), test.pairs().images().clone(), train.texts().clone())
    }

    #[test]
    fn the_corrected_row_is_the_formula() {
        let (queries, gallery, bank) = sides();
        let corrected = Nnn { a: 0.7, k: Some(5) }.fit(&gallery, &bank).unwrap();
        let asked = corrected.queries(&queries).unwrap();
        for item in [0, 7, 119] {
            let mut near: Vec<f32> =
                (0..bank.rows()).map(|row| dot(bank.row(row), gallery.row(item))).collect();
            near.sort_by(|a, b| b.total_cmp(a));
            let mean = near[..5].iter().sum::<f32>() / 5.0;
            let expected = dot(queries.row(3), gallery.row(item)) - 0.7 * mean;
            approx::assert_abs_diff_eq!(
                dot(asked.row(3), corrected.rows().row(item)),
                expected,
                epsilon = 1e-5
            );
        }
    }

    #[test]
    fn a_large_bank_is_no_large_k() {
        let (_, gallery, bank) = sides();
        let of = |rows: usize, k: Option<usize>| {
            let rows: Vec<usize> = (0..rows).collect();
            Nnn { a: 0.5, k }.fit(&gallery, &bank.select(&rows)).unwrap()
        };
        for (rows, k) in [(240, 16), (64, 16), (40, 10), (3, 1)] {
            assert_eq!(of(rows, None), of(rows, Some(k)), "{rows}");
        }
        let few = bank.select(&[0, 1, 2]);
        let refused = |nnn: Nnn| nnn.fit(&gallery, &few).unwrap_err().to_string();
        assert_eq!(
            refused(Nnn { a: 0.5, k: Some(4) }),
            "setting `k`: expected 1 to the 3 of the bank, found 4"
        );
        assert!(refused(Nnn { a: 0.5, k: Some(0) }).contains("`k`"));
        assert!(refused(Nnn { a: f64::NAN, k: None }).contains("`a`"));
        let none = Embeddings::new(vec![], 64).unwrap();
        assert!(matches!(Nnn::default().fit(&gallery, &none), Err(Error::Data { .. })));
        let narrow = Embeddings::new(vec![1.0], 1).unwrap();
        assert!(matches!(of(64, None).queries(&narrow), Err(Error::Dim { expected: 64, found: 1, .. })));
    }
}
