use serde::{Deserialize, Serialize};

use super::diagnosis::HeldOutEstimate;
use super::evidence::{Neighbour, nearest_shots};
use crate::error::{Error, Result};
use crate::features::{Support, TextClassifier};

/// Shots that are shown beside a suspect.
const SHOWN: usize = 3;

/// A shot whose label may be wrong, or that is a doubtful picture of its class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Suspect {
    /// Its row in the support set.
    pub row: usize,
    /// The class that it is labelled as.
    pub label: usize,
    /// What is said of it by what was fitted to the others.
    pub answer: usize,
    /// The logit of its label less the largest other one; the first suspect has the lowest.
    pub margin: f64,
    /// Whether both zero-shot CLIP and the other shots call it something else, and the same.
    pub agreed: bool,
    /// The other shots that it is most alike.
    pub nearest: Vec<Neighbour>,
}

/// All shots of which something can be said, the most doubtful first.
///
/// Each is judged by [`AutoAdapter`](crate::AutoAdapter) fitted without it and without one shot of every other class, in
/// closed form, by the margin of its label. With 5 % of the labels replaced by random ones, SUSPECT16 % of these were among
/// the first tenth at 16 shots of a class, and SUSPECT4 % at 4 (mean over four files and three draws); replaced by the class that zero-shot CLIP
/// finds likeliest beside the right one, NEAR16 and NEAR4 %. That a shot is first on the list does not
/// make it wrong: somebody must look. Below a margin of 0 the others disagree.
///
/// # Errors
/// As [`diagnose`](super::diagnose); [`Error::Data`] if fewer than half of the classes have a second shot.
///
/// # Examples
/// ```
/// use clip_adapter::{FeatureFile, FeatureSet, Support, explain::suspects};
///
/// let file = FeatureFile::synthetic(0)?;
/// let shots = file.support(8, 1)?.set().clone();
/// let mut labels = shots.labels().to_vec();
/// labels[3] = 5; // it is of class 0
/// let wrong = FeatureSet::new(shots.embeddings().clone(), labels, shots.class_names().to_vec())?;
/// let suspects = suspects(&Support::new(wrong)?, file.classifier())?;
/// assert!(suspects[..3].iter().any(|suspect| suspect.row == 3 && suspect.answer == 0));
/// # Ok::<(), clip_adapter::Error>(())
/// ```
pub fn suspects(support: &Support, classes: &TextClassifier) -> Result<Vec<Suspect>> {
    support.check(classes)?;
    let estimate = HeldOutEstimate::in_closed_form(support, classes)?;
    let estimate = estimate.ok_or_else(|| {
        Error::data("shots to hold out", "a second one of at least half of the classes", "fewer")
    })?;
    let mut shots = estimate.shots;
    shots.sort_by(|one, other| one.margin.total_cmp(&other.margin));
    let rows: Vec<usize> = shots.iter().map(|shot| shot.row).collect();
    let nearest = nearest_shots(support, &support.set().embeddings().select(&rows), SHOWN + 1)?;
    let suspects = shots.into_iter().zip(nearest).map(|(shot, mut nearest)| {
        nearest.retain(|neighbour| neighbour.shot != shot.row);
        nearest.truncate(SHOWN);
        Suspect {
            row: shot.row,
            label: shot.label,
            answer: shot.answer,
            margin: shot.margin,
            agreed: shot.answer != shot.label && shot.answer == shot.zero_shot,
            nearest,
        }
    });
    Ok(suspects.collect())
}
