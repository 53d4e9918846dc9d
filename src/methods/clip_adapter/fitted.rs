use std::path::Path;

use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::ClipAdapter;
use crate::{
    Fingerprint, Fitted, Method, Result, TextClassifier,
    adapter::{AdaptedClip, AdapterFile, parameters},
    features::contrastive_logits,
};

/// What a file keeps beside the parameters: the ratio, where it is not one of them.
#[derive(Serialize, Deserialize)]
struct Found {
    constant_ratio: f64,
}

/// A trained CLIP-Adapter.
#[derive(Debug, Clone)]
pub struct FittedClipAdapter {
    settings: ClipAdapter,
    net: AdaptedClip,
    classes: TextClassifier,
    adapted_classes: Tensor<2>, // W*, [classes, dim]
    device: Device,
}

impl FittedClipAdapter {
    pub(super) fn new(
        settings: ClipAdapter,
        net: AdaptedClip,
        classes: TextClassifier,
        device: Device,
    ) -> Self {
        let adapted_classes = net.classes(classes.tensor(&device));
        Self { settings, net, classes, adapted_classes, device }
    }

    /// The settings it was trained with.
    pub fn settings(&self) -> &ClipAdapter {
        &self.settings
    }

    /// The weight of the adapted branch on the image side and on the text side, where there is one: a number,
    /// or on the text side one a class.
    pub fn ratios(&self) -> (Option<f64>, Option<Vec<f64>>) {
        let image = self.net.image.as_ref().map(|branch| branch.fusion.ratios()[0]);
        let text = self.net.text.as_ref().map(|branch| branch.fusion.ratios());
        (image, text)
    }

    /// Adapted image features `f*`.
    ///
    /// # Shapes
    /// - `images`: `[batch, dim]` on its device, of any length
    /// - returns: `[batch, dim]`, unit rows
    ///
    /// # Panics
    /// If the width of `images` is not the adapter's.
    pub fn adapt(&self, images: Tensor<2>) -> Tensor<2> {
        self.net.images(images)
    }

    /// Opens a file that [`save`](Fitted::save) wrote, for features that `expected` names.
    ///
    /// # Errors
    /// [`Error::Read`](crate::Error::Read) if it cannot be read,
    /// [`Error::Malformed`](crate::Error::Malformed) if it is not a whole CLIP-Adapter file, and
    /// [`Error::Fingerprint`](crate::Error::Fingerprint) if it was trained for another backbone, other prompts or
    /// other classes.
    ///
    /// # Examples
    /// ```
    /// use burn::tensor::Device;
    /// use clip_adapter::{ClipAdapter, FeatureFile, Fitted, FittedClipAdapter, Method};
    ///
    /// let (file, device) = (FeatureFile::synthetic(0)?, Device::flex());
    /// let model = ClipAdapter::default().fit(&file.support(1, 1)?, file.classifier(), &device)?;
    /// let folder = tempfile::tempdir().unwrap();
    /// let path = folder.path().join("minerals.adapter.safetensors");
    ///
    /// model.save(&path)?;
    /// let same = FittedClipAdapter::load(&path, &file.classifier().fingerprint(), &device)?;
    /// let test = file.test_set("test")?;
    /// assert_eq!(same.evaluate(&test)?, model.evaluate(&test)?);
    /// # Ok::<(), clip_adapter::Error>(())
    /// ```
    pub fn load(path: impl AsRef<Path>, expected: &Fingerprint, device: &Device) -> Result<Self> {
        let (file, archive) =
            AdapterFile::<ClipAdapter, Found>::read(path.as_ref(), ClipAdapter::NAME, expected)?;
        file.settings.validate(file.classes.dim())?;
        let constant = file.found.constant_ratio;
        if !(0.0..=1.0).contains(&constant) {
            return Err(archive.malformed("metadata `found`", "a ratio of 0..=1", constant));
        }
        let device = device.clone().without_autodiff();
        let mut net = file.load(file.settings.network(0.5, &file.classes, &device), &archive)?;
        net.set_ratio(constant);
        Ok(Self::new(file.settings, net, file.classes, device))
    }
}

impl Fitted for FittedClipAdapter {
    fn classes(&self) -> &TextClassifier {
        &self.classes
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn logits(&self, images: Tensor<2>) -> Tensor<2> {
        contrastive_logits(self.net.images(images), self.adapted_classes.clone(), self.classes.logit_scale())
    }

    fn chosen(&self) -> serde_json::Value {
        let (image, text) = self.ratios();
        serde_json::json!({ "ratio": image, "text_ratio": text })
    }

    fn save(&self, path: &Path) -> Result<()> {
        AdapterFile {
            method: ClipAdapter::NAME,
            settings: self.settings.clone(),
            found: Found { constant_ratio: self.net.constant_ratio() },
            classes: self.classes.clone(),
            parameters: parameters::collect(&self.net),
        }
        .write(path)
    }
}
