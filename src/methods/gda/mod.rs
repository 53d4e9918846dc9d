mod gaussians;
mod held_out;
mod moments;

pub(crate) use gaussians::Gaussians;
pub(crate) use moments::Moments;

use faer::Mat;
use serde::{Deserialize, Serialize};

pub(super) use self::gaussians::Prior;
pub(super) use self::held_out::HeldOut;
use crate::choose::{Choice, Chosen, NearChoice, Proposal, ROTATIONS};
use crate::error::{Error, Result};
use crate::features::{Support, TextClassifier};
use crate::model::{FittedLinear, LinearHead, Settings};
use crate::numerics::row_major;
use crate::train::{Method, Run};

/// Of images that are held out of a support, one of each class and so many times, the parts that zero-shot CLIP and that
/// Gaussians of the others name right, where a text counts as so many shots of its class; none where none can be.
pub(crate) fn named_right(
    support: &Support,
    classes: &TextClassifier,
    text_shots: f64,
    rotations: usize,
) -> Result<Option<[f64; 2]>> {
    let prior = Prior::new(classes, text_shots, support.set());
    Ok(HeldOut::new(support, classes, &prior, rotations)?.named_right())
}

/// The weights tried where none is given, of which 0 is zero-shot.
const ALPHAS: [f64; 14] = [0.0, 1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0];

/// The weight where nothing can be held out and `P` is the identity.
const DEFAULT_ALPHA: f64 = 1.0;

/// Gaussian discriminant analysis: one Gaussian a class, with a covariance that all classes share.
///
/// `logits = s f W^T + alpha (f w^T + b)` with `w_c = P mu_c` and `b_c = log(1 / C) - mu_c^T P mu_c / 2`, the
/// class means `mu_c`, the pooled covariance `S` of the `N` shots and the precision `P = D ((N - 1) S + tr(S)
/// I)^-1` (Wang et al., 2024, section 3.1, <https://arxiv.org/abs/2402.04087>). The authors' pseudo-inverse
/// is an inverse: the matrix is positive definite and its condition at most `N`. Where no class has two
/// different shots there is no covariance, and `P` is the identity. A class without shots takes the mean of
/// the other classes' means.
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `alpha` | null | 0 or more, or null | weight of the Gaussians; null chooses it |
/// | `text_shots` | 0 | 0 or more | so many shots of its class every text counts as in `mu_c` |
///
/// `None`, null in JSON, chooses among 0 and 1e-4 to 100: on few-shot validation images if there are some, else
/// on the shots, by holding out one of each class in turn. Where fewer than half of the classes have a second
/// shot there is nothing to choose by: it is then 1 beside the identity. No constant suits all: 1 loses 13 points
/// on Pets at 4 shots and is right for aerial scenes.
///
/// The text's shots are not in the paper. A text lies far from all images, so that it counts as where its class
/// would be among the images: `t_c` less the mean of the texts plus the mean of the `mu_c`. A class without shots
/// has none of its text's either.
///
/// # Examples
/// ```
/// use burn::tensor::Device;
/// use clip_adapter::{Classifier, FeatureFile, Method, ZeroShot, methods::Gda};
///
/// let (file, device) = (FeatureFile::synthetic(0)?, Device::flex());
/// let (support, test) = (file.support(4, 1)?, file.test_set("test")?);
/// let before = ZeroShot::default().fit(&support, file.classifier(), &device)?.evaluate(&test)?;
/// let after = Gda::default().fit(&support, file.classifier(), &device)?.evaluate(&test)?;
/// assert!(after.accuracy > before.accuracy + 10.0);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gda {
    /// Weight of the Gaussians; `None` chooses it.
    pub alpha: Option<f64>,
    /// So many shots of its class every text counts as.
    pub text_shots: f64,
}

impl Gda {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first one outside.
    pub fn validate(&self) -> Result<()> {
        let not_negative = |value: f64| value.is_finite() && value >= 0.0;
        if let Some(alpha) = self.alpha.filter(|&alpha| !not_negative(alpha)) {
            return Err(Error::setting("alpha", "0 or more, or null", alpha));
        }
        if !not_negative(self.text_shots) {
            return Err(Error::setting("text_shots", "0 or more", self.text_shots));
        }
        Ok(())
    }

    /// Itself with the weight that does best on images that were held out of the estimate. Where there are none
    /// the Gaussians weigh as much as `otherwise` does beside the identity.
    pub(super) fn choose(
        &self,
        support: &Support,
        classes: &TextClassifier,
        otherwise: f64,
    ) -> Result<Chosen<Self>> {
        if self.alpha.is_some() {
            return Ok(Chosen::given(*self));
        }
        let prior = Prior::new(classes, self.text_shots, support.set());
        let held_out = HeldOut::new(support, classes, &prior, ROTATIONS)?;
        if held_out.labels.is_empty() {
            return Ok(Chosen::given(self.weighted(otherwise / prior.scale())));
        }
        let mut choice = Choice::new(&held_out.labels);
        for alpha in ALPHAS {
            choice.consider(self.weighted(alpha), &held_out.logits(alpha));
        }
        Ok(choice.chosen().unwrap_or_else(|| Chosen::given(*self)))
    }

    /// Itself with a weight near the one that is proposed for Gaussians beside the identity.
    pub(super) fn choose_near(
        &self,
        support: &Support,
        classes: &TextClassifier,
        proposal: Proposal,
    ) -> Result<Chosen<Self>> {
        if self.alpha.is_some() {
            return Ok(Chosen::given(*self));
        }
        let prior = Prior::new(classes, self.text_shots, support.set());
        let proposal = proposal.beside(prior.scale());
        let unconfirmed = Chosen::given(self.weighted(proposal.unconfirmed()));
        if proposal.is_zero() {
            return Ok(unconfirmed);
        }
        let held_out = HeldOut::new(support, classes, &prior, ROTATIONS)?;
        if held_out.labels.is_empty() {
            return Ok(unconfirmed);
        }
        let mut choice = NearChoice::new(&held_out.labels, proposal);
        for alpha in proposal.weights() {
            choice.consider(self.weighted(alpha), alpha, &held_out.logits(alpha));
        }
        Ok(choice.chosen().unwrap_or(unconfirmed))
    }

    fn weighted(&self, alpha: f64) -> Self {
        Self { alpha: Some(alpha), ..*self }
    }
}

/// The Gaussians of a [`Gda`], beside the zero-shot classifier.
pub type FittedGda = FittedLinear<Gda, GdaFound>;

/// What a fit of [`Gda`] finds beside the classifier.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GdaFound {
    /// The weight of the Gaussians.
    pub alpha: f64,
}

impl FittedGda {
    /// The weight of the Gaussians.
    pub fn alpha(&self) -> f64 {
        self.found.alpha
    }
}

impl Settings for Gda {
    const NAME: &'static str = "gda";
}

impl Method for Gda {
    type Fitted = FittedGda;

    fn fit_with(&self, support: &Support, classes: &TextClassifier, run: &mut Run<'_>) -> Result<FittedGda> {
        support.check(classes)?;
        self.validate()?;
        let alpha = self.choose(support, classes, DEFAULT_ALPHA)?.best.alpha.unwrap_or(DEFAULT_ALPHA);
        let prior = Prior::new(classes, self.text_shots, support.set());
        let Gaussians { weights, bias } = Gaussians::estimate(support.set(), &prior)?;
        let text = classes.weights().unit_rows(); // [classes, dim]
        let weight = Mat::from_fn(text.nrows(), text.ncols(), |class, column| {
            classes.logit_scale() * text[(class, column)] + alpha * weights[(column, class)]
        });
        let bias = bias.iter().map(|bias| (alpha * bias) as f32).collect();
        let head = LinearHead::new(classes, row_major(&weight), bias, run.device());
        Ok(FittedGda::of(*self, GdaFound { alpha }, head))
    }
}
