//! What Tip-Adapter and ProKeR have in common: a kernel between an image and the shots, beside zero-shot.

use burn::tensor::{Device, Tensor};

use crate::{
    Result, TextClassifier,
    adapter::{
        AdapterFile,
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
        affinities.sub_scalar(1.0).mul_scalar(beta).exp().matmul(self.values.clone())
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
        file.expect_names(&[KEYS, VALUES], archive)?;
        let device = device.clone().without_autodiff();
        let keys = file.tensor(KEYS, [None, Some(file.classes.dim())], archive, &device)?;
        let shots = keys.dims()[0];
        let classes = file.classes.class_names().len();
        let values = file.tensor(VALUES, [Some(shots), Some(classes)], archive, &device)?;
        Ok(Self::new(&file.classes, keys, values, weight, beta))
    }
}
