//! What GDA, SS-Text and the trained probes come down to: one linear layer on unit features.

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::{
    Error, Result, TextClassifier,
    adapter::{
        AdapterFile,
        parameters::{Parameter, Parameters},
    },
    archive::Archive,
    features::normalise,
    methods::extension::places,
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

    /// The same head for a longer list of classes, of which the new ones are known by their text alone: their
    /// logits are the zero-shot ones.
    pub fn with_classes(&self, classes: &TextClassifier) -> Result<Self> {
        let places = places(&self.classes, classes)?;
        let behind = self.classes.class_names().len();
        let row = |(class, place): (usize, &Option<usize>)| place.unwrap_or(behind + class) as i64;
        let rows: Vec<i64> = places.iter().enumerate().map(row).collect();
        let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [places.len()]), &self.device);
        let text = normalise(classes.tensor(&self.device)).mul_scalar(classes.logit_scale());
        let no_bias = Tensor::zeros([places.len()], &self.device);
        Ok(Self {
            weight: Tensor::cat(vec![self.weight.clone(), text], 0).select(0, rows.clone()),
            bias: Tensor::cat(vec![self.bias.clone(), no_bias], 0).select(0, rows),
            classes: classes.clone(),
            device: self.device.clone(),
        })
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
