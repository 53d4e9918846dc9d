use serde::{Deserialize, Serialize};

use super::check_images;
use crate::error::{Error, Result, part, positive};
use crate::evaluate::Logits;
use crate::features::{Embeddings, FeatureSet, Support, TextClassifier};
use crate::numerics::{argmax, log_softmax};

/// UPL: takes the images that are surest to be of each class as its shots, for any method to learn from.
///
/// Of the images whose likeliest class is `c`, the `shots` with the highest probability become the shots of `c`
/// (Huang et al., 2022, <https://arxiv.org/abs/2204.03649>). So a classifier moves to a new domain
/// without a label. The logits are those of zero-shot, or of any method fitted elsewhere. A class that is no
/// image's likeliest gets none, which every method can do with.
///
/// 8 shots a class suit four data sets; more bring in wrong ones. Other rules than this one are
/// [`pseudo_labels_by`]; where classes are missing among the images, as [`Balance`](super::Balance) tells and
/// [`Balance::require`](super::Balance::require) refuses, their [`Proportional`](PseudoLabels::Proportional) is the right one.
///
/// # Errors
/// [`Error::Data`] if there is no image, not one row of logits an image, or the classifier has another number
/// of classes; [`Error::Dim`] if it has another width; [`Error::Setting`] if `shots` is 0.
///
/// # Examples
/// ```
/// use burn::tensor::Device;
/// use clip_adapter::{Classifier, FeatureFile, Method, SsText, ZeroShot, tasks::unlabelled::pseudo_labels};
///
/// let (file, device) = (FeatureFile::synthetic(0)?, Device::flex());
/// let (unlabelled, test) = (file.split("train")?.embeddings(), file.test_set("test")?);
/// let zero_shot = ZeroShot::default().fit(&file.support(1, 1)?, file.classifier(), &device)?;
/// let support = pseudo_labels(&zero_shot.score(unlabelled)?, unlabelled, file.classifier(), 8)?;
/// let model = SsText::default().fit(&support, file.classifier(), &device)?;
/// assert!(model.evaluate(&test)?.accuracy > zero_shot.evaluate(&test)?.accuracy + 10.0);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
pub fn pseudo_labels(
    logits: &Logits,
    images: &Embeddings,
    classes: &TextClassifier,
    shots: usize,
) -> Result<Support> {
    pseudo_labels_by(logits, images, classes, PseudoLabels::Answers { shots })
}

/// Which images become shots of a class.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PseudoLabels {
    /// The surest of the images that it is the answer for: those of [`pseudo_labels`].
    Answers {
        /// Images of each class, 1 or more.
        shots: usize,
    },
    /// The images that are likeliest to be of it, also if they are likelier to be of another, so that every class has as
    /// many: for images of which every class has its part.
    Forced {
        /// Images of each class, 1 or more.
        shots: usize,
    },
    /// The surest part of the images that it is the answer for, rounded up: for images of which classes are missing or
    /// rare.
    Proportional {
        /// The part, above 0 and at most 1.
        share: f64,
    },
}

impl PseudoLabels {
    fn validate(self) -> Result<()> {
        match self {
            Self::Answers { shots: 0 } | Self::Forced { shots: 0 } => {
                Err(Error::setting("shots", "1 or more", 0))
            }
            Self::Proportional { share } => part("share", share).and_then(|()| positive("share", share)),
            _ => Ok(()),
        }
    }
}

/// A part of some images, rounded up but for what is no more than f64's own error; 1 or more.
pub(super) fn part_of(share: f64, count: usize) -> usize {
    ((share * count as f64 - 1e-9).ceil() as usize).max(1)
}

/// As [`pseudo_labels`], by a rule of choice.
///
/// # Errors
/// As [`pseudo_labels`], and [`Error::Setting`] if a number of the rule is out of range.
///
/// # Examples
/// ```
/// use clip_adapter::{FeatureFile, evaluate::Logits, tasks::unlabelled::{PseudoLabels, pseudo_labels_by}};
///
/// let file = FeatureFile::synthetic(0)?;
/// let images = file.split("test")?.embeddings().select(&[0, 1, 2]);
/// // all three are called amber, the last with least confidence
/// let mut logits = vec![0.0; 3 * 8];
/// (logits[0], logits[8], logits[16]) = (9.0, 8.0, 7.0);
/// let logits = Logits::new(logits, 8)?;
/// let by = |rule| pseudo_labels_by(&logits, &images, file.classifier(), rule);
/// assert_eq!(by(PseudoLabels::Proportional { share: 0.6 })?.set().class_counts(), [2, 0, 0, 0, 0, 0, 0, 0]);
/// assert_eq!(by(PseudoLabels::Forced { shots: 1 })?.set().class_counts(), [1; 8]);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
pub fn pseudo_labels_by(
    logits: &Logits,
    images: &Embeddings,
    classes: &TextClassifier,
    rule: PseudoLabels,
) -> Result<Support> {
    check_images(logits, images)?;
    logits.check_classes(classes.class_names().len())?;
    classes.weights().check_dim("image features", images.dim())?;
    rule.validate()?;
    let mut of_class = vec![Vec::new(); logits.classes()];
    for (image, row) in logits.rows().enumerate() {
        let (answer, log_p) = (argmax(row), log_softmax(row));
        match rule {
            PseudoLabels::Forced { .. } => {
                of_class.iter_mut().zip(log_p).for_each(|(images, log_p)| images.push((image, log_p)));
            }
            _ => of_class[answer].push((image, log_p[answer])),
        }
    }
    let (mut rows, mut labels) = (Vec::new(), Vec::new());
    for (class, mut images) in of_class.into_iter().enumerate().filter(|(_, images)| !images.is_empty()) {
        images.sort_by(|a, b| b.1.total_cmp(&a.1));
        let taken = match rule {
            PseudoLabels::Answers { shots } | PseudoLabels::Forced { shots } => shots,
            PseudoLabels::Proportional { share } => part_of(share, images.len()),
        };
        for (image, _) in images.into_iter().take(taken) {
            rows.push(image);
            labels.push(class);
        }
    }
    Support::new(FeatureSet::with_shared_names(images.select(&rows), labels, classes.shared_names())?)
}
