use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::TipAdapter;
use super::tip_adapter::cache;
use crate::error::{Result, not_negative, positive};
use crate::features::{Support, TextClassifier};
use crate::model::{FittedKernel, KernelHead, Settings};
use crate::train::{Examples, MatrixFit, Method, Optimiser, Run, Schedule, Trainer};

/// Tip-Adapter-F: Tip-Adapter with keys that are trained.
///
/// `logits = s f W^T + alpha exp(-beta (1 - f F^T)) L` with keys `F`, `[shots, dim]`, that start from the unit
/// features of the shots and are trained with cross-entropy, and the one-hot labels `L` (Zhang et al., 2022,
/// <https://arxiv.org/abs/2207.09519>). Trained keys are not normalised again, as in the authors' code.
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `alpha` | 1 | 0 or more | weight of the cache; 0 is zero-shot |
/// | `beta` | 5.5 | above 0 | sharpness: how fast the say of a shot falls with its distance |
/// | `epochs` | 20 | 0 or more | passes over the shots; 0 is [`TipAdapter`] |
/// | `batch_size` | 256 | 0 or more | images a step; 0 takes all at once |
/// | `learning_rate` | 0.001 | above 0 | of AdamW, before the cosine, which falls with every step; `100 / s` times as much at a logit scale `s` |
/// | `epsilon` | 0.0001 | above 0 | of AdamW |
/// | `weight_decay` | 0.01 | 0 or more | of AdamW |
/// | `seed` | 0 | | fixes the batches |
///
/// With few-shot validation images `alpha` and `beta` are searched on those after the training, in the grid of
/// [`TipAdapter`]. The last epoch is used: the authors' code takes the best one on the test set.
///
/// # Examples
/// ```
/// use burn::tensor::Device;
/// use clip_adapter::{Classifier, FeatureFile, Method, ZeroShot, methods::TipAdapterF};
///
/// let (file, device) = (FeatureFile::synthetic(0)?, Device::flex());
/// let (support, test) = (file.support(16, 1)?, file.test_set("test")?);
/// let before = ZeroShot::default().fit(&support, file.classifier(), &device)?.evaluate(&test)?;
/// let method = TipAdapterF { alpha: 100.0, ..Default::default() };
/// let after = method.fit(&support, file.classifier(), &device)?.evaluate(&test)?;
/// assert!(after.accuracy > before.accuracy + 5.0);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TipAdapterF {
    /// Weight of the cache.
    pub alpha: f64,
    /// How fast the say of a shot falls with its distance.
    pub beta: f64,
    /// Passes over the shots.
    pub epochs: usize,
    /// Images a step; 0 takes all at once.
    pub batch_size: usize,
    /// Of AdamW, before the cosine.
    pub learning_rate: f64,
    /// Of AdamW.
    pub epsilon: f64,
    /// Of AdamW.
    pub weight_decay: f64,
    /// Fixes the batches.
    pub seed: u64,
}

impl Default for TipAdapterF {
    fn default() -> Self {
        let TipAdapter { alpha, beta } = TipAdapter::default();
        Self {
            alpha,
            beta,
            epochs: 20,
            batch_size: 256,
            learning_rate: 1e-3,
            epsilon: 1e-4,
            weight_decay: 0.01,
            seed: 0,
        }
    }
}

impl TipAdapterF {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) for the first one outside.
    pub fn validate(&self) -> Result<()> {
        TipAdapter { alpha: self.alpha, beta: self.beta }.validate()?;
        positive("learning_rate", self.learning_rate)?;
        positive("epsilon", self.epsilon)?;
        not_negative("weight_decay", self.weight_decay)
    }

    fn trainer(&self) -> Trainer {
        Trainer {
            schedule: Schedule::cosine(self.learning_rate, self.epochs),
            optimiser: Optimiser::AdamW { epsilon: self.epsilon, weight_decay: self.weight_decay },
        }
    }
}

/// The trained cache of a [`TipAdapterF`].
pub type FittedTipAdapterF = FittedKernel<TipAdapterF, TipAdapter>;

impl FittedTipAdapterF {
    /// Weight and sharpness in force: the settings', or those found on validation images.
    pub fn in_force(&self) -> TipAdapter {
        self.found
    }
}

impl Settings for TipAdapterF {
    const NAME: &'static str = "tip-adapter-f";
}

impl Method for TipAdapterF {
    type Fitted = FittedTipAdapterF;

    fn fit_with(
        &self,
        support: &Support,
        classes: &TextClassifier,
        run: &mut Run<'_>,
    ) -> Result<FittedTipAdapterF> {
        support.check(classes)?;
        self.validate()?;
        let (images, targets) = cache(support.set(), run.device());
        let mut head = KernelHead::new(classes, images.clone(), targets.clone(), self.alpha, self.beta);
        let slope = |keys: Tensor<2>, [batch]: [Examples; 1]| {
            head.with_keys(keys).keys_slope(batch.images, batch.targets)
        };
        let fit = MatrixFit { method: self, support, classes, trainer: self.trainer() };
        let batches = Examples { images: images.clone(), targets }.shuffled(self.batch_size, self.seed);
        let keys = fit.run(images, &batches, slope, run)?;
        head = head.with_keys(keys);
        let given = TipAdapter { alpha: self.alpha, beta: self.beta };
        let found =
            support.validation().map_or(Ok(given), |validation| TipAdapter::search(&head, validation))?;
        (head.weight, head.beta) = (found.alpha, found.beta);
        Ok(FittedTipAdapterF::new(*self, found, head))
    }
}
