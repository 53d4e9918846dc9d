//! Whether an adapter is worth its shots: what can be known before it is fitted.

mod certificate;
mod curve;
mod held_out;

pub use certificate::{Certificate, certificate};
pub use curve::{CurvePoint, LearningCurve, learning_curve};
pub use held_out::{HeldOutEstimate, HeldOutShot, held_out};
pub(super) use held_out::{margin, on_host};

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::features::{Support, TextClassifier};
use crate::methods::HeldOutShots;

/// What the shots and the texts alone say of how much there is to gain, before anything is fitted.
///
/// Measured on four few-shot files (two aerial, pets, objects) and three draws: what of it predicts the gain of
/// [`AutoAdapter`](crate::AutoAdapter), by Spearman's correlation, in the tables of [`guide::explain`](crate::guide::explain).
///
/// | Number | Formula | What it is good for |
/// | --- | --- | --- |
/// | `unsure` | mean entropy or mean negative log-likelihood of zero-shot on the shots, the larger | predicts the gain: 0.72 at 4 shots, 0.95 at 16 |
/// | `alignment` | `tr(T^T K T) / (N |T|^2)`, what zero-shot leaves over is alike where images are | predicts the gain: 0.75 at 4, 0.96 at 16 |
/// | `held_out` | see [`HeldOutEstimate`] | off by 2.9 points at 4 shots, 0.7 at 16, nearly always too low |
/// | `modality_gap` | `|mean f - mean w|` | describes; predicts nothing |
/// | `kernel_freedom`, `gaussian_freedom` | `tr(K (K + lambda I)^-1)`, `sum s_i / (s_i + tr S)` | describe; predict nothing |
///
/// # Examples
/// ```
/// use clip_adapter::{FeatureFile, explain::diagnose};
///
/// let file = FeatureFile::synthetic(0)?;
/// let diagnosis = diagnose(&file.support(8, 1)?, file.classifier())?;
/// let held_out = diagnosis.held_out.unwrap();
/// assert!(held_out.lower_95 < held_out.accuracy && held_out.accuracy > diagnosis.zero_shot);
/// assert!(diagnose(&file.support(1, 1)?, file.classifier())?.held_out.is_none()); // nothing can be held out
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Diagnosis {
    /// Shots.
    pub images: usize,
    /// Classes that have shots.
    pub classes: usize,
    /// Mean shots of these.
    pub shots: f64,
    /// Shots that zero-shot CLIP has right, in percent.
    pub zero_shot: f64,
    /// How unsure zero-shot CLIP is of the shots, or how wrong where that is more, in nats.
    pub unsure: f64,
    /// How far shots that are alike lack the same, 0..=1.
    pub alignment: f64,
    /// How far images and texts lie apart.
    pub modality_gap: f64,
    /// Degrees of freedom of a kernel regression on the shots, at most their number.
    pub kernel_freedom: f64,
    /// Degrees of freedom of Gaussians with a shared covariance; none without two shots of a class that differ.
    pub gaussian_freedom: Option<f64>,
    /// What [`AutoAdapter`](crate::AutoAdapter) would reach; none where fewer than half of the classes have a second shot.
    pub held_out: Option<HeldOutEstimate>,
}

/// Looks at shots and texts before a fit; of 4 shots of 25 classes in some 50 milliseconds.
///
/// # Errors
/// [`Error::Dim`](crate::Error::Dim) or [`Error::Data`](crate::Error::Data) if support and classes do not fit together, or
/// there are more than 4,096 shots, of which some are better kept to test with.
pub fn diagnose(support: &Support, classes: &TextClassifier) -> Result<Diagnosis> {
    support.check(classes)?;
    let set = support.set();
    let (alignment, kernel_freedom, gaussian_freedom) = HeldOutShots::counts(set, classes)?;
    let zero_shot = classes.logits_on_host(set.embeddings());
    let right = (0..set.len()).filter(|&row| held_out::answer(&zero_shot, row) == set.labels()[row]).count();
    Ok(Diagnosis {
        images: set.len(),
        classes: set.class_counts().into_iter().filter(|&count| count > 0).count(),
        shots: set.shots_a_class(),
        zero_shot: 100.0 * right as f64 / set.len() as f64,
        unsure: HeldOutShots::uncertainty(set, classes),
        alignment,
        modality_gap: modality_gap(support, classes),
        kernel_freedom,
        gaussian_freedom,
        held_out: HeldOutEstimate::in_closed_form(support, classes)?,
    })
}

/// `|mean f - mean w|` of unit rows.
fn modality_gap(support: &Support, classes: &TextClassifier) -> f64 {
    let (images, texts) = (support.set().embeddings().unit_rows(), classes.weights().unit_rows());
    let mean = |of: &faer::Mat<f64>, column: usize| {
        (0..of.nrows()).map(|row| of[(row, column)]).sum::<f64>() / of.nrows() as f64
    };
    let square = |column: usize| (mean(&images, column) - mean(&texts, column)).powi(2);
    (0..images.ncols()).map(square).sum::<f64>().sqrt()
}
