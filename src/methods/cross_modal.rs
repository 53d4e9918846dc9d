use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, not_negative, part, positive};
use crate::features::{FeatureSet, Support, TextClassifier};
use crate::model::{FittedLinear, LinearHead, Settings};
use crate::train::{
    Batches, Examples, MatrixFit, Method, Optimiser, Run, Schedule, Shuffled, Trainer, linear_slope,
    permutation,
};

/// The cross-modal probe: a linear layer to which the prompts are training examples like the images.
///
/// `logits = s f V^T` with a head `V`, `[classes, dim]`, that starts from the text classifier `W` and is trained
/// with cross-entropy on batches of as many images as prompt embeddings; used is `(1 - average) V + average W`
/// (Lin et al., 2023, <https://arxiv.org/abs/2301.06267>; the average is WiSE-FT's). Of a classifier
/// that came out of an adapter file the class weights stand in for the prompts.
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `average` | 0.5 | 0..=1 | weight of the text classifier in what is used; 1 is zero-shot |
/// | `steps` | 800 | 0 or more | batches, rounded up to whole passes; 0 is zero-shot |
/// | `batch_size` | 32 | 2 or more | images and prompts a step, half of each |
/// | `learning_rate` | 0.001 | above 0 | of AdamW, before the cosine, which falls with every step; `100 / s` times as much at a logit scale `s` |
/// | `weight_decay` | 0.01 | 0 or more | of AdamW |
/// | `seed` | 0 | | fixes the batches |
///
/// The authors search learning rate, decay and the number of steps on validation images. These defaults are the
/// best, on the mean over four data sets, of a dozen that were scored on training images not drawn as one of 1,
/// 4 or 8 shots. Validation images are not used.
///
/// # Examples
/// ```
/// use burn::tensor::Device;
/// use clip_adapter::{Classifier, FeatureFile, Method, ZeroShot, methods::CrossModal};
///
/// let (file, device) = (FeatureFile::synthetic(0)?, Device::flex());
/// let (support, test) = (file.support(16, 1)?, file.test_set("test")?);
/// let before = ZeroShot::default().fit(&support, file.classifier(), &device)?.evaluate(&test)?;
/// let after = CrossModal::default().fit(&support, file.classifier(), &device)?.evaluate(&test)?;
/// assert!(after.accuracy > before.accuracy + 2.0);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CrossModal {
    /// Weight of the text classifier in what is used.
    pub average: f64,
    /// Batches, rounded up to whole passes.
    pub steps: usize,
    /// Images and prompts a step, half of each.
    pub batch_size: usize,
    /// Of AdamW, before the cosine.
    pub learning_rate: f64,
    /// Of AdamW.
    pub weight_decay: f64,
    /// Fixes the batches.
    pub seed: u64,
}

impl Default for CrossModal {
    fn default() -> Self {
        Self { average: 0.5, steps: 800, batch_size: 32, learning_rate: 1e-3, weight_decay: 0.01, seed: 0 }
    }
}

impl CrossModal {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first one outside.
    pub fn validate(&self) -> Result<()> {
        part("average", self.average)?;
        if self.batch_size < 2 {
            return Err(Error::setting("batch_size", "2 or more", self.batch_size));
        }
        positive("learning_rate", self.learning_rate)?;
        not_negative("weight_decay", self.weight_decay)
    }

    /// Every image beside a prompt, and every prompt beside an image: the fewer are used again. A batch of such
    /// pairs is half images and half prompts.
    fn pairs(&self, set: &FeatureSet, classes: &TextClassifier, device: &Device) -> Result<Shuffled<2>> {
        let prompts = classes.prompts().unwrap_or_else(|| classes.weights());
        let pairs = set.len().max(prompts.rows());
        // Both lie class by class; shuffled once, so that a pair is not always of one class.
        let order = permutation(prompts.rows(), self.seed, usize::MAX);
        let image_rows: Vec<usize> = (0..pairs).map(|pair| pair % set.len()).collect();
        let prompt_rows: Vec<usize> = (0..pairs).map(|pair| order[pair % order.len()]).collect();
        let labels = prompt_rows.iter().map(|row| row % classes.class_names().len()).collect();
        let prompts =
            FeatureSet::with_shared_names(prompts.select(&prompt_rows), labels, classes.shared_names())?;
        let images = Examples::unit(&set.select(&image_rows), device);
        let prompts = Examples::unit(&prompts, device);
        Ok(Shuffled::new([images, prompts], self.batch_size / 2, self.seed))
    }

    fn trainer(&self, pairs: &Shuffled<2>) -> Trainer {
        Trainer {
            schedule: Schedule::cosine(self.learning_rate, self.steps.div_ceil(pairs.steps())),
            optimiser: Optimiser::AdamW { epsilon: Optimiser::EPSILON, weight_decay: self.weight_decay },
        }
    }
}

/// Images and prompts, one above the other.
fn stacked([images, prompts]: [Examples; 2]) -> Examples {
    Examples {
        images: Tensor::cat(vec![images.images, prompts.images], 0), // [2 pairs, dim]
        targets: Tensor::cat(vec![images.targets, prompts.targets], 0), // [2 pairs, classes]
    }
}

/// The class weights of a [`CrossModal`].
pub type FittedCrossModal = FittedLinear<CrossModal>;

impl Settings for CrossModal {
    const NAME: &'static str = "cross-modal";
    const BY_TEXT: bool = true;
}

impl Method for CrossModal {
    type Fitted = FittedCrossModal;

    fn fit_with(
        &self,
        support: &Support,
        classes: &TextClassifier,
        run: &mut Run<'_>,
    ) -> Result<FittedCrossModal> {
        support.check(classes)?;
        self.validate()?;
        let scale = classes.logit_scale();
        let text = classes.tensor(run.device());
        let pairs = self.pairs(support.set(), classes, run.device())?;
        let slope = |weights: Tensor<2>, pairs: [Examples; 2]| linear_slope(weights, stacked(pairs), scale);
        let fit = MatrixFit { method: self, support, classes, trainer: self.trainer(&pairs) };
        let trained = fit.run(text.clone(), &pairs, slope, run)?;
        let weights = trained.mul_scalar(1.0 - self.average) + text.mul_scalar(self.average);
        let head = LinearHead::without_bias(classes, weights.mul_scalar(scale))?;
        Ok(FittedCrossModal::of(*self, (), head))
    }
}
