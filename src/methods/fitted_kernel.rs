//! What methods have in common whose outcome is a kernel beside zero-shot.

use std::path::Path;

use burn::tensor::{Device, Tensor};
use serde::{Serialize, de::DeserializeOwned};

use super::{Fitted, Method, kernel_head::KernelHead};
use crate::{Fingerprint, Result, TextClassifier, adapter::AdapterFile};

/// What is in force of a kernel, as it was given or chosen.
pub trait InForce: Copy + Serialize + DeserializeOwned + Send {
    /// The weight of the kernel and its sharpness.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) for one out of range.
    fn kernel(&self) -> Result<[f64; 2]>;
}

/// A kernel between an image and the shots, `logits = s f W^T + weight exp(-beta (1 - f F^T)) V`, that a method fitted,
/// and what is in force of it.
///
/// # Examples
/// ```
/// use burn::tensor::Device;
/// use clip_adapter::{FeatureFile, Method, TipAdapter, methods::FittedTipAdapter};
///
/// let file = FeatureFile::synthetic(0)?;
/// let method = TipAdapter { alpha: 2.0, ..Default::default() };
/// let model: FittedTipAdapter = method.fit(&file.support(4, 1)?, file.classifier(), &Device::flex())?;
/// assert_eq!(model.in_force(), *model.settings()); // without validation images
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct FittedKernel<M, F> {
    settings: M,
    pub(super) found: F,
    pub(super) head: KernelHead,
}

impl<M: Method + Copy, F: InForce> FittedKernel<M, F> {
    pub(super) fn new(settings: M, found: F, head: KernelHead) -> Self {
        Self { settings, found, head }
    }

    pub(super) fn into_head(self) -> KernelHead {
        self.head
    }

    /// The settings it was fitted with.
    pub fn settings(&self) -> &M {
        &self.settings
    }

    /// Opens a file that [`save`](Fitted::save) wrote, for features that `expected` names.
    ///
    /// # Errors
    /// As [`FittedClipAdapter::load`](crate::FittedClipAdapter::load).
    pub fn load(path: impl AsRef<Path>, expected: &Fingerprint, device: &Device) -> Result<Self> {
        let (file, archive) = AdapterFile::<M, F>::read(path.as_ref(), M::NAME, expected)?;
        let in_force = file.found.kernel();
        let [weight, beta] = in_force.map_err(|error| archive.locate("metadata `found`", error))?;
        let head = KernelHead::load(&file, &archive, weight, beta, device)?;
        Ok(Self::new(file.settings, file.found, head))
    }
}

impl<M: Method + Copy, F: InForce> Fitted for FittedKernel<M, F> {
    fn classes(&self) -> &TextClassifier {
        self.head.classes()
    }

    fn device(&self) -> &Device {
        self.head.device()
    }

    fn logits(&self, images: Tensor<2>) -> Tensor<2> {
        self.head.logits(images)
    }

    fn chosen(&self) -> serde_json::Value {
        serde_json::json!(self.found)
    }

    fn save(&self, path: &Path) -> Result<()> {
        AdapterFile {
            method: M::NAME,
            settings: self.settings,
            found: self.found,
            classes: self.classes().clone(),
            parameters: self.head.parameters()?,
        }
        .write(path)
    }
}
