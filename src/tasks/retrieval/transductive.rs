use serde::{Deserialize, Serialize};

use super::scoring::{Direction, both, unit};
use crate::error::{Result, positive};
use crate::evaluate::retrieval::{Ranks, RetrievalReport, Similarities};
use crate::features::TestPairs;
use crate::numerics::softmax_rows;

/// Scores that every query had a part in: of no use to one that comes alone, and not to be compared with those of other
/// methods.
#[derive(Debug, Clone, PartialEq)]
pub struct Transductive<T>(pub T);

/// Dual softmax: each score is multiplied with the probability of its query among all queries of the test.
///
/// `S_ij softmax_i(s S_ij)`: an item that many queries score high with keeps little of each (Cheng et al., 2021,
/// <https://arxiv.org/abs/2109.04290>). **Transductive**: it sees all queries of the test at once, and that each item is
/// sought by about one of them. Its numbers are the highest of all and stand for another question.
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `scale` | 100 | above 0 | what cosines are multiplied with before the softmax |
///
/// # Examples
/// ```
/// use clip_adapter::{features::PairFile, tasks::retrieval::DualSoftmax};
///
/// let (_, test) = PairFile::synthetic(0)?.split(1)?;
/// let report = DualSoftmax::default().evaluate(&test)?.0;
/// assert!(report.transductive && report.to_string().ends_with("transductive: all queries were seen at once"));
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DualSoftmax {
    /// What cosines are multiplied with before the softmax.
    pub scale: f64,
}

impl Default for DualSoftmax {
    fn default() -> Self {
        Self { scale: 100.0 }
    }
}

impl DualSoftmax {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) for the first one outside.
    pub fn validate(&self) -> Result<()> {
        positive("scale", self.scale)
    }

    /// All scores again, each with the help of all queries.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) for a setting out of range.
    pub fn refine(&self, scores: &Similarities) -> Result<Transductive<Similarities>> {
        self.validate()?;
        let by_item = scores.transposed();
        let mut shares = faer::Mat::from_fn(by_item.queries(), by_item.gallery(), |item, query| {
            self.scale * f64::from(by_item.values()[item * by_item.gallery() + query])
        });
        softmax_rows(&mut shares);
        let gallery = scores.gallery();
        let refined = scores.values().iter().enumerate();
        let refined =
            refined.map(|(at, &score)| (f64::from(score) * shares[(at % gallery, at / gallery)]) as f32);
        Ok(Transductive(Similarities::new(refined.collect(), gallery)?))
    }

    /// Both directions of a test.
    ///
    /// # Errors
    /// As [`refine`](Self::refine).
    pub fn evaluate(&self, test: &TestPairs) -> Result<Transductive<RetrievalReport>> {
        let pairs = unit(test.pairs())?;
        let report = both(|direction: Direction| {
            let (queries, gallery) = direction.sides(&pairs);
            let scores = self.refine(&Similarities::of(queries, gallery)?)?.0;
            let mut ranks = Ranks::new(scores.gallery());
            for (query, row) in scores.rows().enumerate() {
                ranks.add(row, &direction.relevant(&pairs, query))?;
            }
            ranks.report()
        })?;
        Ok(Transductive(report.into_transductive()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_ask_for_is_shared_among_them() {
        let scores = Similarities::new(vec![0.5, 0.4, 0.5, 0.1], 2).unwrap();
        let refined = DualSoftmax { scale: 10.0 }.refine(&scores).unwrap().0;
        let share = |own: f64, other: f64| {
            (own * (10.0 * own).exp() / ((10.0 * own).exp() + (10.0 * other).exp())) as f32
        };
        let expected = [0.25, share(0.4, 0.1), 0.25, share(0.1, 0.4)];
        approx::assert_abs_diff_eq!(refined.values(), &expected[..], epsilon = 1e-6);
        assert!(DualSoftmax { scale: 0.0 }.refine(&scores).is_err());
    }
}
