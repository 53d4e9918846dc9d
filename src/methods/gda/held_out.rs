use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use super::gaussians::{Gaussians, Prior};
use crate::{
    FeatureSet, Result, Support, TextClassifier,
    methods::{
        choice::{ROTATIONS, folds},
        dense::{row_major, zero_shot_logits},
    },
};

/// What zero-shot CLIP and Gaussians say of images that were held out of the estimate.
pub(super) struct HeldOut {
    pub labels: Vec<usize>,
    zero_shot: Vec<f32>, // [images, classes]
    gaussian: Vec<f32>,
}

impl HeldOut {
    /// Of all that can be held out, fold after fold; empty where nothing can.
    pub fn new(support: &Support, classes: &TextClassifier, prior: &Prior) -> Result<Self> {
        let (mut labels, mut zero_shot, mut gaussian) = (Vec::new(), Vec::new(), Vec::new());
        let folds = folds(support, ROTATIONS);
        let score = |(kept, held_out): &(FeatureSet, FeatureSet)| -> Result<_> {
            let images = held_out.embeddings();
            Ok((zero_shot_logits(images, classes), Gaussians::estimate(kept, prior)?.scores(images)))
        };
        let scores = folds.par_iter().map(score).collect::<Result<Vec<_>>>()?;
        for ((_, held_out), (zero, scores)) in folds.iter().zip(scores) {
            labels.extend_from_slice(held_out.labels());
            zero_shot.extend(row_major(&zero));
            gaussian.extend(row_major(&scores));
        }
        Ok(Self { labels, zero_shot, gaussian })
    }

    /// The logits of all images at a weight of the Gaussians.
    pub fn logits(&self, alpha: f64) -> Vec<f32> {
        let pairs = self.zero_shot.iter().zip(&self.gaussian);
        pairs.map(|(zero_shot, score)| zero_shot + alpha as f32 * score).collect()
    }
}
