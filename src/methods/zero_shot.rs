use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::features::{Support, TextClassifier};
use crate::fingerprint::Fingerprint;
use crate::model::{Classifier, Model, Open, Opening, Saved, Section, Settings, places};
use crate::train::{Method, Run};

/// CLIP as it is: `logits = s f W^T`. It learns nothing and is what every method is compared with.
///
/// Radford et al., 2021, section 3.1, <https://arxiv.org/abs/2103.00020>.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZeroShot {}

/// CLIP's own classifier on a device.
#[derive(Debug, Clone)]
pub struct FittedZeroShot {
    classes: TextClassifier,
    device: Device,
}

impl FittedZeroShot {
    /// CLIP's own classifier, which needs no images, on a plain device.
    pub fn new(classes: &TextClassifier, device: &Device) -> Self {
        Self { classes: classes.clone(), device: device.clone().without_autodiff() }
    }
}

impl Settings for ZeroShot {
    const NAME: &'static str = "zero-shot";
}

impl Method for ZeroShot {
    type Fitted = FittedZeroShot;

    fn fit_with(
        &self,
        support: &Support,
        classes: &TextClassifier,
        run: &mut Run<'_>,
    ) -> Result<FittedZeroShot> {
        support.check(classes)?;
        Ok(FittedZeroShot::new(classes, run.device()))
    }
}

impl Model for FittedZeroShot {
    fn kind(&self) -> &'static str {
        ZeroShot::NAME
    }

    fn fingerprint(&self) -> Fingerprint {
        self.classes.fingerprint()
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn write(&self, into: &mut Section<'_, '_>) -> Result<()> {
        into.classes(&self.classes);
        into.settings(&ZeroShot {}, &());
        Ok(())
    }
}

impl Classifier for FittedZeroShot {
    fn classes(&self) -> &TextClassifier {
        &self.classes
    }

    fn logits(&self, images: Tensor<2>) -> Tensor<2> {
        self.classes.logits(images)
    }

    fn to_device(&self, device: &Device) -> Result<Box<dyn Classifier>> {
        Ok(Box::new(Self { device: device.clone().without_autodiff(), ..self.clone() }))
    }

    fn with_classes(&self, classes: &TextClassifier) -> Result<Box<dyn Classifier>> {
        places(&self.classes, classes)?;
        Ok(Box::new(Self { classes: classes.clone(), ..self.clone() }))
    }
}

impl Open for FittedZeroShot {
    const KIND: &'static str = ZeroShot::NAME;

    fn open(saved: &Saved, opening: &Opening<'_>) -> Result<Self> {
        Ok(Self { classes: saved.classes()?.clone(), device: opening.device().clone() })
    }
}
