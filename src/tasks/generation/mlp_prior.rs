use std::path::Path;

use burn::{
    module::{Module, Param},
    optim::GradientsParams,
    tensor::{Device, Tensor, TensorData, activation},
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::prior::{check_pairs, mean, mean_length};
use crate::adapter::cross_entropy;
use crate::error::{Error, Result, not_negative, positive};
use crate::features::{Embeddings, contrastive_logits, normalise};
use crate::fingerprint::Fingerprint;
use crate::model::{Model, Saved, Section, Settings};
use crate::train::{Examples, NoMonitor, Optimiser, Run, Schedule, Session, Trainer};

/// The prior as a small network, which ranks better than [`Prior`](super::Prior) and comes less near.
///
/// `p = normalise(t + m - n + W2 ReLU(W1 t + b1) + b2)`, with `W2` 0 at first, so that training begins at the shift of the
/// means; `contrast CE(p m_j / tau) - cosine p m` over the pairs of a batch, AdamW at a constant rate.
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `hidden` | 128 | 1 or more | units of the hidden layer |
/// | `tau` | 0.05 | above 0 | what cosines are divided by in the contrast |
/// | `contrast` | 0.5 | 0 or more | weight of telling a pair from the others |
/// | `cosine` | 10 | 0 or more | weight of the cosine of a pair |
/// | `rate` | 0.001 | above 0 | Adam's |
/// | `decay` | 0.01 | 0 or more | of all parameters, apart from the gradient |
/// | `batch_size` | 64 | 2 or more | pairs a step |
/// | `epochs` | 60 | 1 or more | |
/// | `seed` | 0 | | of `W1` and the order |
///
/// # Examples
/// ```
/// use clip_adapter::{prelude::*, tasks::generation::MlpPrior};
///
/// let file = FeatureFile::synthetic(0)?;
/// let (photos, texts) = (file.split("train")?, file.classifier().weights());
/// let paired = texts.select(photos.labels());
/// let mut run = Run::new(&Device::flex());
/// let prior = MlpPrior { epochs: 3, ..MlpPrior::default() };
/// let prior = prior.fit(&paired, photos.embeddings(), "synthetic", &mut run)?;
/// assert_eq!(prior.predict(texts)?.rows(), texts.rows());
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MlpPrior {
    /// Units of the hidden layer.
    pub hidden: usize,
    /// What cosines are divided by in the contrast.
    pub tau: f64,
    /// Weight of telling a pair from the others.
    pub contrast: f64,
    /// Weight of the cosine of a pair.
    pub cosine: f64,
    /// Adam's rate.
    pub rate: f64,
    /// Of all parameters, apart from the gradient.
    pub decay: f64,
    /// Pairs a step.
    pub batch_size: usize,
    /// Passes over all pairs.
    pub epochs: usize,
    /// Of the initial weights and the order.
    pub seed: u64,
}

impl Default for MlpPrior {
    fn default() -> Self {
        Self {
            hidden: 128,
            tau: 0.05,
            contrast: 0.5,
            cosine: 10.0,
            rate: 0.001,
            decay: 0.01,
            batch_size: 64,
            epochs: 60,
            seed: 0,
        }
    }
}

impl Settings for MlpPrior {
    const NAME: &'static str = "mlp-prior";
}

impl MlpPrior {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first one outside.
    pub fn validate(&self) -> Result<()> {
        positive("tau", self.tau)?;
        not_negative("contrast", self.contrast)?;
        not_negative("cosine", self.cosine)?;
        positive("rate", self.rate)?;
        not_negative("decay", self.decay)?;
        let least =
            [("hidden", self.hidden, 1), ("batch_size", self.batch_size, 2), ("epochs", self.epochs, 1)];
        match least.into_iter().find(|(_, value, least)| value < least) {
            Some((name, value, least)) => Err(Error::setting(name, format!("{least} or more"), value)),
            None => Ok(()),
        }
    }

    /// Learns from pairs, as [`Prior::fit`](super::Prior::fit) does, on the run's device.
    ///
    /// # Errors
    /// [`Error::Setting`] for a setting out of range; [`Error::Dim`] or [`Error::Data`] if there is not one image of the same
    /// width a text; and whatever training fails with.
    pub fn fit(
        &self,
        texts: &Embeddings,
        images: &Embeddings,
        backbone: &str,
        run: &mut Run<'_>,
    ) -> Result<FittedMlpPrior> {
        self.validate()?;
        check_pairs(texts, images)?;
        let device = run.device().clone();
        let found = Found { length: mean_length(images), pairs: texts.rows() };
        let (texts, images) = (texts.normalised(), images.normalised());
        let apart = mean(&images).into_iter().zip(mean(&texts));
        let shift: Vec<f32> = apart.map(|(image, text)| (image - text) as f32).collect();
        let identity = json!([Self::NAME, self, shift, texts.rows()]).to_string();
        let along = row(&shift, &device);
        let pairs = Examples { images: texts.tensor(&device), targets: images.tensor(&device) };
        let batches = pairs.shuffled(self.batch_size, self.seed);
        let gradients = |net: &Net, [batch]: [Examples; 1]| {
            let count = batch.len();
            let p = net.forward(batch.images, along.clone());
            let cosine = (p.clone() * batch.targets.clone()).sum_dim(1).mean();
            let logits = contrastive_logits(p, batch.targets, 1.0 / self.tau);
            let contrast = cross_entropy(logits, Tensor::eye(count, &device));
            let loss = contrast.mul_scalar(self.contrast) - cosine.mul_scalar(self.cosine);
            Ok((loss.clone().inner(), GradientsParams::from_grads(loss.backward(), net)))
        };
        let trainer = Trainer {
            // A constant rate: the cosine's floor is its top.
            schedule: Schedule { floor: 1.0, ..Schedule::cosine(self.rate, self.epochs) },
            optimiser: Optimiser::AdamW { epsilon: Optimiser::EPSILON, weight_decay: self.decay },
        };
        let mut session = Session::open(run, identity, 1)?;
        let net = Net::new(texts.dim(), self.hidden, self.seed, &device.clone().autodiff());
        let net = trainer.train(net, &batches, gradients, &mut NoMonitor, "all pairs", &mut session)?;
        session.close()?;
        let (settings, backbone) = (self.clone(), backbone.to_owned());
        Ok(FittedMlpPrior { settings, net: net.valid(), shift, found, backbone, device })
    }
}

fn row(values: &[f32], device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values.to_vec(), [1, values.len()]), device)
}

#[derive(Module, Debug)]
struct Net {
    down: Param<Tensor<2>>, // [dim, hidden]
    down_bias: Param<Tensor<2>>,
    up: Param<Tensor<2>>, // [hidden, dim]
    up_bias: Param<Tensor<2>>,
}

impl Net {
    fn new(dim: usize, hidden: usize, seed: u64, device: &Device) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let bound = 1.0 / (dim as f32).sqrt();
        let down: Vec<f32> = (0..dim * hidden).map(|_| random.random_range(-bound..bound)).collect();
        let zeros = |rows: usize, columns: usize| {
            Param::from_data(TensorData::new(vec![0.0f32; rows * columns], [rows, columns]), device)
        };
        Self {
            down: Param::from_data(TensorData::new(down, [dim, hidden]), device),
            down_bias: zeros(1, hidden),
            up: zeros(hidden, dim),
            up_bias: zeros(1, dim),
        }
    }

    fn forward(&self, t: Tensor<2>, shift: Tensor<2>) -> Tensor<2> {
        let hidden = activation::relu(t.clone().matmul(self.down.val()) + self.down_bias.val());
        normalise(t + shift + hidden.matmul(self.up.val()) + self.up_bias.val())
    }
}

/// What [`MlpPrior::fit`] learned.
#[derive(Debug, Clone)]
pub struct FittedMlpPrior {
    settings: MlpPrior,
    net: Net,
    shift: Vec<f32>, // m - n, [dim]
    found: Found,
    backbone: String,
    device: Device,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Found {
    length: f64,
    pairs: usize,
}

impl FittedMlpPrior {
    /// The mean length of the images that it was fitted on.
    pub fn length(&self) -> f64 {
        self.found.length
    }

    /// Names the weights and preprocessing that made the embeddings.
    pub fn backbone(&self) -> &str {
        &self.backbone
    }

    /// Embeddings of images of these texts, of unit length: `[texts, dim]` of any length to `[texts, dim]`.
    ///
    /// # Errors
    /// [`Error::Dim`] if they have another width; [`Error::Execution`] if the device fails.
    pub fn predict(&self, texts: &Embeddings) -> Result<Embeddings> {
        let dim = self.shift.len();
        if texts.dim() != dim {
            let what = "text embeddings of a prior".to_owned();
            return Err(Error::Dim { what, expected: dim, found: texts.dim() });
        }
        let texts = texts.normalised().tensor(&self.device);
        let images = self.net.forward(texts, row(&self.shift, &self.device));
        let values = images.try_into_vec_as::<f32>();
        Embeddings::new(values.map_err(|error| Error::execution("predicting images", error))?, dim)
    }

    /// Opens what [`Save::save`](crate::model::Save::save) wrote, for embeddings of this backbone.
    ///
    /// # Errors
    /// [`Error::Read`] if it cannot be read, [`Error::Malformed`] if it is not the whole file of such a prior, and
    /// [`Error::Fingerprint`] if it is of another backbone.
    pub fn open(path: impl AsRef<Path>, backbone: &str, device: &Device) -> Result<Self> {
        let saved = Saved::open(path)?;
        if saved.kind() != MlpPrior::NAME {
            let (expected, found) = (format!("`{}`", MlpPrior::NAME), format!("`{}`", saved.kind()));
            return Err(saved.malformed("metadata `method`", expected, found));
        }
        saved.load_by(&Fingerprint::of_backbone(backbone), |saved| {
            let settings: MlpPrior = saved.json("settings")?;
            settings.validate().map_err(|error| saved.locate("settings", error))?;
            let found: Found = saved.json("found")?;
            if !found.length.is_finite() || found.length <= 0.0 {
                return Err(saved.malformed("metadata `found`: length", "above 0", found.length));
            }
            let shift = saved.tensor("shift", [None], device)?.try_into_vec_as::<f32>();
            let shift = shift.map_err(|error| Error::execution("reading a prior", error))?;
            saved.require_shape("down", &[shift.len(), settings.hidden])?;
            let net = saved.module(Net::new(shift.len(), settings.hidden, settings.seed, device))?;
            Ok(Self { settings, net, shift, found, backbone: backbone.to_owned(), device: device.clone() })
        })
    }
}

impl Model for FittedMlpPrior {
    fn kind(&self) -> &'static str {
        MlpPrior::NAME
    }

    fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of_backbone(&self.backbone)
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn chosen(&self) -> Value {
        json!({ "length": self.found.length, "pairs": self.found.pairs })
    }

    fn write(&self, into: &mut Section<'_, '_>) -> Result<()> {
        into.settings(&self.settings, &self.found);
        into.floats("shift", &[self.shift.len()], &self.shift);
        into.module(&self.net);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_a_range() {
        let prior = MlpPrior::default;
        for (wrong, name) in [
            (MlpPrior { tau: 0.0, ..prior() }, "tau"),
            (MlpPrior { contrast: -1.0, ..prior() }, "contrast"),
            (MlpPrior { cosine: f64::NAN, ..prior() }, "cosine"),
            (MlpPrior { rate: 0.0, ..prior() }, "rate"),
            (MlpPrior { decay: -1.0, ..prior() }, "decay"),
            (MlpPrior { hidden: 0, ..prior() }, "hidden"),
            (MlpPrior { batch_size: 1, ..prior() }, "batch_size"),
            (MlpPrior { epochs: 0, ..prior() }, "epochs"),
        ] {
            let error = wrong.validate().unwrap_err();
            assert!(matches!(&error, Error::Setting { name: found, .. } if found == name), "{error}");
        }
    }
}
