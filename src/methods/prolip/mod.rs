mod objective;

use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use self::objective::{Objective, Projector, tensor, with_bias};
use crate::archive::parameters::{self, Parameter};
use crate::backbone::VisualProjection;
use crate::error::{Error, Result};
use crate::features::{Support, TextClassifier, contrastive_logits, normalise};
use crate::fingerprint::Fingerprint;
use crate::model::{Classifier, FeatureMap, Model, Open, Opening, Saved, Section, Settings, places};
use crate::train::{Examples, NoMonitor, Optimiser, Run, Schedule, Session, Trainer};

/// The names of its tensors in a file, as Hugging Face has them.
const WEIGHT: &str = "visual_projection.weight";
const BIAS: &str = "visual_projection.bias";

/// ProLIP: fine-tunes the last matrix of CLIP's image tower, and holds it near where it was.
///
/// `logits = s normalise(x P + b) W^T` for features `x` before the projection, with the minimum of the cross-entropy
/// plus `lambda ||P - P0||_F^2` from `P0`, CLIP's own projection; the bias, which only a ResNet has, stays (Fahes et
/// al., 2024, section 3, <https://arxiv.org/abs/2410.05270>). It needs a backbone that shows its projection
/// ([`ClipBackbone::visual_projection`](crate::ClipBackbone::visual_projection)), and features taken before it
/// ([`ClipBackbone::image_features`](crate::ClipBackbone::image_features)) to fit and to score. It is therefore no
/// [`Method`](crate::Method), but what it gives is saved and opened like all others.
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `lambda` | null | 0 or more, or null | pull towards CLIP's projection; null is 1 by the shots of a class |
/// | `steps` | 300 | 1 or more | steps of Adam, each on all shots |
/// | `learning_rate` | 0.0001 | above 0 | of Adam, before the cosine; it hardly matters |
/// | `epsilon` | 0.0001 | above 0 | of Adam |
///
/// The authors take another augmented view of the shots at every step; here it is the same features throughout.
/// Validation images are not looked at.
///
/// # Examples
/// ```
/// use burn::tensor::{Device, Tensor};
/// use clip_adapter::{Classifier, FeatureFile, Method, ProLip, Run, ZeroShot, backbone::VisualProjection};
///
/// let (file, device) = (FeatureFile::synthetic(0)?, Device::flex());
/// let (support, test) = (file.support(16, 1)?, file.test_set("test")?);
/// let before = ZeroShot::default().fit(&support, file.classifier(), &device)?.evaluate(&test)?;
/// // A made-up data set knows no backbone: its projection changes nothing.
/// let projection = VisualProjection { weight: Tensor::eye(64, &device), bias: None };
/// let model = ProLip::default().fit(&support, &projection, file.classifier(), &mut Run::new(&device))?;
/// assert!(model.evaluate(&test)?.accuracy > before.accuracy + 5.0);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProLip {
    /// Pull towards CLIP's projection; `None` is 1 by the shots of a class.
    pub lambda: Option<f64>,
    /// Steps of Adam, each on all shots.
    pub steps: usize,
    /// Of Adam, before the cosine.
    pub learning_rate: f64,
    /// Of Adam.
    pub epsilon: f64,
}

impl Default for ProLip {
    fn default() -> Self {
        Self { lambda: None, steps: 300, learning_rate: 1e-4, epsilon: 1e-4 }
    }
}

impl ProLip {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first one outside.
    pub fn validate(&self) -> Result<()> {
        if let Some(lambda) = self.lambda.filter(|lambda| !(lambda.is_finite() && *lambda >= 0.0)) {
            return Err(Error::setting("lambda", "0 or more, or null", lambda));
        }
        if self.steps == 0 {
            return Err(Error::setting("steps", "1 or more", self.steps));
        }
        for (name, value) in [("learning_rate", self.learning_rate), ("epsilon", self.epsilon)] {
            if !(value.is_finite() && value > 0.0) {
                return Err(Error::setting(name, "above 0", value));
            }
        }
        Ok(())
    }

    /// Learns from images whose features were taken before `projection`.
    ///
    /// # Errors
    /// As [`Method::fit_with`](crate::Method::fit_with).
    pub fn fit(
        &self,
        support: &Support,
        projection: &VisualProjection,
        classes: &TextClassifier,
        run: &mut Run<'_>,
    ) -> Result<FittedProLip> {
        self.validate()?;
        let (set, device) = (support.set(), run.device().clone());
        let weight = Parameter::of(&projection.weight)?;
        let bias = projection.bias.as_ref().map(Parameter::of).transpose()?;
        classes.weights().check_dim("the projection's embeddings", weight.shape[1])?;
        if set.embeddings().dim() != weight.shape[0] {
            let (expected, found) = (weight.shape[0], set.embeddings().dim());
            return Err(Error::Dim { what: "support features".to_owned(), expected, found });
        }
        support.check_classes(classes)?;

        let seen = set.class_counts().into_iter().filter(|&count| count > 0).count();
        let lambda = self.lambda.unwrap_or(1.0 / set.len().div_ceil(seen) as f64);
        let identity = serde_json::json!([Self::NAME, self, classes.fingerprint(), set.digest()]);
        let objective = Objective::new(&weight, bias.as_ref(), classes, lambda, &device);
        let batches = Examples::new(set, 0.0, &device).shuffled(0, 0);
        let gradients = |net: &Projector, [batch]: [Examples; 1]| {
            Ok(objective.gradients(net, batch.images, batch.targets))
        };
        let mut session = Session::open(run, identity.to_string(), 1)?;
        let trainer = Trainer {
            schedule: Schedule::cosine(self.learning_rate, self.steps),
            optimiser: Optimiser::Adam { epsilon: self.epsilon },
        };
        let net = Projector::new(&weight, &device);
        let net = trainer.train(net, &batches, gradients, &mut NoMonitor, "projection", &mut session)?;
        session.close()?;
        let learned = parameters::collect(&net)[WEIGHT].turned();
        Ok(FittedProLip::new(*self, lambda, classes, &learned, bias.as_ref(), &device))
    }
}

/// A fine-tuned projection, for features taken before it.
#[derive(Debug, Clone)]
pub struct FittedProLip {
    settings: ProLip,
    lambda: f64,
    classes: TextClassifier,
    weight: Tensor<2>, // P, [features, dim]
    bias: Option<Tensor<1>>,
    class_weights: Tensor<2>, // W, [classes, dim]
    device: Device,
}

impl FittedProLip {
    fn new(
        settings: ProLip,
        lambda: f64,
        classes: &TextClassifier,
        weight: &Parameter,
        bias: Option<&Parameter>,
        device: &Device,
    ) -> Self {
        Self {
            settings,
            lambda,
            weight: tensor(weight, device),
            bias: bias.map(|bias| tensor(bias, device)),
            class_weights: classes.tensor(device),
            classes: classes.clone(),
            device: device.clone(),
        }
    }

    /// The same projection elsewhere, or beside other classes.
    fn moved(&self, classes: &TextClassifier, device: &Device) -> Result<Self> {
        let bias = self.bias.as_ref().map(Parameter::of).transpose()?;
        let weight = Parameter::of(&self.weight)?;
        Ok(Self::new(self.settings, self.lambda, classes, &weight, bias.as_ref(), device))
    }

    /// The settings it was fitted with.
    pub fn settings(&self) -> &ProLip {
        &self.settings
    }

    /// The fine-tuned projection, in the place of CLIP's.
    pub fn projection(&self) -> VisualProjection {
        VisualProjection { weight: self.weight.clone(), bias: self.bias.clone() }
    }
}

impl Settings for ProLip {
    const NAME: &'static str = "prolip";
}

impl Model for FittedProLip {
    fn kind(&self) -> &'static str {
        ProLip::NAME
    }

    fn fingerprint(&self) -> Fingerprint {
        self.classes.fingerprint()
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn chosen(&self) -> serde_json::Value {
        serde_json::json!({ "lambda": self.lambda })
    }

    fn write(&self, into: &mut Section<'_, '_>) -> Result<()> {
        into.classes(&self.classes);
        into.settings(&self.settings, &self.lambda);
        let weight = Parameter::of(&self.weight)?.turned();
        into.floats(WEIGHT, &weight.shape, &weight.values);
        self.bias.as_ref().map_or(Ok(()), |bias| into.tensor(BIAS, bias))
    }
}

impl FeatureMap for FittedProLip {
    /// `normalise(x P + b)` of features before the projection.
    fn images(&self, images: Tensor<2>) -> Tensor<2> {
        normalise(with_bias(images.matmul(self.weight.clone()), self.bias.as_ref()))
    }

    fn texts(&self, texts: Tensor<2>) -> Tensor<2> {
        normalise(texts)
    }
}

impl Classifier for FittedProLip {
    fn classes(&self) -> &TextClassifier {
        &self.classes
    }

    /// The width before the projection.
    fn dim(&self) -> usize {
        self.weight.dims()[0]
    }

    fn feature_map(&self) -> Option<&dyn FeatureMap> {
        Some(self)
    }

    fn logits(&self, images: Tensor<2>) -> Tensor<2> {
        contrastive_logits(self.images(images), self.class_weights.clone(), self.classes.logit_scale())
    }

    fn to_device(&self, device: &Device) -> Result<Box<dyn Classifier>> {
        Ok(Box::new(self.moved(&self.classes, &device.clone().without_autodiff())?))
    }

    fn with_classes(&self, classes: &TextClassifier) -> Result<Box<dyn Classifier>> {
        places(&self.classes, classes)?;
        Ok(Box::new(self.moved(classes, &self.device)?))
    }
}

impl Open for FittedProLip {
    const KIND: &'static str = ProLip::NAME;

    fn open(saved: &Saved, opening: &Opening<'_>) -> Result<Self> {
        let (classes, device) = (saved.classes()?, opening.device());
        let dim = Some(classes.dim());
        let weight = Parameter::of(&saved.tensor::<2>(WEIGHT, [dim, None], device)?)?.turned();
        let bias = match saved.has(BIAS) {
            true => Some(Parameter::of(&saved.tensor::<1>(BIAS, [dim], device)?)?),
            false => None,
        };
        let (settings, lambda) = (saved.json("settings")?, saved.json("found")?);
        Ok(Self::new(settings, lambda, classes, &weight, bias.as_ref(), device))
    }
}
