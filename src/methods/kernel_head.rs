//! What Tip-Adapter, with and without training, and ProKeR have in common: a kernel between an image and the
//! shots, beside zero-shot.

use burn::tensor::{Device, Tensor};

use crate::{
    Result, TextClassifier,
    adapter::{
        AdapterFile, cross_entropy_slope,
        parameters::{Parameter, Parameters},
    },
    archive::Archive,
    features::{contrastive_logits, normalise},
};

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

    pub fn parameters(&self) -> Result<Parameters> {
        let (keys, values) = (Parameter::of(&self.keys)?, Parameter::of(&self.values)?);
        Ok(Parameters::from([(KEYS.to_owned(), keys), (VALUES.to_owned(), values)]))
    }

    pub fn load<S, F>(
        file: &AdapterFile<S, F>,
        archive: &Archive,
        weight: f64,
        beta: f64,
        device: &Device,
    ) -> Result<Self> {
        Self::load_of_width(file, archive, weight, beta, file.classes.dim(), device)
    }

    /// As [`load`](Self::load), for keys that keep `width` of the channels.
    pub fn load_of_width<S, F>(
        file: &AdapterFile<S, F>,
        archive: &Archive,
        weight: f64,
        beta: f64,
        width: usize,
        device: &Device,
    ) -> Result<Self> {
        file.expect_names(&[KEYS, VALUES], archive)?;
        let device = device.clone().without_autodiff();
        let keys = file.tensor(KEYS, [None, Some(width)], archive, &device)?;
        let shots = keys.dims()[0];
        let classes = file.classes.class_names().len();
        let values = file.tensor(VALUES, [Some(shots), Some(classes)], archive, &device)?;
        Ok(Self::new(&file.classes, keys, values, weight, beta))
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
