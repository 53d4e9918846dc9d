use serde::{Deserialize, Serialize};

use super::{Catalogue, Recommender};
use crate::evaluate::retrieval::dot;

/// Unit vectors of all items, and what a user is by those chosen: `u = normalise(sum_h w_h v_h)` over the last `window`
/// items of the history, with `w_h = 2^(-age / half_life)` and an age of 0 for the last one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Vectors {
    pub values: Vec<f32>, // [items, dim]
    pub dim: usize,
    pub window: usize,
    pub half_life: Option<f64>,
}

/// An item of the history that speaks for another, and how loudly.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Reason {
    /// The item chosen before.
    pub item: usize,
    /// Its part of the score: those of all chosen items add up to the cosine of user and item.
    pub part: f64,
}

impl Vectors {
    pub fn item(&self, item: usize) -> &[f32] {
        &self.values[item * self.dim..][..self.dim]
    }

    /// The items that count, and the weight of each.
    fn weighed<'h>(&self, history: &'h [usize]) -> impl Iterator<Item = (usize, f32)> + 'h {
        let last = &history[history.len().saturating_sub(self.window)..];
        let (count, half_life) = (last.len(), self.half_life);
        last.iter().enumerate().map(move |(at, &item)| {
            let age = (count - 1 - at) as f64;
            (item, half_life.map_or(1.0, |half_life| (-age / half_life).exp2()) as f32)
        })
    }

    /// The sum over the history, and its length.
    fn sum(&self, history: &[usize]) -> (Vec<f32>, f32) {
        let mut sum = vec![0.0; self.dim];
        for (item, weight) in self.weighed(history) {
            sum.iter_mut().zip(self.item(item)).for_each(|(sum, value)| *sum += weight * value);
        }
        let length = dot(&sum, &sum).sqrt().max(1e-12);
        (sum, length)
    }

    /// The user's vector; zeros without a history.
    pub fn user(&self, history: &[usize]) -> Vec<f32> {
        let (sum, length) = self.sum(history);
        sum.into_iter().map(|value| value / length).collect()
    }

    /// The cosine of the user with every item.
    pub fn scores(&self, history: &[usize]) -> Vec<f32> {
        let user = self.user(history);
        self.values.chunks_exact(self.dim).map(|item| dot(&user, item)).collect()
    }

    /// The `count` items of the history that speak loudest for `item`.
    pub fn reasons(&self, history: &[usize], item: usize, count: usize) -> Vec<Reason> {
        let (_, length) = self.sum(history);
        let part = |(chosen, weight): (usize, f32)| Reason {
            item: chosen,
            part: f64::from(weight * dot(self.item(chosen), self.item(item)) / length),
        };
        let mut reasons: Vec<Reason> = self.weighed(history).map(part).collect();
        reasons.sort_by(|a, b| b.part.total_cmp(&a.part));
        reasons.truncate(count);
        reasons
    }
}

/// Pictures and no training: the user is the mean of the items chosen, and the score a cosine.
///
/// `u = normalise(mean_h x_h)` over the last 50 items, `score_j = u x_j`, with the centred features `x` of [`Catalogue`].
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryMean {
    vectors: Vectors,
    name: &'static str,
}

impl HistoryMean {
    /// The last 50 items count, all alike.
    const WINDOW: usize = 50;

    /// Of centred features.
    pub fn new(catalogue: &Catalogue) -> Self {
        Self::of(catalogue.centred(), catalogue.dim(), "history mean")
    }

    /// Of features as CLIP gives them, to see what centring does.
    pub fn raw(catalogue: &Catalogue) -> Self {
        Self::of(catalogue.features().values().to_vec(), catalogue.dim(), "history mean, raw")
    }

    fn of(values: Vec<f32>, dim: usize, name: &'static str) -> Self {
        Self { vectors: Vectors { values, dim, window: Self::WINDOW, half_life: None }, name }
    }

    /// The items of a history that speak loudest for `item`.
    pub fn reasons(&self, history: &[usize], item: usize, count: usize) -> Vec<Reason> {
        self.vectors.reasons(history, item, count)
    }
}

impl Recommender for HistoryMean {
    fn name(&self) -> &'static str {
        self.name
    }

    fn scores(&self, _user: usize, history: &[usize]) -> Vec<f32> {
        self.vectors.scores(history)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vectors(window: usize, half_life: Option<f64>) -> Vectors {
        Vectors { values: vec![1.0, 0.0, 0.0, 1.0, 0.6, 0.8], dim: 2, window, half_life }
    }

    #[test]
    fn the_last_items_count_and_older_ones_less() {
        assert_eq!(vectors(1, None).user(&[0, 1]), [0.0, 1.0]);
        let even = vectors(5, None).user(&[0, 1]);
        approx::assert_abs_diff_eq!(&even[..], &[0.5f32.sqrt(); 2][..], epsilon = 1e-6);
        let user = vectors(5, Some(1.0)).user(&[0, 1]); // (0.5, 1), normalised
        approx::assert_abs_diff_eq!(user[1] / user[0], 2.0, epsilon = 1e-6);
        assert_eq!(vectors(5, None).user(&[]), [0.0, 0.0]);
    }

    #[test]
    fn reasons_add_up_to_the_score() {
        let (vectors, history) = (vectors(5, Some(3.0)), [0, 1]);
        let reasons = vectors.reasons(&history, 2, 9);
        assert_eq!(reasons[0].item, 1);
        let sum: f64 = reasons.iter().map(|reason| reason.part).sum();
        approx::assert_abs_diff_eq!(sum, f64::from(vectors.scores(&history)[2]), epsilon = 1e-6);
        assert_eq!(vectors.reasons(&history, 2, 1).len(), 1);
    }
}
