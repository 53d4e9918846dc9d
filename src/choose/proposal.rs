//! Choosing a weight near the one that a rule proposes.

use super::choice::{Chosen, Trial, right, rows};
use crate::features::FeatureSet;
use crate::numerics::log_sum_exp;

/// A weight is tried from a sixteenth to sixteen times the proposed one, in steps of the root of 2.
const HALF_OCTAVES: i32 = 8;

/// What nothing confirms is taken at half: a weight where no image can be held out, and at most so much where a
/// class has no shot, as no image of it is among those held out.
const UNCONFIRMED: f64 = 0.5;

/// The weight of what a method adds to the zero-shot logits, as a rule proposes it, and how far it may be
/// exceeded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Proposal {
    weight: f64,
    most: f64,
}

impl Proposal {
    /// A weight for what is fitted to `set`.
    pub fn new(weight: f64, set: &FeatureSet) -> Self {
        let unseen = set.class_counts().contains(&0);
        Self { weight, most: if unseen { UNCONFIRMED } else { f64::INFINITY } }
    }

    /// The same for something so many times as large.
    pub fn beside(self, scale: f64) -> Self {
        Self { weight: self.weight / scale, ..self }
    }

    /// Whether nothing is to be added.
    pub fn is_zero(&self) -> bool {
        self.weight == 0.0
    }

    /// The weight where no image can be held out.
    pub fn unconfirmed(&self) -> f64 {
        UNCONFIRMED * self.weight
    }

    /// The weights to consider: 0, which is only reported, and the multiples that may be taken.
    pub fn weights(&self) -> Vec<f64> {
        let multiples = (-HALF_OCTAVES..=HALF_OCTAVES).map(|step| (f64::from(step) / 2.0).exp2());
        let allowed = multiples.filter(|multiple| *multiple <= self.most);
        [0.0].into_iter().chain(allowed.map(|multiple| multiple * self.weight)).collect()
    }
}

/// Keeps the best candidate: the highest expected number of right answers, which is the sum of their
/// probabilities, less `ln(weight / proposed)^2 / 2`, the logarithm of a log-normal prior. Of equals the first
/// stays. What few images say moves the weight little, what many say a lot, and a weight of 0 is never taken.
pub(crate) struct NearChoice<'a, T> {
    labels: &'a [usize],
    proposed: f64,
    best: Option<(T, f64)>,
    tried: Vec<Trial<T>>,
}

impl<'a, T: Clone> NearChoice<'a, T> {
    /// A choice by images with these labels.
    pub fn new(labels: &'a [usize], proposal: Proposal) -> Self {
        Self { labels, proposed: proposal.weight, best: None, tried: Vec::new() }
    }

    /// Compares a candidate of this weight by its logits, one row a label.
    pub fn consider(&mut self, candidate: T, weight: f64, logits: &[f32]) {
        let log_probability = |(row, label): (&[f32], usize)| f64::from(row[label]) - log_sum_exp(row);
        let expected: f64 = rows(logits, self.labels).map(|row| log_probability(row).exp()).sum();
        self.tried.push(Trial {
            settings: candidate.clone(),
            right: right(logits, self.labels),
            expected: Some(expected),
        });
        let score = expected - (weight / self.proposed).ln().powi(2) / 2.0; // minus infinity for a weight of 0
        if self.best.as_ref().is_none_or(|(_, highest)| score > *highest) {
            self.best = Some((candidate, score));
        }
    }

    /// The best candidate, if there was one, and how all of them did.
    pub fn chosen(self) -> Option<Chosen<T>> {
        let Self { labels, best, tried, .. } = self;
        best.map(|(best, _)| Chosen { best, images: labels.len(), tried })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::Embeddings;

    fn set(labels: &[usize]) -> FeatureSet {
        let rows = Embeddings::new(vec![1.0; labels.len()], 1).unwrap();
        FeatureSet::new(rows, labels.to_vec(), ["a", "b"]).unwrap()
    }

    #[test]
    fn a_class_without_shots_halves_what_may_be_taken() {
        let all = Proposal::new(8.0, &set(&[0, 1]));
        let weights = all.weights();
        assert_eq!(
            (weights.len(), weights[0], weights[1], weights[9], weights[17]),
            (18, 0.0, 0.5, 8.0, 128.0)
        );
        approx::assert_abs_diff_eq!(weights[10], 8.0 * 2f64.sqrt(), epsilon = 1e-12);
        assert_eq!(all.unconfirmed(), 4.0);
        let unseen = Proposal::new(8.0, &set(&[0, 0]));
        assert_eq!(unseen.weights(), weights[..8]);
        assert_eq!((unseen.weights()[7], unseen.unconfirmed()), (4.0, 4.0));
        assert_eq!(all.beside(4.0).weights()[9], 2.0);
        assert!(Proposal::new(0.0, &set(&[0])).is_zero() && !all.is_zero());
    }

    /// Two classes whose logits differ by `m ln 3` and `-m ln 3`: what is gained on one image is lost on the
    /// other, so that the prior decides. The more images agree, the further they move the weight.
    #[test]
    fn the_prior_decides_where_images_do_not() {
        let choose = |labels: &[usize]| {
            let proposal = Proposal::new(2.0, &set(&[0, 1]));
            let mut choice = NearChoice::new(labels, proposal);
            for weight in proposal.weights() {
                let row = [(weight / 2.0 * 3f64.ln()) as f32, 0.0];
                choice.consider(weight, weight, &row.repeat(labels.len()));
            }
            choice.chosen().unwrap()
        };
        let torn = choose(&[0, 1]);
        assert_eq!((torn.best, torn.images, torn.tried.len()), (2.0, 2, 18));
        assert!(
            torn.tried.iter().all(|trial| (trial.expected.unwrap() - 1.0).abs() < 1e-5 && trial.right == 1)
        );
        for (images, labels) in [(1, vec![0]), (40, vec![0; 40])] {
            let score = |multiple: f64| {
                let odds = 3f64.powf(multiple);
                f64::from(images) * odds / (odds + 1.0) - multiple.ln().powi(2) / 2.0
            };
            let multiples: Vec<f64> = (-8..=8).map(|step| 2f64.powf(f64::from(step) / 2.0)).collect();
            let best = multiples
                .into_iter()
                .reduce(|one, other| if score(other) > score(one) { other } else { one });
            approx::assert_abs_diff_eq!(choose(&labels).best, 2.0 * best.unwrap(), epsilon = 1e-9);
        }
        assert!(choose(&[0; 40]).best > 4.0, "forty images in favour");
        assert!(choose(&[1; 40]).best < 1.0, "forty images against");
        assert_eq!(choose(&[1; 4000]).best, 0.125, "the prior never gives way to 0");
        assert_eq!(NearChoice::<f64>::new(&[0], Proposal::new(1.0, &set(&[0]))).chosen(), None);
    }
}
