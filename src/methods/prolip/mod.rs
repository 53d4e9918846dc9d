mod objective;

use std::path::Path;

use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use self::objective::{Objective, Projector, tensor, with_bias};
use super::{
    Fitted, Run, check_classes,
    monitor::NoMonitor,
    optimiser::Optimiser,
    schedule::Schedule,
    session::Session,
    trainer::{Examples, Trainer},
};
use crate::{
    Error, Fingerprint, Result, Support, TextClassifier,
    adapter::{
        AdapterFile,
        parameters::{self, Parameter, Parameters},
    },
    backbone::VisualProjection,
    features::{contrastive_logits, normalise},
};

/// The name in files, where `load` expects it.
const NAME: &str = "prolip";

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
/// [`Method`](crate::Method), but what it gives is [`Fitted`].
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
/// use clip_adapter::{FeatureFile, Fitted, Method, ProLip, Run, ZeroShot, backbone::VisualProjection};
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
        check_classes(support, classes)?;

        let seen = set.class_counts().into_iter().filter(|&count| count > 0).count();
        let lambda = self.lambda.unwrap_or(1.0 / set.len().div_ceil(seen) as f64);
        let identity = serde_json::json!([NAME, self, classes.fingerprint(), set.digest()]);
        let objective = Objective::new(&weight, bias.as_ref(), classes, lambda, &device);
        let examples = Examples::new(set, 0.0, &device);
        let gradients = |net: &Projector, images, targets| objective.gradients(net, images, targets);
        let mut session = Session::open(run, identity.to_string(), 1)?;
        let trainer = Trainer {
            schedule: Schedule::smooth(self.learning_rate, self.steps),
            batch_size: 0,
            optimiser: Optimiser::Adam { epsilon: self.epsilon },
            seed: 0,
        };
        let net = Projector::new(&weight, &device);
        let net = trainer.train(net, &examples, gradients, &mut NoMonitor, "projection", &mut session)?;
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

    /// The settings it was fitted with.
    pub fn settings(&self) -> &ProLip {
        &self.settings
    }

    /// The fine-tuned projection, in the place of CLIP's.
    pub fn projection(&self) -> VisualProjection {
        VisualProjection { weight: self.weight.clone(), bias: self.bias.clone() }
    }

    /// Opens a file that [`save`](Fitted::save) wrote, for features that `expected` names.
    ///
    /// # Errors
    /// As [`FittedClipAdapter::load`](crate::FittedClipAdapter::load).
    pub fn load(path: impl AsRef<Path>, expected: &Fingerprint, device: &Device) -> Result<Self> {
        let (file, archive) = AdapterFile::<ProLip, f64>::read(path.as_ref(), NAME, expected)?;
        let (device, dim) = (device.clone().without_autodiff(), Some(file.classes.dim()));
        let has_bias = file.parameters.contains_key(BIAS);
        file.expect_names(if has_bias { &[WEIGHT, BIAS] } else { &[WEIGHT] }, &archive)?;
        let weight = Parameter::of(&file.tensor::<2>(WEIGHT, [dim, None], &archive, &device)?)?.turned();
        let bias = match has_bias {
            true => Some(Parameter::of(&file.tensor::<1>(BIAS, [dim], &archive, &device)?)?),
            false => None,
        };
        Ok(Self::new(file.settings, file.found, &file.classes, &weight, bias.as_ref(), &device))
    }
}

impl Fitted for FittedProLip {
    fn classes(&self) -> &TextClassifier {
        &self.classes
    }

    fn device(&self) -> &Device {
        &self.device
    }

    /// The width before the projection.
    fn dim(&self) -> usize {
        self.weight.dims()[0]
    }

    fn logits(&self, images: Tensor<2>) -> Tensor<2> {
        let projected = with_bias(images.matmul(self.weight.clone()), self.bias.as_ref());
        contrastive_logits(normalise(projected), self.class_weights.clone(), self.classes.logit_scale())
    }

    fn chosen(&self) -> serde_json::Value {
        serde_json::json!({ "lambda": self.lambda })
    }

    fn save(&self, path: &Path) -> Result<()> {
        let mut learned = Parameters::new();
        learned.insert(WEIGHT.to_owned(), Parameter::of(&self.weight)?.turned());
        if let Some(bias) = &self.bias {
            learned.insert(BIAS.to_owned(), Parameter::of(bias)?);
        }
        AdapterFile {
            method: NAME,
            settings: self.settings,
            found: self.lambda,
            classes: self.classes.clone(),
            parameters: learned,
        }
        .write(path)
    }
}
