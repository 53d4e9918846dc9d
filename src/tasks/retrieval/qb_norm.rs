use serde::{Deserialize, Serialize};

use super::corrected::{CorrectedGallery, corrected};
use crate::error::{Result, positive};
use crate::evaluate::retrieval::{RetrievalReport, each_row};
use crate::features::{Embeddings, Pairs, TestPairs};
use crate::numerics::argmax;

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
    /// [`Error::Setting`](crate::Error::Setting) for the first one outside.
    pub fn validate(&self) -> Result<()> {
        positive("beta", self.beta)
    }

    /// The gallery with its offsets, from a bank of queries.
    ///
    /// # Errors
    /// As [`Nnn::fit`](super::Nnn::fit).
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::retrieval::Similarities;
    use crate::features::PairFile;

    fn sides() -> (Embeddings, Embeddings, Embeddings) {
        let (train, test) = PairFile::synthetic(3).unwrap().split(1).unwrap();
        (test.pairs().texts().clone(), test.pairs().images().clone(), train.texts().clone())
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
