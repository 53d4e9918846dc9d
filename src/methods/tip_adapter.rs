use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::choose::{Steps, TipGrid};
use crate::error::{Result, not_negative, positive};
use crate::features::{FeatureSet, Support, TextClassifier, normalise};
use crate::model::{Classifier, FittedKernel, InForce, KernelHead, Settings};
use crate::train::{Method, Run};

/// Tip-Adapter: the shots as a cache that is looked up by likeness, without training.
///
/// `logits = s f W^T + alpha exp(-beta (1 - f F^T)) L` with the unit features `F` of the shots and their
/// one-hot labels `L` (Zhang et al., 2022, section 3.1, <https://arxiv.org/abs/2207.09519>).
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `alpha` | 1 | 0 or more | weight of the cache; 0 is zero-shot |
/// | `beta` | 5.5 | above 0 | sharpness: how fast the say of a shot falls with its distance |
///
/// With few-shot validation images both are searched on those, and the settings are not used: 200 values of
/// `beta` and 20 of `alpha`, each from 0.1 to 13. The authors' code has a range for each data set; this is
/// the one for DTD. Of settings that get as many right, at most four, spread evenly in the order of the grid, are
/// compared by their negative log-likelihood, and the lowest is taken.
///
/// # Examples
/// ```
/// use burn::tensor::Device;
/// use clip_adapter::{Classifier, FeatureFile, Method, ZeroShot, methods::TipAdapter};
///
/// let (file, device) = (FeatureFile::synthetic(0)?, Device::flex());
/// let (support, test) = (file.support(16, 1)?, file.test_set("test")?);
/// let before = ZeroShot::default().fit(&support, file.classifier(), &device)?.evaluate(&test)?;
/// let method = TipAdapter { alpha: 100.0, ..Default::default() };
/// let after = method.fit(&support, file.classifier(), &device)?.evaluate(&test)?;
/// assert!(after.accuracy > before.accuracy + 10.0);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TipAdapter {
    /// Weight of the cache.
    pub alpha: f64,
    /// How fast the say of a shot falls with its distance.
    pub beta: f64,
}

impl Default for TipAdapter {
    fn default() -> Self {
        Self { alpha: 1.0, beta: 5.5 }
    }
}

impl TipAdapter {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) for the first one outside.
    pub fn validate(&self) -> Result<()> {
        not_negative("alpha", self.alpha)?;
        positive("beta", self.beta)
    }

    /// The best of the grid on `validation`. What the images have in common with the shots is computed once.
    pub(super) fn search(head: &KernelHead, validation: &FeatureSet) -> Result<Self> {
        let steps = |count: usize| Steps { first: 0.1, end: 13.0, count };
        let images = normalise(validation.embeddings().tensor(head.device()));
        let affinities = head.affinities(images.clone()); // [images, shots]
        let zero_shot = head.zero_shot(images);
        let grid = TipGrid::new([steps(200), steps(20)], head, zero_shot, affinities, validation.labels())?;
        Ok(grid.best().map_or_else(Self::default, |(alpha, beta)| Self { alpha, beta }))
    }
}

/// The cache of a [`TipAdapter`].
pub type FittedTipAdapter = FittedKernel<TipAdapter, TipAdapter>;

impl FittedTipAdapter {
    /// Weight and sharpness in force: the settings', or those found on validation images.
    pub fn in_force(&self) -> TipAdapter {
        self.found
    }

    /// The number of images in the cache.
    pub fn shots(&self) -> usize {
        self.head.keys().dims()[0]
    }

    /// The same model with further images of its classes. Nothing is fitted again: validation images are not
    /// looked at.
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data) or [`Error::Dim`](crate::Error::Dim) if the classes or the width of `support`
    /// are others.
    ///
    /// # Examples
    /// ```
    /// use clip_adapter::prelude::*;
    ///
    /// let file = FeatureFile::synthetic(0)?;
    /// let model = TipAdapter::default().fit(&file.support(2, 1)?, file.classifier(), &Device::flex())?;
    /// assert_eq!(model.with_more(&file.support(1, 2)?)?.shots(), 8 * 2 + 8);
    /// # Ok::<(), clip_adapter::Error>(())
    /// ```
    pub fn with_more(&self, support: &Support) -> Result<Self> {
        support.check(self.classes())?;
        let (keys, values) = cache(support.set(), self.head.device());
        let keys = Tensor::cat(vec![self.head.keys(), keys], 0);
        let values = Tensor::cat(vec![self.head.values(), values], 0);
        let head = KernelHead::new(self.classes(), keys, values, self.head.weight, self.head.beta);
        Ok(Self::new(*self.settings(), self.found, head))
    }

    /// [`Classifier::with_classes`]; [`with_more`](Self::with_more) then brings images of the new ones.
    ///
    /// # Errors
    /// As [`Classifier::with_classes`].
    pub fn with_classes(&self, classes: &TextClassifier) -> Result<Self> {
        Ok(Self::new(*self.settings(), self.found, self.head.with_classes(classes)?))
    }
}

impl InForce for TipAdapter {
    fn kernel(&self) -> Result<[f64; 2]> {
        self.validate()?;
        Ok([self.alpha, self.beta])
    }
}

/// Unit features and one-hot labels: `[shots, dim]` and `[shots, classes]`.
pub(super) fn cache(set: &FeatureSet, device: &Device) -> (Tensor<2>, Tensor<2>) {
    (set.embeddings().normalised().tensor(device), set.targets(0.0, device))
}

impl Settings for TipAdapter {
    const NAME: &'static str = "tip-adapter";
}

impl Method for TipAdapter {
    type Fitted = FittedTipAdapter;

    fn fit_with(
        &self,
        support: &Support,
        classes: &TextClassifier,
        run: &mut Run<'_>,
    ) -> Result<FittedTipAdapter> {
        support.check(classes)?;
        self.validate()?;
        let (keys, values) = cache(support.set(), run.device());
        let mut head = KernelHead::new(classes, keys, values, self.alpha, self.beta);
        let found = support.validation().map_or(Ok(*self), |validation| Self::search(&head, validation))?;
        (head.weight, head.beta) = (found.alpha, found.beta);
        Ok(FittedTipAdapter::new(*self, found, head))
    }
}
