use faer::{Mat, linalg::solvers::DenseSolveCore};
use serde::{Deserialize, Serialize};

use super::{Histories, Recommender};
use crate::error::{Error, Result, positive};
use crate::model::Settings;
use crate::numerics::cholesky;

/// Items for which the square matrices of all pairs fit into memory: some 11 GB at so many.
const MAX_ITEMS: usize = 20_000;

/// EASE (Steck, 2019, <https://arxiv.org/abs/1905.03375>): which items are chosen by the same users, in closed form.
///
/// `B = I - P / diag(P)` with `P = (X^T X + lambda I)^-1` and the choices `X`, `[users, items]` of 0 and 1. The score of an
/// item is the sum of `B_hj` over the history. It knows items by their users alone, and is hard to beat where these are
/// many: where a model with pictures does not, pictures do not help. One Cholesky factor in f64 on the host.
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `lambda` | 100 | above 0 | the pull towards 0 |
///
/// # Examples
/// ```
/// use clip_adapter::tasks::recommendation::{Ease, Histories, Recommender};
///
/// let of = vec![vec![0, 1], vec![0, 1], vec![2, 3], vec![0]];
/// let histories = Histories::new(["a", "b", "c", "d"], ["tea", "cup", "nail", "saw"], of)?;
/// let model = Ease { lambda: 1.0 }.fit(&histories)?;
/// let scores = model.scores(3, histories.of(3));
/// assert!(scores[1] > scores[2] && scores[1] > scores[3]);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ease {
    /// The pull towards 0.
    pub lambda: f64,
}

impl Default for Ease {
    fn default() -> Self {
        Self { lambda: 100.0 }
    }
}

impl Settings for Ease {
    const NAME: &'static str = "ease";
}

impl Ease {
    /// Learns which items go together.
    ///
    /// # Errors
    /// [`Error::Setting`] if `lambda` is not above 0; [`Error::Unsupported`] for more than 20,000 items;
    /// [`Error::Execution`] if rounding leaves the matrix without a factor.
    pub fn fit(&self, histories: &Histories) -> Result<FittedEase> {
        positive("lambda", self.lambda)?;
        let items = histories.items().len();
        if items > MAX_ITEMS {
            let gigabytes = (items * items * size_of::<f64>()).div_ceil(1_000_000_000);
            let found = format!("{items}, whose matrix takes {gigabytes} GB");
            return Err(Error::unsupported("items of EASE", format!("at most {MAX_ITEMS}"), found));
        }
        let mut gram = Mat::<f64>::zeros(items, items);
        for history in histories.iter() {
            for &a in history {
                history.iter().for_each(|&b| gram[(b, a)] += 1.0);
            }
        }
        (0..items).for_each(|item| gram[(item, item)] += self.lambda);
        let p = cholesky(&gram, "fitting EASE")?.inverse();
        let mut weights = vec![0.0; items * items];
        for from in 0..items {
            for to in (0..items).filter(|&to| to != from) {
                weights[from * items + to] = (-p[(from, to)] / p[(to, to)]) as f32;
            }
        }
        Ok(FittedEase { weights, items })
    }
}

/// What [`Ease::fit`] learned.
#[derive(Debug, Clone, PartialEq)]
pub struct FittedEase {
    weights: Vec<f32>, // [items, items], from the item chosen to the item scored
    items: usize,
}

impl Recommender for FittedEase {
    fn name(&self) -> &'static str {
        Ease::NAME
    }

    fn scores(&self, _user: usize, history: &[usize]) -> Vec<f32> {
        let mut scores = vec![0.0; self.items];
        for &item in history {
            let row = &self.weights[item * self.items..][..self.items];
            scores.iter_mut().zip(row).for_each(|(score, weight)| *score += weight);
        }
        scores
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two items of two users: with `X^T X = [[2, 1], [1, 1]]` and `lambda = 1`, `P = [[2, -1], [-1, 3]] / 5`.
    #[test]
    fn two_items_by_hand() {
        let histories = Histories::new(["a", "b"], ["x", "y"], vec![vec![0, 1], vec![0]]).unwrap();
        let model = Ease { lambda: 1.0 }.fit(&histories).unwrap();
        let expected = [0.0, 1.0 / 3.0, 0.5, 0.0];
        approx::assert_abs_diff_eq!(&model.weights[..], &expected[..], epsilon = 1e-6);
        assert!(matches!(Ease { lambda: 0.0 }.fit(&histories), Err(Error::Setting { .. })));
    }

    #[test]
    fn a_matrix_that_fits_no_memory_is_not_begun() {
        let items = (0..100_000).map(|item| item.to_string());
        let histories = Histories::new(["a"], items, vec![vec![0, 1]]).unwrap();
        let error = Ease::default().fit(&histories).unwrap_err();
        assert!(matches!(&error, Error::Unsupported { .. }));
        let sentence = "items of EASE: expected at most 20000, found 100000, whose matrix takes 80 GB";
        assert!(error.to_string().starts_with(sentence), "{error}");
    }
}
