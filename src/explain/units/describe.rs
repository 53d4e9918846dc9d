use faer::Mat;
use serde::{Deserialize, Serialize};

use super::forward::{Activity, Forward};
use crate::error::{Error, Result};
use crate::explain::{Concepts, Word};
use crate::features::{Embeddings, TextClassifier};
use crate::model::FeatureMap;

/// Words, images and classes that are told of a unit.
const WORDS: usize = 3;
const IMAGES: usize = 4;

/// A unit whose activation is correlated less with the word that it reads has no name.
const LEAST: f64 = 0.2;

/// What a hidden unit of an adapter reads, writes and moves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Unit {
    /// Its place.
    pub unit: usize,
    /// The word that it reads best, where its activation on images that the name was not made of is correlated with that
    /// word by 0.2 or more.
    pub name: Option<String>,
    /// That correlation; none where it never fires.
    pub faithfulness: Option<f64>,
    /// What its mean share is in the answers, over the second likeliest class, in logits: how much it matters.
    pub share: f64,
    /// Images on which it fires, in percent.
    pub fires: f64,
    /// The words nearest to what makes it fire, with their cosines.
    pub reads: Vec<Word>,
    /// The words nearest to what it writes, with their cosines.
    pub writes: Vec<Word>,
    /// The classes that it raises most, with how far it points along them.
    pub raises: Vec<Word>,
    /// The classes that it raises least.
    pub lowers: Vec<Word>,
    /// The rows of the images that make it fire most.
    pub images: Vec<usize>,
}

/// Says what every unit of an adapter does, those with the largest shares first.
///
/// What a unit reads is the mean of `named_on`, weighted by how much each image makes it fire more than others do:
/// `n_j = sum_i (h_ij - mean h_j) (f_i - mean f)`. `asked` are other images: on these its name is held against what it does,
/// and from these its images are.
///
/// # Errors
/// As [`FeatureMap::units`]; [`Error::Dim`] if a width is another; [`Error::Data`] if there are no images.
///
/// # Examples
/// ```
/// use clip_adapter::{explain::{Concepts, describe_units}, prelude::*};
///
/// let (file, device) = (FeatureFile::synthetic(0)?, Device::flex());
/// let (support, classes) = (file.support(8, 1)?, file.classifier());
/// let model = ClipAdapter::default().fit(&support, classes, &device)?;
/// let shots = support.set().embeddings();
/// let concepts = Concepts::new(classes.class_names(), classes.weights(), shots)?;
/// let units = describe_units(&model, classes, &concepts, shots, file.split("test")?.embeddings())?;
/// assert_eq!(units.len(), 16); // of 64 dimensions
/// println!("{:?} raises {}", units[0].name, units[0].raises[0].word);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
pub fn describe_units(
    map: &dyn FeatureMap,
    classes: &TextClassifier,
    concepts: &Concepts,
    named_on: &Embeddings,
    asked: &Embeddings,
) -> Result<Vec<Unit>> {
    if named_on.rows() == 0 || asked.rows() == 0 {
        return Err(Error::data("images for units", "some to name them by and some to ask about", "none"));
    }
    concepts.check(named_on)?;
    let forward = Forward::new(map, classes)?;
    let (named_on, asked) = (forward.of(named_on)?, forward.of(asked)?);
    let share = mean_shares(&forward, &asked);
    let moves = &forward.writes * forward.texts.transpose(); // [units, classes]
    let mut units = Vec::with_capacity(forward.len());
    for unit in 0..forward.len() {
        let direction = direction(&named_on, unit);
        let reads = concepts.nearest(&direction, WORDS)?;
        let written: Vec<f64> = (0..forward.writes.ncols()).map(|at| forward.writes[(unit, at)]).collect();
        let faithfulness = reads.first().and_then(|word| faithfulness(&asked, unit, concepts, &word.word));
        let mut order: Vec<usize> = (0..moves.ncols()).collect();
        order.sort_by(|&one, &other| {
            moves[(unit, other)].total_cmp(&moves[(unit, one)]).then(one.cmp(&other))
        });
        let class =
            |&class: &usize| Word { word: classes.class_names()[class].clone(), value: moves[(unit, class)] };
        let active = asked.activations.col_as_slice(unit);
        let name = reads.first().filter(|_| faithfulness.is_some_and(|value| value >= LEAST));
        units.push(Unit {
            unit,
            name: name.map(|word| word.word.clone()),
            faithfulness,
            share: share[unit],
            fires: 100.0 * active.iter().filter(|&&value| value > 0.0).count() as f64 / active.len() as f64,
            writes: concepts.nearest(&written, WORDS)?,
            raises: order.iter().take(WORDS).map(class).collect(),
            lowers: order.iter().rev().take(WORDS).map(class).collect(),
            images: firing_most(active),
            reads,
        });
    }
    units.sort_by(|one, other| other.share.total_cmp(&one.share).then(one.unit.cmp(&other.unit)));
    Ok(units)
}

/// The mean over all images of what each unit adds to the answer over the class after it.
fn mean_shares(forward: &Forward, activity: &Activity) -> Vec<f64> {
    let rows = activity.features.nrows();
    let mut mean = vec![0.0; forward.len()];
    for row in 0..rows {
        let (class, over) = forward.first_two(activity, row);
        let (_, contributions) = forward.contributions(activity, row, class, over);
        mean.iter_mut().zip(contributions).for_each(|(mean, value)| *mean += value / rows as f64);
    }
    mean
}

/// `sum_i (h_ij - mean h_j) (f_i - mean f)`.
fn direction(activity: &Activity, unit: usize) -> Vec<f64> {
    let active = activity.activations.col_as_slice(unit);
    let mean = active.iter().sum::<f64>() / active.len() as f64;
    // The deviations sum to 0, so that the mean of the features makes no difference.
    let column = |column: usize| -> f64 {
        let features: &Mat<f64> = &activity.features;
        active.iter().enumerate().map(|(row, value)| (value - mean) * features[(row, column)]).sum()
    };
    (0..activity.features.ncols()).map(column).collect()
}

/// The correlation of a unit's activation with how far images point along a word; none where either stands still.
fn faithfulness(activity: &Activity, unit: usize, concepts: &Concepts, word: &str) -> Option<f64> {
    let place = concepts.place(word)?;
    let active = activity.activations.col_as_slice(unit);
    let along: Vec<f64> =
        (0..active.len()).map(|row| concepts.along(&activity.features, row, place)).collect();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (first, second) = (mean(active), mean(&along));
    let (mut both, mut one, mut other) = (0.0, 0.0, 0.0);
    for (a, b) in active.iter().zip(&along) {
        both += (a - first) * (b - second);
        one += (a - first).powi(2);
        other += (b - second).powi(2);
    }
    (one > 1e-18 && other > 1e-18).then(|| both / (one * other).sqrt())
}

/// The rows with the largest activations above 0, largest first.
fn firing_most(active: &[f64]) -> Vec<usize> {
    let mut rows: Vec<usize> = (0..active.len()).filter(|&row| active[row] > 0.0).collect();
    rows.sort_by(|&one, &other| active[other].total_cmp(&active[one]).then(one.cmp(&other)));
    rows.truncate(IMAGES);
    rows
}
