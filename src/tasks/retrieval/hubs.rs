//! Against hubs, the gallery items that come first for queries which they have nothing to do with: an offset a gallery
//! item, found on queries of a bank that are none of the test's. It stays a dot product.

use serde::{Deserialize, Serialize};

use super::scoring::{Direction, directions, unit};
use crate::error::{Error, Result, not_negative, positive};
use crate::evaluate::retrieval::{RetrievalReport, each_row};
use crate::features::{Embeddings, Pairs, TestPairs};
use crate::numerics::argmax;

/// Queries of the bank whose mean is subtracted, where there are enough of them.
const NEIGHBOURS: usize = 16;

/// The least part of the bank that is left out of that mean: with more of them hubs are no longer told from others.
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

/// QB-Norm: the inverted softmax over a bank of queries, by default only where it is a hub that would come first.
///
/// `exp(b <q, g_j>) / sum_r exp(b <r, g_j>)` over the queries `r` of the bank, which orders a query's items as
/// `<q, g_j> - log(sum_r exp(b <r, g_j>)) / b` does. Dynamic: a query is left as it is unless the item that comes first
/// for it also comes first for some query of the bank (Bogolin et al., 2022, section 3.3,
/// <https://arxiv.org/abs/2112.12777>).
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `beta` | 20 | above 0 | inverse temperature of the softmax |
/// | `dynamic` | true | | whether queries are left alone for which no hub comes first |
///
/// # Examples
/// ```
/// use clip_adapter::{features::PairFile, tasks::retrieval::{self, QbNorm}};
///
/// let (train, test) = PairFile::synthetic(0)?.split(1)?;
/// let report = QbNorm::default().evaluate(&train, &test)?;
/// assert!(report.rsum > retrieval::evaluate(&test)?.rsum && !report.transductive);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QbNorm {
    /// Inverse temperature of the softmax.
    pub beta: f64,
    /// Whether queries are left alone for which no hub comes first.
    pub dynamic: bool,
}

impl Default for QbNorm {
    fn default() -> Self {
        Self { beta: 20.0, dynamic: true }
    }
}

impl QbNorm {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first one outside.
    pub fn validate(&self) -> Result<()> {
        positive("beta", self.beta)
    }

    /// The gallery with its offsets, from a bank of queries.
    ///
    /// # Errors
    /// As [`Nnn::fit`].
    pub fn fit(&self, gallery: &Embeddings, bank: &Embeddings) -> Result<CorrectedGallery> {
        self.validate()?;
        let (gallery, bank) = (gallery.normalised(), bank.normalised());
        let mut offsets = Vec::with_capacity(gallery.rows());
        each_row(&gallery, &bank, |_, scores| {
            // Cosines are at most 1: in f64 nothing overflows that `beta` does not.
            let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = scores.iter().map(|score| (self.beta * f64::from(score - most)).exp()).sum();
            offsets.push(-(f64::from(most) + sum.ln() / self.beta) as f32);
            Ok(())
        })?;
        let mut activated = None;
        if self.dynamic {
            let mut is_first = vec![false; gallery.rows()];
            each_row(&bank, &gallery, |_, scores| {
                is_first[argmax(scores)] = true;
                Ok(())
            })?;
            activated = Some(is_first);
        }
        CorrectedGallery::new(&gallery, &offsets, activated)
    }

    /// Both directions of a test, with training pairs as the bank.
    ///
    /// # Errors
    /// As [`fit`](Self::fit).
    pub fn evaluate(&self, bank: &Pairs, test: &TestPairs) -> Result<RetrievalReport> {
        corrected(bank, test.pairs(), |gallery, bank| self.fit(gallery, bank))
    }
}

/// Both directions with a correction that comes from the bank's queries of the same kind.
fn corrected(
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
    fn new(gallery: &Embeddings, offsets: &[f32], activated: Option<Vec<bool>>) -> Result<Self> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::retrieval::{Similarities, dot};
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

    /// The order of the inverted softmax, worked out as the paper writes it.
    #[test]
    fn the_offset_orders_as_the_inverted_softmax() {
        let (queries, gallery, bank) = sides();
        let corrected = QbNorm { beta: 20.0, dynamic: false }.fit(&gallery, &bank).unwrap();
        let found = Similarities::of(&corrected.queries(&queries).unwrap(), corrected.rows()).unwrap();
        let raw = Similarities::of(&queries.normalised(), &gallery.normalised()).unwrap();
        let banked = Similarities::of(&bank.normalised(), &gallery.normalised()).unwrap();
        let power = |score: f32| (20.0 * f64::from(score)).exp();
        let sums: Vec<f64> =
            (0..gallery.rows()).map(|item| banked.rows().map(|row| power(row[item])).sum()).collect();
        for (found, raw) in found.rows().zip(raw.rows()) {
            for (item, &score) in found.iter().enumerate() {
                let expected = (power(raw[item]) / sums[item]).ln() / 20.0;
                approx::assert_abs_diff_eq!(f64::from(score), expected, epsilon = 1e-5);
            }
        }
    }

    #[test]
    fn a_query_without_a_hub_is_left_alone() {
        let gallery = Embeddings::new(vec![1.0, 0.0, 0.0, 1.0], 2).unwrap();
        let bank = Embeddings::new(vec![1.0, 0.1, 1.0, -0.1], 2).unwrap(); // the first item is all that it finds
        let corrected = QbNorm::default().fit(&gallery, &bank).unwrap();
        let asked = corrected.queries(&Embeddings::new(vec![0.9, 0.5, 0.5, 0.9], 2).unwrap()).unwrap();
        assert_eq!([asked.row(0)[2], asked.row(1)[2]], [1.0, 0.0]);
    }
}
