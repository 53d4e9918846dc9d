use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{Concepts, Splice};
use crate::error::{Error, Result};
use crate::explain::adapted::check_width;
use crate::features::Embeddings;
use crate::model::Classifier;

/// How far a decision hangs on the concepts that were named: what becomes of it without them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ConceptDeletion {
    /// Images that were asked about.
    pub images: usize,
    /// Concepts that were taken out of each, or all of an image that has fewer.
    pub removed: usize,
    /// Answers that are others without the most important concepts, in percent.
    pub flips: f64,
    /// Answers that are others without as many random words of the dictionary, in percent.
    pub random_flips: f64,
}

/// Takes the `count` concepts that weigh most out of every image and asks a model again, and does the same with as many
/// random words. A picture can be distrusted, but not this number.
///
/// What is taken out is the part of the feature, less the mean of images, that lies in the span of the words' directions.
/// Any classifier of CLIP's features can be asked.
///
/// # Errors
/// As [`Concepts::decompose`]; [`Error::Setting`] if `count` is 0; [`Error::Data`] if there are no images;
/// [`Error::Unsupported`] for a model of features before the projection.
///
/// # Examples
/// ```
/// use clip_adapter::{explain::{Concepts, Splice, concept_deletion}, prelude::*};
///
/// let (file, device) = (FeatureFile::synthetic(0)?, Device::flex());
/// let model = AutoAdapter::default().fit(&file.support(8, 1)?, file.classifier(), &device)?;
/// let (classes, test) = (file.classifier(), file.split("test")?.embeddings());
/// let concepts = Concepts::new(classes.class_names(), classes.weights(), file.split("train")?.embeddings())?;
/// let found = concept_deletion(&model, &concepts, test, &Splice::default(), 1, 0)?;
/// assert!(found.flips > 1.5 * found.random_flips);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
pub fn concept_deletion(
    model: &dyn Classifier,
    concepts: &Concepts,
    images: &Embeddings,
    settings: &Splice,
    count: usize,
    seed: u64,
) -> Result<ConceptDeletion> {
    check_width(model)?;
    if count == 0 {
        return Err(Error::setting("concepts to remove", "1 or more", 0));
    }
    if images.rows() == 0 {
        return Err(Error::data("images to remove concepts from", "at least one", "none"));
    }
    let decompositions = concepts.decompose(images, settings)?;
    let top: Vec<Vec<usize>> = decompositions
        .iter()
        .map(|made| made.weights.iter().take(count).map(|(word, _)| *word).collect())
        .collect();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut words: Vec<usize> = (0..concepts.words().len()).collect();
    let drawn = |top: &Vec<usize>| {
        let (drawn, _) = words.partial_shuffle(&mut random, top.len());
        drawn.to_vec()
    };
    let drawn: Vec<Vec<usize>> = top.iter().map(drawn).collect();
    let answers: Vec<usize> = model.score(images)?.predictions().collect();
    let flips = |removed: &[Vec<usize>]| -> Result<f64> {
        let others = model.score(&concepts.without(images, removed)?)?;
        let flipped = others.predictions().zip(&answers).filter(|(other, answer)| other != *answer).count();
        Ok(100.0 * flipped as f64 / answers.len() as f64)
    };
    Ok(ConceptDeletion {
        images: images.rows(),
        removed: count,
        flips: flips(&top)?,
        random_flips: flips(&drawn)?,
    })
}

impl Concepts {
    /// Every image without what it has of some words.
    fn without(&self, images: &Embeddings, words: &[Vec<usize>]) -> Result<Embeddings> {
        let rows = images.unit_rows();
        let mut values = Vec::with_capacity(images.values().len());
        for (row, words) in words.iter().enumerate() {
            let mut left: Vec<f64> = (0..self.dim()).map(|at| rows[(row, at)] - self.mean[at]).collect();
            for axis in self.axes(words) {
                let along: f64 = axis.iter().zip(&left).map(|(axis, left)| axis * left).sum();
                left.iter_mut().zip(&axis).for_each(|(left, axis)| *left -= along * axis);
            }
            values.extend(left.iter().zip(&self.mean).map(|(left, mean)| (left + mean) as f32));
        }
        Ok(Embeddings::new(values, self.dim())?.normalised())
    }

    /// Unit vectors at right angles that span the directions of some words (Gram and Schmidt, twice for the digits).
    fn axes(&self, words: &[usize]) -> Vec<Vec<f64>> {
        let mut axes: Vec<Vec<f64>> = Vec::new();
        for &word in words {
            let mut axis: Vec<f64> = (0..self.dim()).map(|at| self.directions[(word, at)]).collect();
            for _ in 0..2 {
                for other in &axes {
                    let along: f64 = axis.iter().zip(other).map(|(one, other)| one * other).sum();
                    axis.iter_mut().zip(other).for_each(|(axis, other)| *axis -= along * other);
                }
            }
            let length = axis.iter().map(|value| value * value).sum::<f64>().sqrt();
            if length > 1e-6 {
                axes.push(axis.into_iter().map(|value| value / length).collect());
            }
        }
        axes
    }
}
