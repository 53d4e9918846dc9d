use serde::{Deserialize, Serialize};

use super::adapted::{adapted_images, adapted_texts, check_width};
use super::diagnosis::{margin, on_host};
use crate::error::Result;
use crate::evaluate::{Logits, Scores};
use crate::features::{FeatureSet, check_same_classes};
use crate::methods::FittedZeroShot;
use crate::model::Classifier;

/// What a fitted model does otherwise than zero-shot CLIP, on labelled images.
///
/// `fixed - broken` is exactly the change in right answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Change {
    /// Images that were asked about.
    pub images: usize,
    /// Right answers before, in percent.
    pub before: f64,
    /// Right answers after, in percent.
    pub after: f64,
    /// Images that were wrong and are right.
    pub fixed: usize,
    /// Images that were right and are wrong.
    pub broken: usize,
    /// Images that were wrong and are wrong in another way.
    pub other_wrong: usize,
    /// Mean logit of the right class less the largest other one, before and after.
    pub margins: [f64; 2],
    /// `mean 1 - cos(f*, f)`, of what has adapted features.
    pub image_distance: Option<f64>,
    /// `|W* - W|`, Frobenius' norm over the classes, of what has adapted texts.
    pub text_distance: Option<f64>,
    /// Each class, in label order.
    pub classes: Vec<ClassChange>,
    /// Every image whose answer changed, in order.
    pub decisions: Vec<Decision>,
}

/// What changed for the images of a class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ClassChange {
    /// Its name.
    pub name: String,
    /// Its images.
    pub images: usize,
    /// Those that were right before.
    pub before: usize,
    /// Those that are right after.
    pub after: usize,
    /// Images of any class that were called so before.
    pub called_before: usize,
    /// Images of any class that are called so after.
    pub called_after: usize,
}

/// An image whose answer changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Decision {
    /// Its row.
    pub row: usize,
    /// What it is, what zero-shot CLIP calls it, and what the model calls it.
    pub truth: usize,
    /// See `truth`.
    pub before: usize,
    /// See `truth`.
    pub after: usize,
    /// Whether that is for the better.
    pub kind: Kind,
    /// The logit of the new answer less that of the old one, before: below 0.
    pub margin_before: f64,
    /// The same after: above 0.
    pub margin_after: f64,
}

/// What became of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It was wrong and is right.
    Fixed,
    /// It was right and is wrong.
    Broken,
    /// It was wrong and is wrong in another way.
    OtherWrong,
}

impl Kind {
    fn of(truth: usize, before: usize, after: usize) -> Self {
        if after == truth {
            Self::Fixed
        } else if before == truth {
            Self::Broken
        } else {
            Self::OtherWrong
        }
    }
}

/// Compares a fitted model with the zero-shot classifier that it started from.
///
/// # Errors
/// [`Error::Data`](crate::Error::Data) if there are no images or their classes are others, [`Error::Dim`](crate::Error::Dim)
/// if they have another width, [`Error::Unsupported`](crate::Error::Unsupported) for a model that takes features before
/// CLIP's projection, of which zero-shot CLIP says nothing.
///
/// # Examples
/// ```
/// use clip_adapter::{explain::change, prelude::*};
///
/// let (file, device) = (FeatureFile::synthetic(0)?, Device::flex());
/// let model = AutoAdapter::default().fit(&file.support(4, 1)?, file.classifier(), &device)?;
/// let change = change(&model, file.split("test")?)?;
/// let gained = (change.after - change.before) / 100.0 * change.images as f64;
/// assert_eq!(gained.round(), change.fixed as f64 - change.broken as f64);
/// assert!(change.image_distance.is_none()); // `auto` adapts logits and no features
/// # Ok::<(), clip_adapter::Error>(())
/// ```
pub fn change(model: &dyn Classifier, set: &FeatureSet) -> Result<Change> {
    let classes = model.classes();
    check_width(model)?;
    check_same_classes("images", classes.class_names(), set.class_names())?;
    let zero_shot = FittedZeroShot::new(classes, model.device()).score(set.embeddings())?;
    let adapted = model.score(set.embeddings())?;
    let scores = [model_scores(&zero_shot, set)?, model_scores(&adapted, set)?];
    let decisions = decisions(&zero_shot, &adapted, set.labels());
    let count = |kind: Kind| decisions.iter().filter(|decision| decision.kind == kind).count();
    let map = model.feature_map();
    let image_distance = map.map(|map| -> Result<f64> {
        let (before, after) =
            (set.embeddings().unit_rows(), adapted_images(map, set.embeddings())?.unit_rows());
        let cosine =
            |row: usize| (0..before.ncols()).map(|at| before[(row, at)] * after[(row, at)]).sum::<f64>();
        Ok((0..set.len()).map(|row| 1.0 - cosine(row)).sum::<f64>() / set.len() as f64)
    });
    let text_distance = map.map(|map| -> Result<f64> {
        let (before, after) =
            (classes.weights().unit_rows(), adapted_texts(map, classes.weights())?.unit_rows());
        Ok((before - after).norm_l2())
    });
    Ok(Change {
        images: set.len(),
        before: scores[0].0,
        after: scores[1].0,
        fixed: count(Kind::Fixed),
        broken: count(Kind::Broken),
        other_wrong: count(Kind::OtherWrong),
        margins: [scores[0].1, scores[1].1],
        image_distance: image_distance.transpose()?,
        text_distance: text_distance.transpose()?,
        classes: by_class(&zero_shot, &adapted, set),
        decisions,
    })
}

/// Accuracy in percent and the mean margin of the right class.
fn model_scores(logits: &Logits, set: &FeatureSet) -> Result<(f64, f64)> {
    let accuracy = Scores::new(logits, set.labels())?.accuracy();
    let logits = on_host(logits);
    let margins = set.labels().iter().enumerate().map(|(row, &label)| margin(&logits, row, label));
    Ok((accuracy, margins.sum::<f64>() / set.len() as f64))
}

fn decisions(zero_shot: &Logits, adapted: &Logits, labels: &[usize]) -> Vec<Decision> {
    let answers = zero_shot.predictions().zip(adapted.predictions());
    let rows = zero_shot.rows().zip(adapted.rows());
    let all = answers.zip(rows).zip(labels).enumerate();
    all.filter(|(_, (((before, after), _), _))| before != after)
        .map(|(row, (((before, after), (zero_shot, adapted)), &truth))| Decision {
            row,
            truth,
            before,
            after,
            kind: Kind::of(truth, before, after),
            margin_before: f64::from(zero_shot[after]) - f64::from(zero_shot[before]),
            margin_after: f64::from(adapted[after]) - f64::from(adapted[before]),
        })
        .collect()
}

fn by_class(zero_shot: &Logits, adapted: &Logits, set: &FeatureSet) -> Vec<ClassChange> {
    let [before, after]: [Vec<usize>; 2] = [zero_shot, adapted].map(|logits| logits.predictions().collect());
    let named = set.class_names().iter().enumerate();
    named
        .map(|(class, name)| {
            let right = |answers: &[usize]| {
                answers.iter().zip(set.labels()).filter(|(a, l)| *a == *l && **l == class).count()
            };
            let called = |answers: &[usize]| answers.iter().filter(|&&answer| answer == class).count();
            ClassChange {
                name: name.clone(),
                images: set.labels().iter().filter(|&&label| label == class).count(),
                before: right(&before),
                after: right(&after),
                called_before: called(&before),
                called_after: called(&after),
            }
        })
        .collect()
}
