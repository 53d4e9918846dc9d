use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::{ClipAdapter, Ratio};
use crate::adapter::{Activation, AdaptedClip, Branch};
use crate::archive::parameters::Parameter;
use crate::error::{Error, Result};
use crate::features::{TextClassifier, contrastive_logits, normalise};
use crate::fingerprint::Fingerprint;
use crate::model::{Classifier, FeatureMap, Model, Open, Opening, Saved, Section, Settings, Units, places};

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
}

impl Model for FittedClipAdapter {
    fn kind(&self) -> &'static str {
        ClipAdapter::NAME
    }

    fn fingerprint(&self) -> Fingerprint {
        self.classes.fingerprint()
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn chosen(&self) -> serde_json::Value {
        let (image, text) = self.ratios();
        serde_json::json!({ "ratio": image, "text_ratio": text })
    }

    fn write(&self, into: &mut Section<'_, '_>) -> Result<()> {
        into.classes(&self.classes);
        into.settings(&self.settings, &Found { constant_ratio: self.net.constant_ratio() });
        into.module(&self.net);
        Ok(())
    }
}

impl FeatureMap for FittedClipAdapter {
    /// `f* = normalise(r A(f) + (1 - r) f)`.
    fn images(&self, images: Tensor<2>) -> Tensor<2> {
        self.net.images(images)
    }

    /// `w* = normalise(r A(w) + (1 - r) w)`, or the texts themselves where only the image side has an adapter.
    fn texts(&self, texts: Tensor<2>) -> Tensor<2> {
        self.net.classes(normalise(texts))
    }

    /// The hidden units of the image side, if there is one, and it has ReLU without biases: for these the sum is exact.
    fn units(&self) -> Result<Units> {
        self.units_of(self.net.image.as_ref(), "an adapter on the image side with ReLU and without biases")
    }

    /// The hidden units of the text side, as [`units`](Self::units). One ratio for each class is more than [`Units`] hold.
    fn text_units(&self) -> Result<Units> {
        let expected = "an adapter on the text side with ReLU, one ratio, and without biases";
        self.units_of(self.net.text.as_ref(), expected)
    }
}

impl FittedClipAdapter {
    fn units_of(&self, branch: Option<&Branch>, expected: &str) -> Result<Units> {
        let refused = |found: &str| Err(Error::unsupported("units of an adapter", expected, found));
        let Some(branch) = branch else { return refused("one on the other side alone") };
        let ClipAdapter { activation, bias, .. } = self.settings;
        if activation != Activation::Relu {
            return refused("another activation");
        }
        if bias {
            return refused("biases");
        }
        let [ratio] = branch.fusion.ratios()[..] else { return refused("a ratio for each class") };
        let (down, up) = branch.adapter.clone().into_layers();
        let [reads, writes] = [Parameter::of(&down.weight.val())?.turned(), Parameter::of(&up.weight.val())?];
        Units::new(reads.values, writes.values, self.classes.dim(), 1.0 - ratio, ratio, true)
    }
}

impl Classifier for FittedClipAdapter {
    fn classes(&self) -> &TextClassifier {
        &self.classes
    }

    fn feature_map(&self) -> Option<&dyn FeatureMap> {
        Some(self)
    }

    fn logits(&self, images: Tensor<2>) -> Tensor<2> {
        contrastive_logits(self.net.images(images), self.adapted_classes.clone(), self.classes.logit_scale())
    }

    fn to_device(&self, device: &Device) -> Result<Box<dyn Classifier>> {
        let device = device.clone().without_autodiff();
        let net = self.net.clone().fork(&device);
        Ok(Box::new(Self::new(self.settings.clone(), net, self.classes.clone(), device)))
    }

    fn with_classes(&self, classes: &TextClassifier) -> Result<Box<dyn Classifier>> {
        places(&self.classes, classes)?;
        if self.net.text.is_some() && self.settings.ratio == Ratio::LearnedPerClass {
            let expected = "one ratio for all classes";
            return Err(Error::unsupported("new classes", expected, "one a class"));
        }
        let (settings, net) = (self.settings.clone(), self.net.clone());
        Ok(Box::new(Self::new(settings, net, classes.clone(), self.device.clone())))
    }
}

impl Open for FittedClipAdapter {
    const KIND: &'static str = ClipAdapter::NAME;

    fn open(saved: &Saved, opening: &Opening<'_>) -> Result<Self> {
        let settings: ClipAdapter = saved.json("settings")?;
        let (classes, device) = (saved.classes()?, opening.device());
        settings.validate(classes.dim()).map_err(|error| saved.locate("settings", error))?;
        let Found { constant_ratio } = saved.json("found")?;
        if !(0.0..=1.0).contains(&constant_ratio) {
            return Err(saved.malformed("metadata `found`", "a ratio of 0..=1", constant_ratio));
        }
        for branch in ["image", "text"].iter().filter(|branch| settings.has_branch(branch)) {
            let shape = [classes.dim() / settings.reduction, classes.dim()];
            saved.require_shape(&format!("{branch}.adapter.down.weight"), &shape)?;
        }
        let mut net = saved.module(settings.network(0.5, classes, device))?;
        net.set_ratio(constant_ratio);
        Ok(Self::new(settings, net, classes.clone(), device.clone()))
    }
}
