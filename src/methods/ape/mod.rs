mod refinement;

use burn::tensor::{Device, Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use self::refinement::Refinement;
use crate::choose::{Choice, Steps, TipGrid, host};
use crate::error::{Error, Result};
use crate::features::{FeatureSet, Support, TextClassifier, normalise};
use crate::fingerprint::Fingerprint;
use crate::model::{Classifier, KernelHead, Model, Open, Opening, Saved, Section, Settings};
use crate::train::{Method, Run};

/// The values of `gamma` that are tried on validation images.
const GAMMAS: [f64; 5] = [0.0, 0.1, 0.25, 0.5, 1.0];

/// How many values of `beta` and of `alpha` are tried for each of them, and between which bounds.
const STEPS: usize = 20;
const BOUNDS: (f64, f64) = (0.1, 13.0);

/// APE without training: a cache that is looked up on the channels that tell the classes apart.
///
/// `logits = s f W^T + alpha exp(-beta (1 - f' F'^T)) (diag(exp(gamma KL_i)) L)` with the shots' features `F'` and
/// the image's `f'` on the channels that are kept, each of unit length, the one-hot labels `L`, and `KL_i =
/// KL(L_i || softmax(F'_i W'^T))`: a shot that its text explains badly says more. The channels with the largest
/// `J = 0.3 var_c(W) - 0.7 likeness` are kept; the likeness of a channel is the mean product over all pairs of
/// texts and shots of different classes (Zhu et al., 2023, section 3, <https://arxiv.org/abs/2304.01195>). The
/// divergence is in nats; the authors' code takes bits.
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `channels` | 0.5 | above 0, 1 at most | part of the channels that is kept |
/// | `alpha` | 5 | 0 or more | weight of the cache; 0 is zero-shot |
/// | `beta` | 5.5 | above 0 | sharpness: how fast the say of a shot falls with its distance |
/// | `gamma` | 0.5 | 0 or more | how much more a surprising shot says |
///
/// With few-shot validation images `alpha`, `beta` and `gamma` are searched on those, and the settings are not
/// used: 20 values of `alpha` and 20 of `beta` from 0.1 to 13, as [`TipAdapter`](super::TipAdapter) does, and five of
/// `gamma` from 0 to 1. The authors search such grids on every data set; these defaults suit 1 to 16 shots of four
/// data sets.
///
/// # Examples
/// ```
/// use burn::tensor::Device;
/// use clip_adapter::{Classifier, FeatureFile, Method, ZeroShot, methods::Ape};
///
/// let (file, device) = (FeatureFile::synthetic(0)?, Device::flex());
/// let (support, test) = (file.support(16, 1)?, file.test_set("test")?);
/// let before = ZeroShot::default().fit(&support, file.classifier(), &device)?.evaluate(&test)?;
/// let after = Ape::default().fit(&support, file.classifier(), &device)?.evaluate(&test)?;
/// assert!(after.accuracy > before.accuracy);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ape {
    /// Part of the channels that is kept.
    pub channels: f64,
    /// Weight of the cache.
    pub alpha: f64,
    /// How fast the say of a shot falls with its distance.
    pub beta: f64,
    /// How much more a surprising shot says.
    pub gamma: f64,
}

impl Default for Ape {
    fn default() -> Self {
        Self { channels: 0.5, alpha: 5.0, beta: 5.5, gamma: 0.5 }
    }
}

impl Ape {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first one outside.
    pub fn validate(&self) -> Result<()> {
        let Self { channels, alpha, beta, gamma } = *self;
        let check = |name: &str, good: bool, range: &str, found: f64| {
            if good && found.is_finite() { Ok(()) } else { Err(Error::setting(name, range, found)) }
        };
        check("channels", channels > 0.0 && channels <= 1.0, "above 0, 1 at most", channels)?;
        check("alpha", alpha >= 0.0, "0 or more", alpha)?;
        check("beta", beta > 0.0, "above 0", beta)?;
        check("gamma", gamma >= 0.0, "0 or more", gamma)
    }

    /// The best weights of the grid on `validation`.
    fn search(self, refinement: &Refinement<'_>, validation: &FeatureSet, device: &Device) -> Result<Self> {
        let steps = Steps { first: BOUNDS.0, end: BOUNDS.1, count: STEPS };
        let images = normalise(validation.embeddings().tensor(device));
        let refined = normalise(images.clone().select(1, indices(&refinement.channels, device)));
        let mut choice = Choice::new(validation.labels());
        for gamma in GAMMAS {
            let head = refinement.head(self.alpha, self.beta, gamma, device);
            let (zero_shot, affinities) = (head.zero_shot(images.clone()), head.affinities(refined.clone()));
            let (logits, cosines) = (zero_shot.clone(), affinities.clone());
            let grid = TipGrid::new([steps, steps], &head, logits, cosines, validation.labels())?;
            if let Some((alpha, beta)) = grid.best() {
                let logits = zero_shot + head.cached(affinities, beta).mul_scalar(alpha);
                choice.consider(Self { alpha, beta, gamma, ..self }, &host(logits)?);
            }
        }
        Ok(choice.best().unwrap_or(self))
    }
}

fn indices(channels: &[usize], device: &Device) -> Tensor<1, Int> {
    let indices: Vec<i64> = channels.iter().map(|&channel| channel as i64).collect();
    Tensor::from_data(TensorData::new(indices, [channels.len()]), device)
}

/// What a file keeps beside the cache.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Found {
    in_force: Ape,
    channels: Vec<usize>,
}

/// The refined cache of an [`Ape`].
#[derive(Debug, Clone)]
pub struct FittedApe {
    settings: Ape,
    found: Found,
    channels: Tensor<1, Int>,
    head: KernelHead,
}

impl FittedApe {
    /// The settings it was fitted with.
    pub fn settings(&self) -> &Ape {
        &self.settings
    }

    /// The weights in force: the settings', or those found on validation images.
    pub fn in_force(&self) -> Ape {
        self.found.in_force
    }

    /// The channels that are kept, in increasing order.
    pub fn channels(&self) -> &[usize] {
        &self.found.channels
    }
}

impl Settings for Ape {
    const NAME: &'static str = "ape";
}

impl Method for Ape {
    type Fitted = FittedApe;

    fn fit_with(&self, support: &Support, classes: &TextClassifier, run: &mut Run<'_>) -> Result<FittedApe> {
        support.check(classes)?;
        self.validate()?;
        let device = run.device();
        let refinement = Refinement::new(support.set(), classes, self.channels);
        let in_force = match support.validation() {
            Some(validation) => self.search(&refinement, validation, device)?,
            None => *self,
        };
        let head = refinement.head(in_force.alpha, in_force.beta, in_force.gamma, device);
        let channels = indices(&refinement.channels, device);
        let found = Found { in_force, channels: refinement.channels };
        Ok(FittedApe { settings: *self, found, channels, head })
    }
}

impl Model for FittedApe {
    fn kind(&self) -> &'static str {
        Ape::NAME
    }

    fn fingerprint(&self) -> Fingerprint {
        self.head.classes().fingerprint()
    }

    fn device(&self) -> &Device {
        self.head.device()
    }

    fn chosen(&self) -> serde_json::Value {
        serde_json::json!(self.found.in_force)
    }

    fn write(&self, into: &mut Section<'_, '_>) -> Result<()> {
        into.classes(self.head.classes());
        into.settings(&self.settings, &self.found);
        self.head.write(into)
    }
}

impl Classifier for FittedApe {
    fn classes(&self) -> &TextClassifier {
        self.head.classes()
    }

    fn logits(&self, images: Tensor<2>) -> Tensor<2> {
        let images = normalise(images);
        let refined = normalise(images.clone().select(1, self.channels.clone()));
        let cached = self.head.cached(self.head.affinities(refined), self.head.beta);
        self.head.zero_shot(images) + cached.mul_scalar(self.head.weight)
    }

    fn to_device(&self, device: &Device) -> Result<Box<dyn Classifier>> {
        let head = self.head.to_device(device)?;
        let channels = indices(&self.found.channels, head.device());
        Ok(Box::new(Self { head, channels, ..self.clone() }))
    }

    fn with_classes(&self, classes: &TextClassifier) -> Result<Box<dyn Classifier>> {
        Ok(Box::new(Self { head: self.head.with_classes(classes)?, ..self.clone() }))
    }
}

impl Open for FittedApe {
    const KIND: &'static str = Ape::NAME;

    fn open(saved: &Saved, opening: &Opening<'_>) -> Result<Self> {
        let found: Found = saved.json("found")?;
        let Found { in_force, channels } = &found;
        in_force.validate().map_err(|error| saved.locate("found", error))?;
        let dim = saved.classes()?.dim();
        if let Some(channel) = channels.iter().find(|&&channel| channel >= dim) {
            return Err(saved.malformed("metadata `found`", format!("channels below {dim}"), channel));
        }
        let head = KernelHead::open(saved, [in_force.alpha, in_force.beta], channels.len(), opening)?;
        let channels = indices(channels, head.device());
        Ok(Self { settings: saved.json("settings")?, found, channels, head })
    }
}
