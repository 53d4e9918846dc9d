use burn::tensor::{Device, Tensor};
use faer::Mat;
use serde::{Deserialize, Serialize};

use crate::adapter::cross_entropy_slope;
use crate::archive::parameters::Parameter;
use crate::error::{Error, Result, not_negative, positive};
use crate::features::{Support, TextClassifier, contrastive_logits, normalise, normalise_slope, norms};
use crate::fingerprint::Fingerprint;
use crate::model::{Classifier, FeatureMap, Model, Open, Opening, Saved, Section, Settings, Units, places};
use crate::train::{Examples, MatrixFit, Method, Optimiser, Run, Schedule, Trainer, on_host};

/// The name of its tensor in a file, as PyTorch has a linear layer's.
const WEIGHT: &str = "adapter.weight";

/// The regularised linear adapter: a full linear layer on the image features that is held to the identity.
///
/// `logits = s normalise(f M) W^T` with `M`, `[dim, dim]`, that starts as the identity `I` and is trained on all
/// shots at once with cross-entropy plus `lambda ||M - I||_F^2` (Fahes et al., 2024,
/// <https://arxiv.org/abs/2410.05270>).
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `lambda` | null | 0 or more, or null | pull towards the identity; null is 1 / shots, their mean over the classes |
/// | `steps` | 300 | 0 or more | steps, each on all shots; 0 is zero-shot |
/// | `learning_rate` | 0.0001 | above 0 | of Adam, before the cosine; `100 / s` times as much at a logit scale `s` |
/// | `epsilon` | 0.0001 | above 0 | of Adam |
///
/// There is nothing random in it. Validation images are not used.
///
/// # Examples
/// ```
/// use burn::tensor::Device;
/// use clip_adapter::{Classifier, FeatureFile, Method, ZeroShot, methods::Rla};
///
/// let (file, device) = (FeatureFile::synthetic(0)?, Device::flex());
/// let (support, test) = (file.support(16, 1)?, file.test_set("test")?);
/// let before = ZeroShot::default().fit(&support, file.classifier(), &device)?.evaluate(&test)?;
/// let after = Rla::default().fit(&support, file.classifier(), &device)?.evaluate(&test)?;
/// assert!(after.accuracy > before.accuracy + 5.0);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rla {
    /// Pull towards the identity; `None` is one by the number of shots.
    pub lambda: Option<f64>,
    /// Steps, each on all shots.
    pub steps: usize,
    /// Of Adam, before the cosine.
    pub learning_rate: f64,
    /// Of Adam.
    pub epsilon: f64,
}

impl Default for Rla {
    fn default() -> Self {
        Self { lambda: None, steps: 300, learning_rate: 1e-4, epsilon: 1e-4 }
    }
}

impl Rla {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) for the first one outside.
    pub fn validate(&self) -> Result<()> {
        self.lambda.map_or(Ok(()), |lambda| not_negative("lambda", lambda))?;
        positive("learning_rate", self.learning_rate)?;
        positive("epsilon", self.epsilon)
    }

    fn trainer(&self) -> Trainer {
        Trainer {
            schedule: Schedule::cosine(self.learning_rate, self.steps), // an epoch is one step
            optimiser: Optimiser::Adam { epsilon: self.epsilon },
        }
    }
}

/// What the loss is made of, beside the images.
struct Loss {
    classes: Tensor<2>,  // W, [classes, dim]
    identity: Tensor<2>, // [dim, dim]
    lambda: f64,
    scale: f64,
}

impl Loss {
    /// The loss of a batch and its slope in `matrix`, `[dim, dim]`: unit rows `[batch, dim]` and
    /// `[batch, classes]` to `[1]` and `[dim, dim]`.
    fn slope(&self, matrix: Tensor<2>, images: Tensor<2>, targets: Tensor<2>) -> (Tensor<1>, Tensor<2>) {
        let adapted = images.clone().matmul(matrix.clone()); // [batch, dim]
        let norm = norms(adapted.clone());
        let unit = adapted / norm.clone();
        let logits = contrastive_logits(unit.clone(), self.classes.clone(), self.scale);
        let (loss, d_cosines) = cross_entropy_slope(logits, targets, self.scale);
        let d_adapted = normalise_slope(d_cosines.matmul(self.classes.clone()), unit, norm);
        let change = matrix - self.identity.clone();
        let penalty = (change.clone() * change.clone()).sum().mul_scalar(self.lambda);
        let pull = change.mul_scalar(2.0 * self.lambda);
        (loss + penalty, images.transpose().matmul(d_adapted) + pull)
    }
}

/// The linear layer of an [`Rla`].
#[derive(Debug, Clone)]
pub struct FittedRla {
    settings: Rla,
    lambda: f64,
    classes: TextClassifier,
    class_weights: Tensor<2>, // W, [classes, dim]
    adapter: Tensor<2>,       // M^T, [dim, dim]
    device: Device,
}

impl FittedRla {
    fn new(settings: Rla, lambda: f64, classes: TextClassifier, adapter: Tensor<2>) -> Self {
        let device = adapter.device();
        let class_weights = classes.tensor(&device);
        Self { settings, lambda, classes, class_weights, adapter, device }
    }

    /// The settings it was fitted with.
    pub fn settings(&self) -> &Rla {
        &self.settings
    }

    /// The pull towards the identity: the settings', or one by the number of shots.
    pub fn lambda(&self) -> f64 {
        self.lambda
    }
}

impl Settings for Rla {
    const NAME: &'static str = "rla";
}

impl Method for Rla {
    type Fitted = FittedRla;

    fn fit_with(&self, support: &Support, classes: &TextClassifier, run: &mut Run<'_>) -> Result<FittedRla> {
        support.check(classes)?;
        self.validate()?;
        let loss = Loss {
            classes: classes.tensor(run.device()),
            identity: Tensor::eye(classes.dim(), run.device()),
            lambda: self.lambda.unwrap_or(1.0 / support.set().shots_a_class()),
            scale: classes.logit_scale(),
        };
        let batches = Examples::unit(support.set(), run.device()).shuffled(0, 0);
        let slope =
            |matrix: Tensor<2>, [batch]: [Examples; 1]| loss.slope(matrix, batch.images, batch.targets);
        let fit = MatrixFit { method: self, support, classes, trainer: self.trainer() };
        let matrix = fit.run(loss.identity.clone(), &batches, slope, run)?;
        let adapter = Tensor::from_data(on_host(matrix.transpose())?, run.device());
        Ok(FittedRla::new(*self, loss.lambda, classes.clone(), adapter))
    }
}

impl Model for FittedRla {
    fn kind(&self) -> &'static str {
        Rla::NAME
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
        into.tensor(WEIGHT, &self.adapter)
    }
}

impl FeatureMap for FittedRla {
    /// `normalise(f M)`.
    fn images(&self, images: Tensor<2>) -> Tensor<2> {
        normalise(images.matmul(self.adapter.clone().transpose()))
    }

    fn texts(&self, texts: Tensor<2>) -> Tensor<2> {
        normalise(texts)
    }

    /// The singular vectors of `M - I`, largest first: `f M = f + sum_j (f . u_j) s_j v_j`.
    fn units(&self) -> Result<Units> {
        let dim = self.classes.dim();
        let turned = Parameter::of(&self.adapter)?.values; // M^T, row after row
        let change = Mat::from_fn(dim, dim, |row, column| {
            f64::from(turned[column * dim + row]) - if row == column { 1.0 } else { 0.0 }
        });
        let svd =
            change.svd().map_err(|error| Error::execution("decomposing a layer", format!("{error:?}")))?;
        let sizes = svd.S().column_vector();
        // What is smaller is f32's rounding.
        let count = (0..dim).take_while(|&at| sizes[at] > 1e-6 * sizes[0].max(1e-3)).count();
        let rows = |of: &dyn Fn(usize, usize) -> f64| -> Vec<f32> {
            (0..count * dim).map(|at| of(at % dim, at / dim) as f32).collect()
        };
        let reads = rows(&|column, unit| svd.U()[(column, unit)]);
        let writes = rows(&|column, unit| sizes[unit] * svd.V()[(column, unit)]);
        Units::new(reads, writes, dim, 1.0, 1.0, false)
    }
}

impl Classifier for FittedRla {
    fn classes(&self) -> &TextClassifier {
        &self.classes
    }

    fn feature_map(&self) -> Option<&dyn FeatureMap> {
        Some(self)
    }

    fn logits(&self, images: Tensor<2>) -> Tensor<2> {
        let scale = self.classes.logit_scale();
        contrastive_logits(self.images(images), self.class_weights.clone(), scale)
    }

    fn to_device(&self, device: &Device) -> Result<Box<dyn Classifier>> {
        let adapter = Tensor::from_data(on_host(self.adapter.clone())?, &device.clone().without_autodiff());
        Ok(Box::new(Self::new(self.settings, self.lambda, self.classes.clone(), adapter)))
    }

    fn with_classes(&self, classes: &TextClassifier) -> Result<Box<dyn Classifier>> {
        places(&self.classes, classes)?;
        Ok(Box::new(Self::new(self.settings, self.lambda, classes.clone(), self.adapter.clone())))
    }
}

impl Open for FittedRla {
    const KIND: &'static str = Rla::NAME;

    fn open(saved: &Saved, opening: &Opening<'_>) -> Result<Self> {
        let classes = saved.classes()?;
        let dim = Some(classes.dim());
        let adapter = saved.tensor(WEIGHT, [dim, dim], opening.device())?;
        Ok(Self::new(saved.json("settings")?, saved.json("found")?, classes.clone(), adapter))
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;

    use super::*;
    use crate::adapter::cross_entropy;

    #[test]
    fn the_written_out_slope_is_the_recorded_one() {
        let device = Device::flex();
        let wave = |rows: usize, columns: usize, phase: f32| {
            let values: Vec<f32> =
                (0..rows * columns).map(|at| (0.37 * (at * at) as f32 + phase).sin()).collect();
            Tensor::<2>::from_data(TensorData::new(values, [rows, columns]), &device)
        };
        let (classes, identity) = (normalise(wave(3, 6, 0.2)), Tensor::eye(6, &device));
        let loss = Loss { classes, identity, lambda: 0.3, scale: 5.0 };
        let (matrix, images, targets) = (wave(6, 6, 0.7), normalise(wave(4, 6, 1.4)), wave(4, 3, 2.1).abs());
        let targets = targets.clone() / targets.sum_dim(1);
        let (value, written) = loss.slope(matrix.clone(), images.clone(), targets.clone());

        let tracked = matrix.autodiff().require_grad();
        let logits = contrastive_logits(normalise(images.matmul(tracked.clone())), loss.classes.clone(), 5.0);
        let change = tracked.clone() - loss.identity.clone();
        let recorded = cross_entropy(logits, targets) + (change.clone() * change).sum().mul_scalar(0.3);
        value.into_data().assert_approx_eq::<f32>(&recorded.clone().inner().into_data(), Default::default());
        let recorded = tracked.grad(&recorded.backward()).unwrap();
        assert!(recorded.clone().abs().max().into_scalar::<f32>() > 1e-2);
        assert!((written - recorded).abs().max().into_scalar::<f32>() < 1e-5);
    }
}
