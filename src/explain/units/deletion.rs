use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::forward::{Activity, Forward};
use crate::error::{Error, Result};
use crate::explain::diagnosis::margin;
use crate::features::{Embeddings, TextClassifier};
use crate::model::FeatureMap;

/// How far decisions hang on the units that are said to make them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UnitDeletion {
    /// Images that were asked about.
    pub images: usize,
    /// Units that were silenced for each.
    pub silenced: usize,
    /// The mean logit of the answer less the largest other one.
    pub margin: f64,
    /// What is left of it without the units that speak most for the answer.
    pub margin_left: f64,
    /// What is left of it without as many random units of those that fire.
    pub random_margin_left: f64,
    /// Answers that are others without the units that speak most for them, in percent.
    pub flips: f64,
    /// Answers that are others without as many random units of those that fire, in percent.
    pub random_flips: f64,
}

/// Silences the `count` units that have the largest shares in the decision about each image, and as many random ones of those
/// that fire, and asks again.
///
/// # Errors
/// As [`FeatureMap::units`]; [`Error::Dim`] if the width is another; [`Error::Data`] if there are no images;
/// [`Error::Setting`] if `count` is 0.
///
/// # Examples
/// ```
/// use clip_adapter::{explain::unit_deletion, methods::Ratio, prelude::*};
///
/// let (file, device) = (FeatureFile::synthetic(0)?, Device::flex());
/// let method = ClipAdapter { ratio: Ratio::Fixed(0.6), ..Default::default() };
/// let model = method.fit(&file.support(8, 1)?, file.classifier(), &device)?;
/// let found = unit_deletion(&model, file.classifier(), file.split("test")?.embeddings(), 2, 0)?;
/// assert!(found.margin_left < found.random_margin_left && found.flips > found.random_flips);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
pub fn unit_deletion(
    map: &dyn FeatureMap,
    classes: &TextClassifier,
    images: &Embeddings,
    count: usize,
    seed: u64,
) -> Result<UnitDeletion> {
    if count == 0 {
        return Err(Error::setting("units to silence", "1 or more", 0));
    }
    if images.rows() == 0 {
        return Err(Error::data("images to silence units for", "at least one", "none"));
    }
    let forward = Forward::new(map, classes)?;
    let activity = forward.of(images)?;
    let decisions: Vec<(usize, usize)> =
        (0..images.rows()).map(|row| forward.first_two(&activity, row)).collect();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let (mut top, mut drawn) = (Vec::new(), Vec::new());
    for (row, &(class, over)) in decisions.iter().enumerate() {
        let (_, contributions) = forward.contributions(&activity, row, class, over);
        let mut order: Vec<usize> = (0..forward.len()).collect();
        order.sort_by(|&one, &other| {
            contributions[other].total_cmp(&contributions[one]).then(one.cmp(&other))
        });
        order.truncate(count);
        top.push(order);
        let mut firing: Vec<usize> =
            (0..forward.len()).filter(|&unit| activity.activations[(row, unit)] != 0.0).collect();
        let (few, _) = firing.partial_shuffle(&mut random, count);
        drawn.push(few.to_vec());
    }
    let measure = |of: &Activity| -> (f64, f64) {
        let left = |(row, &(class, _)): (usize, &(usize, usize))| margin(&of.logits, row, class);
        let margins: Vec<f64> = decisions.iter().enumerate().map(left).collect();
        let share = 1.0 / margins.len() as f64;
        let flipped = margins.iter().filter(|margin| **margin < 0.0).count() as f64;
        (share * margins.iter().sum::<f64>(), 100.0 * share * flipped)
    };
    let (margin, _) = measure(&activity);
    let (margin_left, flips) = measure(&forward.without(&activity, &top));
    let (random_margin_left, random_flips) = measure(&forward.without(&activity, &drawn));
    let (images, silenced) = (images.rows(), count);
    Ok(UnitDeletion { images, silenced, margin, margin_left, random_margin_left, flips, random_flips })
}
