//! What GDA, SS-Text and the trained probes come down to: one linear layer on unit features.

use burn::tensor::{Device, Tensor, TensorData};

use crate::{
    Error, Result, TextClassifier,
    adapter::{
        AdapterFile,
        parameters::{Parameter, Parameters},
    },
    archive::Archive,
    features::normalise,
};

/// The names of its tensors in a file, as PyTorch has a linear layer's.
const WEIGHT: &str = "head.weight";
const BIAS: &str = "head.bias";

/// `logits = f M^T + b`, in which the logit scale and the zero-shot classifier are part of `M`.
#[derive(Debug, Clone)]
pub(crate) struct LinearHead {
    classes: TextClassifier,
    weight: Tensor<2>, // [classes, dim]
    bias: Tensor<1>,   // [classes]
    device: Device,
}

impl LinearHead {
    /// Takes a weight `[classes, dim]`, row after row, and a bias a class.
    pub fn new(classes: &TextClassifier, weight: Vec<f32>, bias: Vec<f32>, device: &Device) -> Self {
        let rows = classes.class_names().len();
        Self {
            weight: Tensor::from_data(TensorData::new(weight, [rows, classes.dim()]), device),
            bias: Tensor::from_data(TensorData::new(bias, [rows]), device),
            classes: classes.clone(),
            device: device.clone(),
        }
    }

    /// Takes a weight `[classes, dim]` on a plain device, which is also the head's.
    pub fn without_bias(classes: &TextClassifier, weight: Tensor<2>) -> Result<Self> {
        let (device, rows) = (weight.device(), weight.dims()[0]);
        let weight = weight.try_into_vec_as::<f32>();
        let weight = weight.map_err(|error| Error::execution("reading what was trained", error))?;
        Ok(Self::new(classes, weight, vec![0.0; rows], &device))
    }

    pub fn classes(&self) -> &TextClassifier {
        &self.classes
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    /// `[batch, dim]` of any length to `[batch, classes]`.
    pub fn logits(&self, images: Tensor<2>) -> Tensor<2> {
        normalise(images).matmul(self.weight.clone().transpose()) + self.bias.clone().unsqueeze::<2>()
    }

    pub fn parameters(&self) -> Result<Parameters> {
        let (weight, bias) = (Parameter::of(&self.weight)?, Parameter::of(&self.bias)?);
        Ok(Parameters::from([(WEIGHT.to_owned(), weight), (BIAS.to_owned(), bias)]))
    }

    pub fn load<S, F>(file: &AdapterFile<S, F>, archive: &Archive, device: &Device) -> Result<Self> {
        file.expect_names(&[WEIGHT, BIAS], archive)?;
        let device = device.clone().without_autodiff();
        let (rows, dim) = (file.classes.class_names().len(), file.classes.dim());
        Ok(Self {
            weight: file.tensor(WEIGHT, [Some(rows), Some(dim)], archive, &device)?,
            bias: file.tensor(BIAS, [Some(rows)], archive, &device)?,
            classes: file.classes.clone(),
            device,
        })
    }
}
