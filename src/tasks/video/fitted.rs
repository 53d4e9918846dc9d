use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::TemporalTransformer;
use super::transformer::Net;
use crate::error::Result;
use crate::features::TextClassifier;
use crate::fingerprint::Fingerprint;
use crate::model::{Classifier, Model, Open, Opening, Saved, Section, Settings};

/// What a file keeps beside the parameters.
#[derive(Serialize, Deserialize)]
struct Found {
    frames: usize,
}

/// A trained [`TemporalTransformer`].
#[derive(Debug, Clone)]
pub struct FittedTemporalTransformer {
    settings: TemporalTransformer,
    frames: usize,
    net: Net,
    classes: TextClassifier,
    device: Device,
}

impl FittedTemporalTransformer {
    pub(super) fn new(
        settings: TemporalTransformer,
        frames: usize,
        net: Net,
        classes: TextClassifier,
        device: Device,
    ) -> Self {
        Self { settings, frames, net, classes, device }
    }

    /// The settings it was trained with.
    pub fn settings(&self) -> &TemporalTransformer {
        &self.settings
    }

    /// Frames of the videos that it takes.
    pub fn frames(&self) -> usize {
        self.frames
    }
}

impl Model for FittedTemporalTransformer {
    fn kind(&self) -> &'static str {
        TemporalTransformer::NAME
    }

    fn fingerprint(&self) -> Fingerprint {
        self.classes.fingerprint()
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn write(&self, into: &mut Section<'_, '_>) -> Result<()> {
        into.classes(&self.classes);
        into.settings(&self.settings, &Found { frames: self.frames });
        into.module(&self.net);
        Ok(())
    }
}

impl Classifier for FittedTemporalTransformer {
    fn classes(&self) -> &TextClassifier {
        &self.classes
    }

    fn dim(&self) -> usize {
        self.frames * self.classes.dim()
    }

    /// Of videos side by side, whose frames have unit length.
    fn logits(&self, videos: Tensor<2>) -> Tensor<2> {
        self.net.logits(videos, self.classes.logit_scale())
    }

    fn to_device(&self, device: &Device) -> Result<Box<dyn Classifier>> {
        let device = device.clone().without_autodiff();
        let net = self.net.clone().fork(&device);
        Ok(Box::new(Self::new(self.settings, self.frames, net, self.classes.clone(), device)))
    }
}

impl Open for FittedTemporalTransformer {
    const KIND: &'static str = TemporalTransformer::NAME;

    fn open(saved: &Saved, opening: &Opening<'_>) -> Result<Self> {
        let settings: TemporalTransformer = saved.json("settings")?;
        let (classes, device) = (saved.classes()?, opening.device());
        settings.validate(classes.dim()).map_err(|error| saved.locate("settings", error))?;
        let Found { frames } = saved.json("found")?;
        if frames == 0 {
            return Err(saved.malformed("metadata `found`", "1 frame or more", frames));
        }
        saved.require_shape("adapter.position", &[frames, settings.width(classes.dim())])?;
        let net = saved.module(settings.network(frames, classes, device))?;
        Ok(Self::new(settings, frames, net, classes.clone(), device.clone()))
    }
}
