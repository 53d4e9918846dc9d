use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Tensor, TensorData};
use serde_json::Value;

use super::mixture::Mixture;
use super::trans_clip::SOFTNESS;
use super::{Balance, TransClip};
use crate::error::Result;
use crate::features::{TextClassifier, normalise};
use crate::fingerprint::Fingerprint;
use crate::model::{Classifier, Model, Open, Opening, Saved, Section};

/// The section of the model that it started from.
const INNER: &str = "inner";

/// What [`TransClip::fit`] found: a mixture, beside the model whose predictions it started from.
#[derive(Debug)]
pub struct FittedTransClip {
    settings: TransClip,
    balance: Option<Balance>,
    inner: Box<dyn Classifier>,
    weight: Tensor<2>, // [classes, dim]
    bias: Tensor<2>,   // [1, classes]
}

impl FittedTransClip {
    pub(super) fn new(
        settings: TransClip,
        inner: Box<dyn Classifier>,
        mixture: &Mixture,
        balance: Balance,
    ) -> Result<Self> {
        let device = inner.device().clone();
        let (weight, offsets) = mixture.linear();
        let (classes, dim) = (weight.nrows(), weight.ncols());
        let soft = |value: f64| (value / SOFTNESS) as f32;
        let values = (0..classes).flat_map(|class| (0..dim).map(move |column| (class, column)));
        let values = values.map(|(class, column)| soft(weight[(class, column)])).collect();
        let weight = Tensor::from_data(TensorData::new::<f32, _>(values, [classes, dim]), &device);
        let offsets: Vec<f32> = offsets.into_iter().map(|offset| -soft(offset)).collect();
        let bias = Tensor::from_data(TensorData::new(offsets, [1, classes]), &device);
        Ok(Self { settings, balance: Some(balance), inner, weight, bias })
    }

    /// The balance of the images it was fitted to, by the model it started from; none of a file of an earlier version.
    pub fn balance(&self) -> Option<Balance> {
        self.balance
    }

    /// The settings it was fitted with.
    pub fn settings(&self) -> &TransClip {
        &self.settings
    }

    /// The model whose predictions it started from.
    pub fn inner(&self) -> &dyn Classifier {
        &*self.inner
    }
}

impl Model for FittedTransClip {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn fingerprint(&self) -> Fingerprint {
        self.inner.fingerprint()
    }

    fn device(&self) -> &Device {
        self.inner.device()
    }

    fn chosen(&self) -> Value {
        self.inner.chosen()
    }

    fn write(&self, into: &mut Section<'_, '_>) -> Result<()> {
        into.classes(self.classes());
        into.settings(&self.settings, &self.balance);
        into.tensor("mixture.weight", &self.weight)?;
        into.tensor("mixture.bias", &self.bias)?;
        into.model(INNER, &*self.inner)
    }
}

impl Classifier for FittedTransClip {
    fn classes(&self) -> &TextClassifier {
        self.inner.classes()
    }

    fn dim(&self) -> usize {
        self.inner.dim()
    }

    fn logits(&self, images: Tensor<2>) -> Tensor<2> {
        let likelihood =
            normalise(images.clone()).matmul(self.weight.clone().transpose()) + self.bias.clone();
        log_softmax(self.inner.logits(images), 1).mul_scalar(self.settings.lambda) + likelihood
    }

    fn to_device(&self, device: &Device) -> Result<Box<dyn Classifier>> {
        let inner = self.inner.to_device(device)?;
        let [weight, bias] = [&self.weight, &self.bias].map(|part| part.clone().to_device(inner.device()));
        Ok(Box::new(Self { settings: self.settings, balance: self.balance, inner, weight, bias }))
    }
}

impl Open for FittedTransClip {
    const KIND: &'static str = "trans-clip";

    fn open(saved: &Saved, opening: &Opening<'_>) -> Result<Self> {
        let settings: TransClip = saved.json("settings")?;
        settings.validate().map_err(|error| saved.locate("settings", error))?;
        let inner = opening.open(&saved.section(INNER)?)?;
        let classes = inner.classes().class_names().len();
        let weight = saved.tensor("mixture.weight", [Some(classes), Some(inner.dim())], opening.device())?;
        let bias = saved.tensor("mixture.bias", [Some(1), Some(classes)], opening.device())?;
        Ok(Self { settings, balance: saved.json("found")?, inner, weight, bias })
    }
}
