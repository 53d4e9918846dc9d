mod problem;

use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

pub(super) use self::problem::Problem;
use crate::choose::{Choice, Chosen, NearChoice, Proposal, ROTATIONS, hold_outs};
use crate::error::{Error, Result};
use crate::features::{FeatureSet, Support, TextClassifier};
use crate::model::{FittedKernel, InForce, KernelHead, Settings};
use crate::numerics::row_major;
use crate::train::{Method, Run};

/// What is tried for a setting that is not given. A weight of 0 is zero-shot.
const BETAS: [f64; 3] = [1.0, 5.0, 20.0];
const LAMBDAS: [f64; 5] = [1e-3, 0.01, 0.1, 1.0, 10.0];
const WEIGHTS: [f64; 12] = [0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 30.0, 50.0, 100.0];

/// Settings are chosen on so many shots at most: the cost of a candidate grows with their cube.
const MOST_SHOTS: usize = 640;

/// What stands where nothing can be left out: what does best when one shot a class of the larger support sets
/// of four data sets is fitted and the others are scored.
const DEFAULTS: ProKeRFound = ProKeRFound { beta: 5.0, lambda: 0.1, weight: 10.0 };

/// ProKeR: kernel ridge regression on what zero-shot CLIP leaves to be explained.
///
/// `logits = s f W^T + weight k(f, F) A`, `A = (K + lambda I)^-1 (L - softmax(s F W^T))` with the kernel
/// `k(f, g) = exp(-beta (1 - f g^T))`, the unit features `F` of the shots and their one-hot labels `L`
/// (Bendou et al., 2025, <https://arxiv.org/abs/2501.11175>). The regression pulls towards zero-shot: far
/// from every shot nothing is added.
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `beta` | null | above 0, or null | sharpness of the kernel |
/// | `lambda` | null | above 0, or null | pull towards zero-shot |
/// | `weight` | null | 0 or more, or null | weight of the regression, from probabilities to logits |
///
/// `None`, null in JSON, chooses on the shots, without validation images, by holding out one shot of each class
/// in turn. What the regression on all other shots says of a group `H` of them is `T_H - (G_HH)^-1 A_H` with
/// `G = (K + lambda I)^-1` and the targets `T`, so that leaving out every group costs little more than one fit. To
/// leave out one shot alone would favour settings that look no further than the shots of the same class. The
/// settings with the most right are taken, and of those the ones with the lowest negative log-likelihood. Where
/// fewer than half of the classes have a second shot there is nothing to choose by: `beta` is 5, `lambda` 0.1
/// and `weight` 10. Of more than 640 shots the first of each class, 640 in all, are chosen on; all are fitted.
///
/// # Examples
/// ```
/// use burn::tensor::Device;
/// use clip_adapter::{Classifier, FeatureFile, Method, ZeroShot, methods::ProKeR};
///
/// let (file, device) = (FeatureFile::synthetic(0)?, Device::flex());
/// let (support, test) = (file.support(16, 1)?, file.test_set("test")?);
/// let before = ZeroShot::default().fit(&support, file.classifier(), &device)?.evaluate(&test)?;
/// let after = ProKeR::default().fit(&support, file.classifier(), &device)?.evaluate(&test)?;
/// assert!(after.accuracy > before.accuracy + 10.0);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProKeR {
    /// Sharpness of the kernel.
    pub beta: Option<f64>,
    /// Pull towards zero-shot.
    pub lambda: Option<f64>,
    /// Weight of the regression.
    pub weight: Option<f64>,
}

impl ProKeR {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first one outside.
    pub fn validate(&self) -> Result<()> {
        for (name, setting) in [("beta", self.beta), ("lambda", self.lambda)] {
            if let Some(value) = setting.filter(|value| !(value.is_finite() && *value > 0.0)) {
                return Err(Error::setting(name, "above 0, or null", value));
            }
        }
        match self.weight {
            Some(weight) if !(weight.is_finite() && weight >= 0.0) => {
                Err(Error::setting("weight", "0 or more, or null", weight))
            }
            _ => Ok(()),
        }
    }

    /// The settings in force with a weight near the one that is proposed; a weight that is given stays.
    pub(super) fn choose_near(
        &self,
        support: &Support,
        classes: &TextClassifier,
        proposal: Proposal,
    ) -> Result<Chosen<ProKeRFound>> {
        let (set, problem) = (support.set(), Problem::new(support.set(), classes));
        if self.weight.is_some() {
            return self.choose(&problem, set);
        }
        let unconfirmed = self.or(ProKeRFound { weight: proposal.unconfirmed(), ..DEFAULTS });
        let groups = groups(set);
        if groups.is_empty() || proposal.is_zero() {
            return Ok(unconfirmed);
        }
        let labels = problem.labels_of(&groups);
        let mut choice = NearChoice::new(&labels, proposal);
        self.try_each(&problem, &groups, &proposal.weights(), |settings, logits| {
            choice.consider(settings, settings.weight, logits);
        })?;
        Ok(choice.chosen().unwrap_or(unconfirmed))
    }

    /// The settings in force, of which those not given are chosen.
    fn choose(&self, problem: &Problem, set: &FeatureSet) -> Result<Chosen<ProKeRFound>> {
        let otherwise = self.or(DEFAULTS);
        let groups = groups(set);
        if groups.is_empty() || (self.beta.is_some() && self.lambda.is_some() && self.weight.is_some()) {
            return Ok(otherwise);
        }
        let labels = problem.labels_of(&groups);
        let mut choice = Choice::new(&labels);
        let weights = self.weight.map_or(WEIGHTS.to_vec(), |weight| vec![weight]);
        self.try_each(problem, &groups, &weights, |settings, logits| choice.consider(settings, logits))?;
        Ok(choice.chosen().unwrap_or(otherwise))
    }

    /// The settings in force without a choice.
    fn or(&self, otherwise: ProKeRFound) -> Chosen<ProKeRFound> {
        Chosen::given(ProKeRFound {
            beta: self.beta.unwrap_or(otherwise.beta),
            lambda: self.lambda.unwrap_or(otherwise.lambda),
            weight: self.weight.unwrap_or(otherwise.weight),
        })
    }

    /// Hands over all settings with these weights, and the logits of the groups, each left out in turn.
    fn try_each(
        &self,
        problem: &Problem,
        groups: &[Vec<usize>],
        weights: &[f64],
        mut consider: impl FnMut(ProKeRFound, &[f32]),
    ) -> Result<()> {
        let tried = |setting: Option<f64>, grid: &[f64]| setting.map_or(grid.to_vec(), |value| vec![value]);
        let (betas, lambdas) = (tried(self.beta, &BETAS), tried(self.lambda, &LAMBDAS));
        let (rows, classes) = (groups.concat(), problem.zero_shot.ncols());
        for &beta in &betas {
            for &lambda in &lambdas {
                let left_out = problem.left_out(beta, lambda, groups)?;
                for &weight in weights {
                    let logit = |at: usize| {
                        let (row, class) = (at / classes, at % classes);
                        (problem.zero_shot[(rows[row], class)] + weight * left_out[(row, class)]) as f32
                    };
                    let logits: Vec<f32> = (0..rows.len() * classes).map(logit).collect();
                    consider(ProKeRFound { beta, lambda, weight }, &logits);
                }
            }
        }
        Ok(())
    }
}

/// The first shots of every class, or of every so many classes, that together are no more than
/// [`MOST_SHOTS`].
fn sample(set: &FeatureSet) -> FeatureSet {
    let counts = set.class_counts();
    let seen = counts.iter().filter(|&&count| count > 0).count();
    let each = (MOST_SHOTS / seen).max(2);
    let every = (seen * each).div_ceil(MOST_SHOTS);
    let mut taken = vec![0; counts.len()];
    let mut take = |row: &usize| {
        let class = set.labels()[*row];
        taken[class] += 1;
        class.is_multiple_of(every) && taken[class] <= each
    };
    set.select(&(0..set.len()).filter(|row| take(row)).collect::<Vec<_>>())
}

/// The shots that are left out together.
fn groups(set: &FeatureSet) -> Vec<Vec<usize>> {
    hold_outs(set, ROTATIONS).into_iter().map(|(held_out, _)| held_out).collect()
}

/// The settings in force in what was fitted with a [`ProKeR`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ProKeRFound {
    /// As [`ProKeR::beta`].
    pub beta: f64,
    /// As [`ProKeR::lambda`].
    pub lambda: f64,
    /// As [`ProKeR::weight`].
    pub weight: f64,
}

impl From<ProKeRFound> for ProKeR {
    fn from(ProKeRFound { beta, lambda, weight }: ProKeRFound) -> Self {
        Self { beta: Some(beta), lambda: Some(lambda), weight: Some(weight) }
    }
}

impl InForce for ProKeRFound {
    fn kernel(&self) -> Result<[f64; 2]> {
        ProKeR::from(*self).validate()?;
        Ok([self.weight, self.beta])
    }
}

/// The regression of a [`ProKeR`], beside the zero-shot classifier.
pub type FittedProKeR = FittedKernel<ProKeR, ProKeRFound>;

impl FittedProKeR {
    /// The settings in force, with those that were chosen.
    pub fn in_force(&self) -> ProKeR {
        self.found.into()
    }
}

impl Settings for ProKeR {
    const NAME: &'static str = "proker";
}

impl Method for ProKeR {
    type Fitted = FittedProKeR;

    fn fit_with(
        &self,
        support: &Support,
        classes: &TextClassifier,
        run: &mut Run<'_>,
    ) -> Result<FittedProKeR> {
        support.check(classes)?;
        self.validate()?;
        let problem = Problem::new(support.set(), classes);
        let found = if support.set().len() > MOST_SHOTS {
            let few = sample(support.set());
            self.choose(&Problem::new(&few, classes), &few)?.best
        } else {
            self.choose(&problem, support.set())?.best
        };
        let values = problem.solve(found.beta, found.lambda)?;
        let shape = [values.nrows(), values.ncols()];
        let values = Tensor::from_data(TensorData::new(row_major(&values), shape), run.device());
        let keys = support.set().embeddings().normalised().tensor(run.device());
        let head = KernelHead::new(classes, keys, values, found.weight, found.beta);
        Ok(FittedProKeR::new(*self, found, head))
    }
}
