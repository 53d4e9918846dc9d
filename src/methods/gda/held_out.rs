use rayon::iter::{IntoParallelIterator, ParallelIterator};

use super::gaussians::{Gaussians, Prior};
use crate::choose::{Fold, folds};
use crate::error::Result;
use crate::features::{Support, TextClassifier};
use crate::numerics::{argmax, row_major};

/// What zero-shot CLIP and Gaussians say of images that were held out of the estimate.
pub(in crate::methods) struct HeldOut {
    pub labels: Vec<usize>,
    zero_shot: Vec<f32>, // [images, classes]
    pub gaussian: Vec<f32>,
}

impl HeldOut {
    /// Of all that can be held out in so many rotations, fold after fold; empty where nothing can.
    pub fn new(support: &Support, classes: &TextClassifier, prior: &Prior, rotations: usize) -> Result<Self> {
        let (mut labels, mut zero_shot, mut gaussian) = (Vec::new(), Vec::new(), Vec::new());
        let score = |fold: Fold<'_>| -> Result<_> {
            let (kept, held_out) = fold();
            let images = held_out.embeddings();
            let scores = Gaussians::estimate(&kept, prior)?.scores(images);
            Ok((held_out.labels().to_vec(), row_major(&classes.logits_on_host(images)), row_major(&scores)))
        };
        let folds = folds(support, rotations).into_par_iter();
        for (of_fold, zero, scores) in folds.map(score).collect::<Result<Vec<_>>>()? {
            labels.extend(of_fold);
            zero_shot.extend(zero);
            gaussian.extend(scores);
        }
        Ok(Self { labels, zero_shot, gaussian })
    }

    /// The parts that zero-shot CLIP and that the Gaussians name right; none where nothing was held out.
    pub fn named_right(&self) -> Option<[f64; 2]> {
        let classes = self.gaussian.len().checked_div(self.labels.len())?;
        let right = |logits: &[f32]| {
            let answers = logits.chunks(classes).map(argmax);
            answers.zip(&self.labels).filter(|(answer, label)| answer == *label).count()
        };
        Some([&self.zero_shot, &self.gaussian].map(|logits| right(logits) as f64 / self.labels.len() as f64))
    }

    /// The logits of all images at a weight of the Gaussians.
    pub fn logits(&self, alpha: f64) -> Vec<f32> {
        let pairs = self.zero_shot.iter().zip(&self.gaussian);
        pairs.map(|(zero_shot, score)| zero_shot + alpha as f32 * score).collect()
    }
}
