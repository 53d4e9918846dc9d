//! What methods have in common whose outcome is one linear layer.

use std::path::Path;

use burn::tensor::{Device, Tensor};
use serde::{Serialize, de::DeserializeOwned};

use super::{Fitted, Method, linear_head::LinearHead};
use crate::{Fingerprint, Result, TextClassifier, adapter::AdapterFile};

/// A linear classifier of unit features, `logits = f M^T + b`, that a method found, and what it found beside it.
///
/// # Examples
/// ```
/// use burn::tensor::Device;
/// use clip_adapter::{FeatureFile, Fitted, Method, methods::{FittedSsText, SsText}};
///
/// let file = FeatureFile::synthetic(0)?;
/// let model: FittedSsText = SsText::default().fit(&file.support(4, 1)?, file.classifier(), &Device::flex())?;
/// assert_eq!(model.settings(), &SsText::default());
/// assert!(model.chosen().is_null()); // its settings say it all
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct FittedLinear<M, F = ()> {
    settings: M,
    pub(super) found: F,
    pub(super) head: LinearHead,
}

impl<M: Method + Copy, F: Serialize + DeserializeOwned + Copy> FittedLinear<M, F> {
    pub(super) fn new(settings: M, found: F, head: LinearHead) -> Self {
        Self { settings, found, head }
    }

    pub(super) fn into_head(self) -> LinearHead {
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
        let head = LinearHead::load(&file, &archive, device)?;
        Ok(Self::new(file.settings, file.found, head))
    }
}

impl<M: Method + Copy, F: Serialize + DeserializeOwned + Copy + Send> Fitted for FittedLinear<M, F> {
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
