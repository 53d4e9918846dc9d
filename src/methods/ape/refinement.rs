use burn::tensor::{Device, Tensor, TensorData};
use faer::Mat;

use crate::features::{FeatureSet, TextClassifier};
use crate::model::KernelHead;
use crate::numerics::{row_major, softmax_rows};

/// The weights of likeness between classes and of the texts' variance, as for most of the authors' data sets.
const LIKENESS: f64 = 0.7;
const VARIANCE: f64 = 0.3;

/// The channels that tell the classes apart, and the shots on them.
pub(super) struct Refinement<'a> {
    set: &'a FeatureSet,
    classes: &'a TextClassifier,
    /// In increasing order.
    pub channels: Vec<usize>,
    keys: Mat<f64>,      // F', unit rows [shots, channels]
    surprises: Vec<f64>, // KL(L_i || softmax(F'_i W'^T)), in nats
}

impl<'a> Refinement<'a> {
    /// Keeps `part` of the channels, at least one.
    pub fn new(set: &'a FeatureSet, classes: &'a TextClassifier, part: f64) -> Self {
        let (images, text) = (set.embeddings().unit_rows(), classes.weights().unit_rows());
        let scores = scores(&images, &text, set);
        let mut channels: Vec<usize> = (0..scores.len()).collect();
        channels.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        channels.truncate(((part * scores.len() as f64).round() as usize).max(1));
        channels.sort_unstable();
        let (keys, text) = (selected(&images, &channels), selected(&text, &channels));
        let mut logits = &keys * text.transpose(); // cosines, without CLIP's scale: [shots, classes]
        let of_labels: Vec<f64> =
            set.labels().iter().enumerate().map(|(row, &label)| logits[(row, label)]).collect();
        let log_sums = softmax_rows(&mut logits);
        let surprises = log_sums.iter().zip(of_labels).map(|(sum, of_label)| sum - of_label).collect();
        Self { set, classes, channels, keys, surprises }
    }

    /// The cache whose values are `exp(gamma KL_i)` for the class of shot `i`.
    pub fn head(&self, alpha: f64, beta: f64, gamma: f64, device: &Device) -> KernelHead {
        let (shots, classes) = (self.set.len(), self.classes.class_names().len());
        let mut values = vec![0.0; shots * classes];
        for (row, (&label, surprise)) in self.set.labels().iter().zip(&self.surprises).enumerate() {
            values[row * classes + label] = (gamma * surprise).exp() as f32;
        }
        let values = Tensor::from_data(TensorData::new(values, [shots, classes]), device);
        let keys = TensorData::new(row_major(&self.keys), [shots, self.channels.len()]);
        KernelHead::new(self.classes, Tensor::from_data(keys, device), values, alpha, beta)
    }
}

/// `J` of every channel: the less the classes are alike on it, and the more the texts differ, the better.
fn scores(images: &Mat<f64>, text: &Mat<f64>, set: &FeatureSet) -> Vec<f64> {
    let (classes, dim) = (text.nrows(), text.ncols());
    // A class is its text and its shots. All pairs of different classes are all pairs less those within a class.
    let mut sums = text.clone();
    for (row, &class) in set.labels().iter().enumerate() {
        (0..dim).for_each(|channel| sums[(class, channel)] += images[(row, channel)]);
    }
    let samples: Vec<f64> = set.class_counts().into_iter().map(|count| 1.0 + count as f64).collect();
    let all: f64 = samples.iter().sum();
    let pairs = (all * all - samples.iter().map(|count| count * count).sum::<f64>()).max(1.0);
    let score = |channel: usize| {
        let column = |of: &Mat<f64>| -> Vec<f64> { (0..classes).map(|class| of[(class, channel)]).collect() };
        let (sums, text) = (column(&sums), column(text));
        let within: f64 = sums.iter().map(|sum| sum * sum).sum();
        let likeness = (sums.iter().sum::<f64>().powi(2) - within) / pairs;
        let mean = text.iter().sum::<f64>() / classes as f64;
        let square: f64 = text.iter().map(|value| (value - mean).powi(2)).sum();
        VARIANCE * square / (classes as f64 - 1.0).max(1.0) - LIKENESS * likeness
    };
    (0..dim).map(score).collect()
}

/// Some columns, each row of which is then scaled to unit length: `[rows, dim]` to `[rows, channels]`.
fn selected(rows: &Mat<f64>, channels: &[usize]) -> Mat<f64> {
    let norm = |row: usize| channels.iter().map(|&channel| rows[(row, channel)].powi(2)).sum::<f64>().sqrt();
    let norms: Vec<f64> = (0..rows.nrows()).map(|row| norm(row).max(1e-12)).collect();
    Mat::from_fn(rows.nrows(), channels.len(), |row, column| rows[(row, channels[column])] / norms[row])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::{FeatureFile, Support};

    /// The definition, pair by pair.
    #[test]
    fn the_scores_are_means_over_pairs_of_classes() {
        let file = FeatureFile::synthetic(0).unwrap();
        let set = file.split("train").unwrap().select(&[0, 1, 2, 40, 70, 71, 200]); // of classes 0, 1, 2 and 6
        let support = Support::new(set).unwrap();
        let (images, text) =
            (support.set().embeddings().unit_rows(), file.classifier().weights().unit_rows());
        let found = scores(&images, &text, support.set());
        for channel in [0, 13, 63] {
            let mut samples: Vec<(usize, f64)> =
                (0..8).map(|class| (class, text[(class, channel)])).collect();
            let labels = support.set().labels().iter().enumerate();
            samples.extend(labels.map(|(row, &label)| (label, images[(row, channel)])));
            let (mut sum, mut pairs) = (0.0, 0.0);
            for (class, value) in &samples {
                for (other, other_value) in &samples {
                    if class != other {
                        sum += value * other_value;
                        pairs += 1.0;
                    }
                }
            }
            let mean: f64 = (0..8).map(|class| text[(class, channel)]).sum::<f64>() / 8.0;
            let variance = (0..8).map(|class| (text[(class, channel)] - mean).powi(2)).sum::<f64>() / 7.0;
            let expected = 0.3 * variance - 0.7 * sum / pairs;
            approx::assert_abs_diff_eq!(found[channel], expected, epsilon = 1e-12);
        }
    }
}
