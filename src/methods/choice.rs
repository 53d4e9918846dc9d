//! Choosing settings by what they make of labelled images that were not fitted.

use super::clip_adapter::{hold_out, rotations};
use crate::{
    FeatureSet, Support,
    evaluate::{argmax, log_sum_exp},
};

/// Pairs of images to fit and images to choose by. Validation images are one such pair; without them one shot of
/// each class is held out in turn, at most `limit` times. None where no class has two shots.
pub(crate) fn folds(support: &Support, limit: usize) -> Vec<(FeatureSet, FeatureSet)> {
    let set = support.set();
    if let Some(validation) = support.validation() {
        return vec![(set.clone(), validation.clone())];
    }
    let halves = (0..rotations(set, limit)).map(|rotation| hold_out(set, rotation));
    halves.map(|(held_out, kept)| (set.select(&kept), set.select(&held_out))).collect()
}

/// Keeps the best candidate: more right answers are better, and of as many the lower negative log-likelihood.
/// Of equals the first stays.
pub(crate) struct Choice<'a, T> {
    labels: &'a [usize],
    best: Option<(T, usize, f64)>,
}

impl<'a, T> Choice<'a, T> {
    /// A choice by images with these labels.
    pub fn new(labels: &'a [usize]) -> Self {
        Self { labels, best: None }
    }

    /// Compares a candidate by its logits, one row a label.
    pub fn consider(&mut self, candidate: T, logits: &[f32]) {
        let classes = logits.len() / self.labels.len().max(1);
        let rows = || logits.chunks_exact(classes.max(1)).zip(self.labels);
        let right = rows().filter(|(row, label)| argmax(row) == **label).count();
        if self.best.as_ref().is_some_and(|(_, best, _)| right < *best) {
            return; // most candidates end here, before the costly logarithms
        }
        let nll: f64 = rows().map(|(row, &label)| log_sum_exp(row) - f64::from(row[label])).sum();
        if self.best.as_ref().is_none_or(|(_, best, lowest)| right > *best || nll < *lowest) {
            self.best = Some((candidate, right, nll));
        }
    }

    /// The best candidate, if there was one.
    pub fn best(self) -> Option<T> {
        self.best.map(|(candidate, ..)| candidate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accuracy_comes_first_then_likelihood_then_order() {
        let mut choice = Choice::new(&[0, 1]);
        choice.consider("one right", &[9.0, 0.0, 9.0, 0.0]);
        choice.consider("both right, barely", &[1.0, 0.0, 0.0, 1.0]);
        choice.consider("both right, surely", &[2.0, 0.0, 0.0, 2.0]);
        choice.consider("the same again", &[2.0, 0.0, 0.0, 2.0]);
        choice.consider("one right, surely", &[99.0, 0.0, 99.0, 98.0]);
        assert_eq!(choice.best(), Some("both right, surely"));
    }
}
