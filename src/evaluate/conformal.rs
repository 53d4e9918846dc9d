use serde::{Deserialize, Serialize};

use super::Logits;
use crate::error::{Error, Result};
use crate::numerics::log_softmax;

/// Split-conformal prediction: sets of classes that hold the right one as often as asked for.
///
/// A class `c` is in the set of an image if its score `1 - p_c` is at most `q`, the
/// `ceil((n + 1) coverage)`-th smallest score of the right classes of `n` calibration images (Sadinle et al., 2019,
/// <https://arxiv.org/abs/1609.00451>; Angelopoulos and Bates, 2021, section 1,
/// <https://arxiv.org/abs/2107.07511>). Whatever the classifier, the right class of a further image of the
/// same kind is in its set with at least that probability, on the mean over calibration sets. Sets are small
/// where the classifier is sure, and empty where no class is likely enough.
///
/// With [`fit_by_class`](Self::fit_by_class) every class has its own `q`, and the promise holds for the images
/// of each class, at the price of larger sets. Too few images for the promise, fewer than
/// `coverage / (1 - coverage)`, put the class into every set.
///
/// # Examples
/// ```
/// use clip_adapter::evaluate::{Conformal, Logits};
///
/// // the right class is the first one and has the probabilities 0.1, 0.2, ..., 0.9
/// let logit = |p: f32| (p / (1.0 - p)).ln();
/// let values = (1..10).flat_map(|tenth| [logit(tenth as f32 / 10.0), 0.0]);
/// let calibration = Logits::new(values.collect(), 2)?;
/// let sets = Conformal::fit(&calibration, &[0; 9], 0.8)?;
/// approx::assert_abs_diff_eq!(sets.thresholds()[0], 0.8, epsilon = 1e-6); // the 8th of 9
/// let unsure_and_sure = Logits::new(vec![0.0, 0.0, 5.0, 0.0], 2)?;
/// assert_eq!(sets.sets(&unsure_and_sure)?, [vec![0, 1], vec![0]]);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conformal {
    coverage: f64,
    thresholds: Vec<f64>,
}

/// What conformal sets are worth on labelled images. Percentages are 0..=100.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SetReport {
    /// Images scored.
    pub images: usize,
    /// Images whose set holds the right class, in percent.
    pub coverage: f64,
    /// Classes in a set, on the mean.
    pub mean_size: f64,
    /// Images whose set is empty, in percent.
    pub empty: f64,
    /// Coverage of the images of each class, in percent; none of a class without images.
    pub class_coverage: Vec<Option<f64>>,
}

impl Conformal {
    /// One threshold for all classes. The images must be others than were fitted; `coverage` is 0..1.
    ///
    /// # Errors
    /// [`Error::Data`] if there is no image, not one label an image, or a label that is no class;
    /// [`Error::Setting`] if the coverage is not between 0 and 1.
    pub fn fit(logits: &Logits, labels: &[usize], coverage: f64) -> Result<Self> {
        let scores = right_scores(logits, labels, coverage)?;
        Ok(Self { coverage, thresholds: vec![quantile(scores, coverage); logits.classes()] })
    }

    /// A threshold for each class, from its own calibration images.
    ///
    /// # Errors
    /// As [`fit`](Self::fit).
    pub fn fit_by_class(logits: &Logits, labels: &[usize], coverage: f64) -> Result<Self> {
        let mut of_class = vec![Vec::new(); logits.classes()];
        for (score, &label) in right_scores(logits, labels, coverage)?.into_iter().zip(labels) {
            of_class[label].push(score);
        }
        let thresholds = of_class.into_iter().map(|scores| quantile(scores, coverage)).collect();
        Ok(Self { coverage, thresholds })
    }

    /// The part of images whose set is to hold the right class, 0..1.
    pub fn coverage(&self) -> f64 {
        self.coverage
    }

    /// The largest score `1 - p_c` of each class that is in a set; 1 takes the class into all.
    pub fn thresholds(&self) -> &[f64] {
        &self.thresholds
    }

    /// The classes of every image's set, in label order.
    ///
    /// # Errors
    /// [`Error::Data`] if the logits are not of as many classes.
    pub fn sets(&self, logits: &Logits) -> Result<Vec<Vec<usize>>> {
        logits.check_classes(self.thresholds.len())?;
        let set = |row| {
            let scores = scores(row).into_iter().zip(&self.thresholds).enumerate();
            scores.filter(|(_, (score, threshold))| score <= *threshold).map(|(class, _)| class).collect()
        };
        Ok(logits.rows().map(set).collect())
    }

    /// Counts how often the sets are right, and how large they are.
    ///
    /// # Errors
    /// [`Error::Data`] if there is no image, not one label an image, or a label or number of classes is wrong.
    pub fn evaluate(&self, logits: &Logits, labels: &[usize]) -> Result<SetReport> {
        logits.check_labels(labels)?;
        let sets = self.sets(logits)?;
        let mut of_class = vec![(0, 0); logits.classes()]; // images, and those whose set is right
        for (set, &label) in sets.iter().zip(labels) {
            of_class[label].0 += 1;
            of_class[label].1 += usize::from(set.contains(&label));
        }
        let percent = |part: usize, whole: usize| 100.0 * part as f64 / whole as f64;
        let class = |&(images, right): &(usize, usize)| (images > 0).then(|| percent(right, images));
        Ok(SetReport {
            images: sets.len(),
            coverage: percent(of_class.iter().map(|(_, right)| right).sum(), sets.len()),
            mean_size: sets.iter().map(Vec::len).sum::<usize>() as f64 / sets.len() as f64,
            empty: percent(sets.iter().filter(|set| set.is_empty()).count(), sets.len()),
            class_coverage: of_class.iter().map(class).collect(),
        })
    }
}

/// `1 - p_c` of every class.
fn scores(row: &[f32]) -> Vec<f64> {
    log_softmax(row).into_iter().map(|log_p| 1.0 - log_p.exp()).collect()
}

/// The scores of the right classes of calibration images.
fn right_scores(logits: &Logits, labels: &[usize], coverage: f64) -> Result<Vec<f64>> {
    logits.check_labels(labels)?;
    if !(coverage > 0.0 && coverage < 1.0) {
        return Err(Error::setting("coverage", "between 0 and 1", coverage));
    }
    Ok(logits.rows().zip(labels).map(|(row, &label)| scores(row)[label]).collect())
}

/// The `ceil((n + 1) coverage)`-th smallest of `n` scores; 1, which no score exceeds, where there are too few.
fn quantile(mut scores: Vec<f64>, coverage: f64) -> f64 {
    scores.sort_by(f64::total_cmp);
    // 10 * 0.7 is a little more than 7 in binary, and must not become 8.
    let rank = ((scores.len() + 1) as f64 * coverage - 1e-9).ceil() as usize;
    scores.get(rank.max(1) - 1).copied().unwrap_or(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rank_is_corrected_for_a_finite_sample() {
        let scores = |count: usize| (1..=count).map(|score| score as f64 / 100.0).collect::<Vec<_>>();
        assert_eq!(quantile(scores(9), 0.9), 0.09);
        assert_eq!(quantile(scores(9), 0.7), 0.07);
        assert_eq!(quantile(scores(10), 0.9), 0.1);
        assert_eq!(quantile(scores(8), 0.9), 1.0, "a ninth would be needed");
        assert_eq!(quantile(scores(99), 0.9), 0.9);
        assert_eq!(quantile(Vec::new(), 0.5), 1.0);
        assert_eq!(quantile(scores(5), 1e-12), 0.01);
    }
}
