//! What is proposed before any shot is held out.

use crate::features::{FeatureSet, TextClassifier};
use crate::numerics::softmax_rows;

/// The weight of the regression, and of the Gaussians beside the identity, where zero-shot is unsure by one nat.
pub(super) const WEIGHT: f64 = 12.0;
pub(super) const ALPHA: f64 = 48.0;

/// How unsure zero-shot CLIP is of the images, or how wrong where that is more: the larger of the mean entropy of
/// its probabilities and its mean negative log-likelihood, in nats.
pub(super) fn uncertainty(set: &FeatureSet, classes: &TextClassifier) -> f64 {
    let logits = classes.logits_on_host(set.embeddings());
    let mut probabilities = logits.clone();
    let log_sums = softmax_rows(&mut probabilities);
    let (mut entropy, mut nll) = (0.0, 0.0);
    for (row, (&label, log_sum)) in set.labels().iter().zip(log_sums).enumerate() {
        let surprise = |class: usize| log_sum - logits[(row, class)]; // finite, also where the probability is 0
        nll += surprise(label);
        entropy +=
            (0..logits.ncols()).map(|class| probabilities[(row, class)] * surprise(class)).sum::<f64>();
    }
    entropy.max(nll) / set.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::Embeddings;

    /// Two opposite texts: an image upon the first one has the logits `scale` and `-scale`.
    fn of_scale(scale: f64, labels: &[usize]) -> f64 {
        let names = ["a", "b"];
        let text = vec![1.0, 0.0, -1.0, 0.0];
        let classes = TextClassifier::new(text, 2, names, ["a {}."], scale, "test").unwrap();
        let images = Embeddings::new([1.0, 0.0].repeat(labels.len()), 2).unwrap();
        uncertainty(&FeatureSet::new(images, labels.to_vec(), names).unwrap(), &classes)
    }

    /// With logits a `ln 3` apart the probabilities are 3/4 and 1/4.
    #[test]
    fn it_is_the_entropy_of_who_is_right_and_the_surprise_of_who_is_wrong() {
        let scale = 3f64.ln() / 2.0;
        let (of_likely, of_unlikely) = ((4f64 / 3.0).ln(), 4f64.ln());
        let entropy = 0.75 * of_likely + 0.25 * of_unlikely;
        approx::assert_abs_diff_eq!(of_scale(scale, &[0, 0, 0]), entropy, epsilon = 1e-12);
        approx::assert_abs_diff_eq!(of_scale(scale, &[1]), of_unlikely, epsilon = 1e-12);
        let half = (of_likely + of_unlikely) / 2.0;
        approx::assert_abs_diff_eq!(of_scale(scale, &[0, 1]), half, epsilon = 1e-12);
    }

    #[test]
    fn a_probability_of_zero_is_no_uncertainty() {
        assert_eq!(of_scale(1000.0, &[0, 0]), 0.0);
        assert_eq!(of_scale(1000.0, &[1]), 2000.0);
    }
}
