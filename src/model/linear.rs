//! What methods have in common whose outcome is one linear layer.

use burn::tensor::{Device, Int, Tensor, TensorData};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::extend::places;
use super::{Classifier, Model, Open, Opening, Saved, Section, Settings};
use crate::archive::parameters::Parameter;
use crate::error::{Error, Result};
use crate::features::{TextClassifier, normalise};
use crate::fingerprint::Fingerprint;

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

    pub fn to_device(&self, device: &Device) -> Result<Self> {
        let device = device.clone().without_autodiff();
        let (weight, bias) = (Parameter::of(&self.weight)?, Parameter::of(&self.bias)?);
        Ok(Self::new(&self.classes, weight.values, bias.values, &device))
    }

    pub fn write(&self, into: &mut Section<'_, '_>) -> Result<()> {
        into.tensor(WEIGHT, &self.weight)?;
        into.tensor(BIAS, &self.bias)
    }

    pub fn open(saved: &Saved, opening: &Opening<'_>) -> Result<Self> {
        let (classes, device) = (saved.classes()?, opening.device());
        let (rows, dim) = (classes.class_names().len(), classes.dim());
        Ok(Self {
            weight: saved.tensor(WEIGHT, [Some(rows), Some(dim)], device)?,
            bias: saved.tensor(BIAS, [Some(rows)], device)?,
            classes: classes.clone(),
            device: device.clone(),
        })
    }
}

/// A linear classifier of unit features, `logits = f M^T + b`, that a method found, and what it found beside it.
///
/// # Examples
/// ```
/// use clip_adapter::{SsText, methods::FittedSsText, prelude::*};
///
/// let file = FeatureFile::synthetic(0)?;
/// let model: FittedSsText = SsText::default().fit(&file.support(4, 1)?, file.classifier(), &Device::flex())?;
/// assert_eq!(model.settings(), &SsText::default());
/// assert!(model.chosen().is_null()); // its settings say it all
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct FittedLinear<S, F = ()> {
    settings: S,
    pub(crate) found: F,
    head: LinearHead,
}

impl<S: Settings, F> FittedLinear<S, F> {
    /// Takes a weight `[classes, dim]`, row after row, and a bias a class. The logit scale is part of both.
    ///
    /// # Errors
    /// [`Error::Data`] if there are not as many numbers as classes ask for.
    pub fn new(
        settings: S,
        found: F,
        classes: &TextClassifier,
        weight: Vec<f32>,
        bias: Vec<f32>,
        device: &Device,
    ) -> Result<Self> {
        let rows = classes.class_names().len();
        for (what, expected, found) in
            [("weights", rows * classes.dim(), weight.len()), ("biases", rows, bias.len())]
        {
            if expected != found {
                return Err(Error::data(format!("{what} of a linear classifier"), expected, found));
            }
        }
        Ok(Self::of(settings, found, LinearHead::new(classes, weight, bias, device)))
    }

    pub(crate) fn of(settings: S, found: F, head: LinearHead) -> Self {
        Self { settings, found, head }
    }

    pub(crate) fn into_head(self) -> LinearHead {
        self.head
    }

    /// The settings it was fitted with.
    pub fn settings(&self) -> &S {
        &self.settings
    }
}

impl<S: Settings, F> Model for FittedLinear<S, F>
where
    F: Serialize + std::fmt::Debug + Send + Sync,
{
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

impl<S: Settings, F> Classifier for FittedLinear<S, F>
where
    F: Serialize + Clone + std::fmt::Debug + Send + Sync + 'static,
{
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
        if !S::BY_TEXT {
            return Err(super::knows_images_only(S::NAME));
        }
        Ok(Box::new(Self { head: self.head.with_classes(classes)?, ..self.clone() }))
    }
}

impl<S: Settings, F> Open for FittedLinear<S, F>
where
    F: Serialize + DeserializeOwned + Clone + std::fmt::Debug + Send + Sync + 'static,
{
    const KIND: &'static str = S::NAME;

    fn open(saved: &Saved, opening: &Opening<'_>) -> Result<Self> {
        let head = LinearHead::open(saved, opening)?;
        Ok(Self::of(saved.json("settings")?, saved.json("found")?, head))
    }
}
