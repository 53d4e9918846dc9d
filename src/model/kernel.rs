//! What Tip-Adapter, with and without training, ProKeR and APE have in common: a kernel between an image and the shots,
//! beside zero-shot.

use burn::tensor::{Device, Int, Tensor, TensorData};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::extend::places;
use super::{Classifier, Model, Open, Opening, Saved, Section, Settings};
use crate::adapter::cross_entropy_slope;
use crate::archive::parameters::Parameter;
use crate::error::Result;
use crate::features::{TextClassifier, contrastive_logits, normalise};
use crate::fingerprint::Fingerprint;

/// The names of its tensors in a file.
const KEYS: &str = "kernel.keys";
const VALUES: &str = "kernel.values";

/// `logits = s f W^T + weight * exp(-beta (1 - f F^T)) V`: what each shot says, by its likeness.
#[derive(Debug, Clone)]
pub(crate) struct KernelHead {
    classes: TextClassifier,
    class_weights: Tensor<2>, // W, [classes, dim]
    keys: Tensor<2>,          // F, unit rows [shots, dim]
    values: Tensor<2>,        // V, [shots, classes]
    pub weight: f64,
    pub beta: f64,
    device: Device,
}

impl KernelHead {
    /// Takes unit keys `[shots, dim]` and values `[shots, classes]` on one device.
    pub fn new(classes: &TextClassifier, keys: Tensor<2>, values: Tensor<2>, weight: f64, beta: f64) -> Self {
        let device = keys.device();
        let class_weights = classes.tensor(&device);
        Self { classes: classes.clone(), class_weights, keys, values, weight, beta, device }
    }

    pub fn classes(&self) -> &TextClassifier {
        &self.classes
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    pub fn keys(&self) -> Tensor<2> {
        self.keys.clone()
    }

    pub fn values(&self) -> Tensor<2> {
        self.values.clone()
    }

    /// The cosine of every image with every shot: unit rows `[batch, dim]` to `[batch, shots]`.
    pub fn affinities(&self, images: Tensor<2>) -> Tensor<2> {
        images.matmul(self.keys.clone().transpose())
    }

    /// `exp(-beta (1 - a)) V`: `[batch, shots]` to `[batch, classes]`.
    pub fn cached(&self, affinities: Tensor<2>, beta: f64) -> Tensor<2> {
        kernel(affinities, beta).matmul(self.values.clone())
    }

    /// `s f W^T`: unit rows `[batch, dim]` to `[batch, classes]`.
    pub fn zero_shot(&self, images: Tensor<2>) -> Tensor<2> {
        contrastive_logits(images, self.class_weights.clone(), self.classes.logit_scale())
    }

    /// `[batch, dim]` of any length to `[batch, classes]`.
    pub fn logits(&self, images: Tensor<2>) -> Tensor<2> {
        let images = normalise(images);
        let cached = self.cached(self.affinities(images.clone()), self.beta);
        self.zero_shot(images) + cached.mul_scalar(self.weight)
    }

    /// The same for a longer list of classes, of which no shot says anything of the new ones.
    pub fn with_classes(&self, classes: &TextClassifier) -> Result<Self> {
        let places = places(&self.classes, classes)?;
        // A new class takes the column behind the last one, which holds zeros.
        let behind = self.classes.class_names().len();
        let columns: Vec<i64> = places.iter().map(|place| place.unwrap_or(behind) as i64).collect();
        let columns = Tensor::<1, Int>::from_data(TensorData::new(columns, [places.len()]), &self.device);
        let zeros = Tensor::zeros([self.keys.dims()[0], 1], &self.device);
        let values = Tensor::cat(vec![self.values.clone(), zeros], 1).select(1, columns);
        Ok(Self::new(classes, self.keys.clone(), values, self.weight, self.beta))
    }

    pub fn to_device(&self, device: &Device) -> Result<Self> {
        let device = device.clone().without_autodiff();
        let moved = |tensor: &Tensor<2>| -> Result<Tensor<2>> {
            let Parameter { shape, values } = Parameter::of(tensor)?;
            Ok(Tensor::from_data(TensorData::new(values, shape), &device))
        };
        Ok(Self::new(&self.classes, moved(&self.keys)?, moved(&self.values)?, self.weight, self.beta))
    }

    /// The same with other keys.
    pub fn with_keys(&self, keys: Tensor<2>) -> Self {
        Self { keys, ..self.clone() }
    }

    /// The mean cross-entropy of a batch and its slope in the keys: unit rows `[batch, dim]` and `[batch, classes]`
    /// to `[1]` and `[shots, dim]`.
    pub fn keys_slope(&self, images: Tensor<2>, targets: Tensor<2>) -> (Tensor<1>, Tensor<2>) {
        let kernel = kernel(self.affinities(images.clone()), self.beta); // [batch, shots]
        let cached = kernel.clone().matmul(self.values.clone());
        let logits = self.zero_shot(images.clone()) + cached.mul_scalar(self.weight);
        let (loss, d_cached) = cross_entropy_slope(logits, targets, self.weight);
        let d_kernel = d_cached.matmul(self.values.clone().transpose());
        let d_affinities = d_kernel * kernel.mul_scalar(self.beta);
        (loss, d_affinities.transpose().matmul(images))
    }

    pub fn write(&self, into: &mut Section<'_, '_>) -> Result<()> {
        into.tensor(KEYS, &self.keys)?;
        into.tensor(VALUES, &self.values)
    }

    /// Reads keys that keep `width` of the channels.
    pub fn open(
        saved: &Saved,
        [weight, beta]: [f64; 2],
        width: usize,
        opening: &Opening<'_>,
    ) -> Result<Self> {
        let (classes, device) = (saved.classes()?, opening.device());
        let keys = saved.tensor(KEYS, [None, Some(width)], device)?;
        let values = [Some(keys.dims()[0]), Some(classes.class_names().len())];
        let values = saved.tensor(VALUES, values, device)?;
        Ok(Self::new(classes, keys, values, weight, beta))
    }
}

/// What is in force of a kernel, as it was given or chosen.
pub trait InForce: Copy + std::fmt::Debug + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The weight of the kernel and its sharpness.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) for one out of range.
    fn kernel(&self) -> Result<[f64; 2]>;
}

/// A kernel between an image and the shots, `logits = s f W^T + weight exp(-beta (1 - f F^T)) V`, that a method fitted,
/// and what is in force of it.
///
/// # Examples
/// ```
/// use clip_adapter::{methods::FittedTipAdapter, prelude::*};
///
/// let file = FeatureFile::synthetic(0)?;
/// let method = TipAdapter { alpha: 2.0, ..Default::default() };
/// let model: FittedTipAdapter = method.fit(&file.support(4, 1)?, file.classifier(), &Device::flex())?;
/// assert_eq!(model.in_force(), *model.settings()); // without validation images
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct FittedKernel<S, F> {
    settings: S,
    pub(crate) found: F,
    pub(crate) head: KernelHead,
}

impl<S: Settings, F: InForce> FittedKernel<S, F> {
    pub(crate) fn new(settings: S, found: F, head: KernelHead) -> Self {
        Self { settings, found, head }
    }

    pub(crate) fn into_head(self) -> KernelHead {
        self.head
    }

    /// The settings it was fitted with.
    pub fn settings(&self) -> &S {
        &self.settings
    }
}

impl<S: Settings, F: InForce> Model for FittedKernel<S, F> {
    fn kind(&self) -> &'static str {
        S::NAME
    }

    fn fingerprint(&self) -> Fingerprint {
        self.head.classes.fingerprint()
    }

    fn device(&self) -> &Device {
        &self.head.device
    }

    fn chosen(&self) -> Value {
        json!(self.found)
    }

    fn write(&self, into: &mut Section<'_, '_>) -> Result<()> {
        into.classes(&self.head.classes);
        into.settings(&self.settings, &self.found);
        self.head.write(into)
    }
}

impl<S: Settings, F: InForce> Classifier for FittedKernel<S, F> {
    fn classes(&self) -> &TextClassifier {
        &self.head.classes
    }

    fn logits(&self, images: Tensor<2>) -> Tensor<2> {
        self.head.logits(images)
    }

    fn to_device(&self, device: &Device) -> Result<Box<dyn Classifier>> {
        Ok(Box::new(Self { head: self.head.to_device(device)?, ..self.clone() }))
    }

    fn with_classes(&self, classes: &TextClassifier) -> Result<Box<dyn Classifier>> {
        Ok(Box::new(Self { head: self.head.with_classes(classes)?, ..self.clone() }))
    }
}

impl<S: Settings, F: InForce> Open for FittedKernel<S, F> {
    const KIND: &'static str = S::NAME;

    fn open(saved: &Saved, opening: &Opening<'_>) -> Result<Self> {
        let found: F = saved.json("found")?;
        let kernel = found.kernel().map_err(|error| saved.locate("found", error))?;
        let head = KernelHead::open(saved, kernel, saved.classes()?.dim(), opening)?;
        Ok(Self::new(saved.json("settings")?, found, head))
    }
}

/// `exp(-beta (1 - a))` of every cosine.
fn kernel(affinities: Tensor<2>, beta: f64) -> Tensor<2> {
    affinities.sub_scalar(1.0).mul_scalar(beta).exp()
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
        let prompts = wave(3, 8, 0.1).try_into_vec_as::<f32>().unwrap();
        let classes = TextClassifier::new(prompts, 8, ["a", "b", "c"], ["{}"], 4.0, "tiny").unwrap();
        let values = Tensor::from_data([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], &device);
        let (keys, images) = (normalise(wave(3, 8, 0.9)), normalise(wave(4, 8, 2.3)));
        let targets = wave(4, 3, 0.4).abs();
        let targets = targets.clone() / targets.sum_dim(1);
        let head = KernelHead::new(&classes, keys.clone(), values, 2.0, 5.5);
        let (loss, written) = head.keys_slope(images.clone(), targets.clone());

        let keys = keys.autodiff().require_grad();
        let recorded = cross_entropy(head.with_keys(keys.clone()).logits(images), targets);
        loss.into_data().assert_approx_eq::<f32>(&recorded.clone().inner().into_data(), Default::default());
        let recorded = keys.grad(&recorded.backward()).unwrap();
        assert!(recorded.clone().abs().max().into_scalar::<f32>() > 1e-2);
        assert!((written - recorded).abs().max().into_scalar::<f32>() < 1e-5);
    }
}
