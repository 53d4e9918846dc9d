//! Choosing settings by what they make of labelled images that were not fitted.

use serde::{Deserialize, Serialize};

use crate::numerics::{argmax, log_sum_exp};

/// What was chosen, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Chosen<T> {
    pub best: T,
    /// The number of images it was chosen by; none where it was given or there was nothing to choose by.
    pub images: usize,
    pub tried: Vec<Trial<T>>,
}

/// How many of the images one candidate had right.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Trial<T> {
    pub settings: T,
    pub right: usize,
    /// The sum of the probabilities of the right answers, where that was asked for.
    pub expected: Option<f64>,
}

impl<T> Chosen<T> {
    /// Without a choice.
    pub fn given(best: T) -> Self {
        Self { best, images: 0, tried: Vec::new() }
    }

    /// The part of the images that a candidate had right, in percent.
    pub fn accuracy(&self, trial: &Trial<T>) -> f64 {
        self.percent(trial.right as f64)
    }

    /// The part of the images that a candidate is expected to have right, in percent.
    pub fn expected(&self, trial: &Trial<T>) -> Option<f64> {
        trial.expected.map(|expected| self.percent(expected))
    }

    fn percent(&self, right: f64) -> f64 {
        100.0 * right / self.images.max(1) as f64
    }
}

/// The logits of every image and its label.
pub(super) fn rows<'a>(logits: &'a [f32], labels: &'a [usize]) -> impl Iterator<Item = (&'a [f32], usize)> {
    let classes = logits.len() / labels.len().max(1);
    logits.chunks_exact(classes.max(1)).zip(labels.iter().copied())
}

/// How many answers are right.
pub(super) fn right(logits: &[f32], labels: &[usize]) -> usize {
    rows(logits, labels).filter(|(row, label)| argmax(row) == *label).count()
}

/// Keeps the best candidate: more right answers are better, and of as many the lower negative log-likelihood.
/// Of equals the first stays.
pub(crate) struct Choice<'a, T> {
    labels: &'a [usize],
    best: Option<(T, usize, f64)>,
    tried: Vec<Trial<T>>,
}

impl<'a, T: Clone> Choice<'a, T> {
    /// A choice by images with these labels.
    pub fn new(labels: &'a [usize]) -> Self {
        Self { labels, best: None, tried: Vec::new() }
    }

    /// Compares a candidate by its logits, one row a label.
    pub fn consider(&mut self, candidate: T, logits: &[f32]) {
        let right = right(logits, self.labels);
        self.tried.push(Trial { settings: candidate.clone(), right, expected: None });
        if self.best.as_ref().is_some_and(|(_, best, _)| right < *best) {
            return; // most candidates end here, before the costly logarithms
        }
        let nll: f64 =
            rows(logits, self.labels).map(|(row, label)| log_sum_exp(row) - f64::from(row[label])).sum();
        if self.best.as_ref().is_none_or(|(_, best, lowest)| right > *best || nll < *lowest) {
            self.best = Some((candidate, right, nll));
        }
    }

    /// The best candidate, if there was one.
    pub fn best(self) -> Option<T> {
        self.best.map(|(candidate, ..)| candidate)
    }

    /// The best candidate, if there was one, and how all of them did.
    pub fn chosen(self) -> Option<Chosen<T>> {
        let Self { labels, best, tried } = self;
        best.map(|(best, ..)| Chosen { best, images: labels.len(), tried })
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
        let chosen = choice.chosen().unwrap();
        assert_eq!((chosen.best, chosen.images, chosen.tried.len()), ("both right, surely", 2, 5));
        assert_eq!(chosen.tried[0], Trial { settings: "one right", right: 1, expected: None });
        assert_eq!(chosen.accuracy(&chosen.tried[0]), 50.0);
        assert_eq!(Choice::<&str>::new(&[0, 1]).best(), None);
    }
}
