use burn::tensor::{Device, Tensor, TensorData};
use faer::{Mat, Side};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::domain::check_images;
use crate::error::{Error, Result};
use crate::features::{Embeddings, Support, TextClassifier, normalise};
use crate::fingerprint::Fingerprint;
use crate::model::{FeatureMap, FittedLinear, LinearHead, Model, Section, Settings};
use crate::numerics::row_major;

/// What a covariance keeps of itself; the rest is a multiple of the identity with the same trace.
const KEPT: f64 = 0.9;

/// Images of one domain made like those of another: `normalise((f - m_from) M + m_to)`. Texts stay as they are.
///
/// Two cheap ways to do without labels of the new domain, and baselines for
/// [`DomainAdapter`](super::DomainAdapter): [`mean_shift`](Self::mean_shift) moves images of the target,
/// [`coral`](Self::coral) recolours those of the source, before anything is fitted on them.
///
/// # Examples
/// ```
/// use clip_adapter::{FeatureFile, prelude::*, tasks::unlabelled::Alignment};
///
/// let (file, device) = (FeatureFile::synthetic(0)?, Device::flex());
/// let (source, target) = (file.support(4, 1)?, file.split("test")?.embeddings());
/// let like_target = Alignment::coral(file.classifier(), source.set().embeddings(), target, &device)?;
/// let recoloured = like_target.support(&source)?;
/// assert_eq!(recoloured.set().labels(), source.set().labels());
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Alignment {
    kind: &'static str,
    classes: TextClassifier,
    from: Tensor<2>,           // [1, dim]
    matrix: Option<Tensor<2>>, // [dim, dim]
    to: Tensor<2>,             // [1, dim]
    device: Device,
}

impl Alignment {
    /// Moves images of the target by the difference of the means, `normalise(f - m_T + m_S)`, so that what was fitted on the
    /// source can be asked of them.
    ///
    /// # Errors
    /// [`Error::Data`] if there is no image of one of them; [`Error::Dim`] if a width is another.
    pub fn mean_shift(
        classes: &TextClassifier,
        source: &Embeddings,
        target: &Embeddings,
        device: &Device,
    ) -> Result<Self> {
        check_images(source, classes)?;
        check_images(target, classes)?;
        let [source, target] = [source, target].map(|images| mean(&images.unit_rows()));
        Ok(Self::of("mean-shift", classes, &target, None, &source, device))
    }

    /// Recolours images of the source, `normalise((f - m_S) C_S^-1/2 C_T^1/2 + m_T)`, so that what is fitted on them can be
    /// asked of the target (Sun et al., 2016, section 3, <https://arxiv.org/abs/1511.05547>). Of each covariance a tenth is
    /// replaced by the identity times its mean variance.
    ///
    /// # Errors
    /// As [`mean_shift`](Self::mean_shift); [`Error::Execution`] if a covariance cannot be decomposed.
    pub fn coral(
        classes: &TextClassifier,
        source: &Embeddings,
        target: &Embeddings,
        device: &Device,
    ) -> Result<Self> {
        check_images(source, classes)?;
        check_images(target, classes)?;
        let [source, target] = [source, target].map(Embeddings::unit_rows);
        let (from, to) = (mean(&source), mean(&target));
        let whitened = power(&covariance(&source, &from), -0.5)?;
        let matrix = whitened * power(&covariance(&target, &to), 0.5)?;
        Ok(Self::of("coral", classes, &from, Some(&matrix), &to, device))
    }

    fn of(
        kind: &'static str,
        classes: &TextClassifier,
        from: &[f64],
        matrix: Option<&Mat<f64>>,
        to: &[f64],
        device: &Device,
    ) -> Self {
        let (device, dim) = (device.clone().without_autodiff(), from.len());
        let row = |values: &[f64]| {
            let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
            Tensor::from_data(TensorData::new(values, [1, dim]), &device)
        };
        let matrix =
            matrix.map(|matrix| Tensor::from_data(TensorData::new(row_major(matrix), [dim, dim]), &device));
        Self { kind, classes: classes.clone(), from: row(from), matrix, to: row(to), device }
    }

    /// Any number of images, aligned.
    ///
    /// # Errors
    /// [`Error::Dim`] if the width is another; [`Error::Execution`] if the device fails.
    pub fn embeddings(&self, images: &Embeddings) -> Result<Embeddings> {
        images.check_dim("features to align", self.classes.dim())?;
        let aligned = self.images(images.tensor(&self.device)).try_into_vec_as::<f32>();
        Embeddings::new(aligned.map_err(|error| Error::execution("aligning images", error))?, images.dim())
    }

    /// Labelled images, aligned; without those for validation.
    ///
    /// # Errors
    /// As [`embeddings`](Self::embeddings).
    pub fn support(&self, support: &Support) -> Result<Support> {
        let set = support.set();
        Support::new(set.with_embeddings(self.embeddings(set.embeddings())?)?)
    }
}

impl Model for Alignment {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn fingerprint(&self) -> Fingerprint {
        self.classes.fingerprint()
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn write(&self, into: &mut Section<'_, '_>) -> Result<()> {
        into.classes(&self.classes);
        into.settings(&json!({}), &());
        into.tensor("from", &self.from)?;
        into.tensor("to", &self.to)?;
        match &self.matrix {
            Some(matrix) => into.tensor("matrix", matrix),
            None => Ok(()),
        }
    }
}

impl FeatureMap for Alignment {
    fn images(&self, images: Tensor<2>) -> Tensor<2> {
        let centred = normalise(images) - self.from.clone();
        let coloured = match &self.matrix {
            Some(matrix) => centred.matmul(matrix.clone()),
            None => centred,
        };
        normalise(coloured + self.to.clone())
    }

    fn texts(&self, texts: Tensor<2>) -> Tensor<2> {
        normalise(texts)
    }
}

/// Distribution normalisation: zero-shot CLIP about half of the means,
/// `logits = s (f - mu_T / 2) . (w_c - mu_W / 2)` with the mean `mu_T` of the images and `mu_W` of the classes' texts.
///
/// After Zhou et al., 2023, <https://arxiv.org/abs/2302.11084>. It needs no label and no source.
///
/// # Examples
/// ```
/// use clip_adapter::{prelude::*, tasks::unlabelled::DistributionNormalisation};
///
/// let (file, device) = (FeatureFile::synthetic(0)?, Device::flex());
/// let images = file.split("train")?.embeddings();
/// let model = DistributionNormalisation::default().fit(images, file.classifier(), &device)?;
/// assert!(model.evaluate(&file.test_set("test")?)?.accuracy > 30.0);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistributionNormalisation {}

impl Settings for DistributionNormalisation {
    const NAME: &'static str = "distribution-normalisation";
}

/// What [`DistributionNormalisation`] makes of images: a linear classifier.
pub type FittedDistributionNormalisation = FittedLinear<DistributionNormalisation>;

impl DistributionNormalisation {
    /// Takes the means of these images.
    ///
    /// # Errors
    /// [`Error::Data`] if there is none; [`Error::Dim`] if the width is another.
    pub fn fit(
        &self,
        images: &Embeddings,
        classes: &TextClassifier,
        device: &Device,
    ) -> Result<FittedDistributionNormalisation> {
        check_images(images, classes)?;
        let (images, text) = (mean(&images.unit_rows()), classes.weights().unit_rows());
        let of_text = mean(&text);
        let scale = classes.logit_scale();
        let weight = Mat::from_fn(text.nrows(), text.ncols(), |class, column| {
            scale * (text[(class, column)] - of_text[column] / 2.0)
        });
        let bias = |class: usize| -> f64 {
            (0..images.len()).map(|column| -weight[(class, column)] * images[column] / 2.0).sum()
        };
        let bias = (0..weight.nrows()).map(|class| bias(class) as f32).collect();
        let head = LinearHead::new(classes, row_major(&weight), bias, &device.clone().without_autodiff());
        Ok(FittedLinear::of(self.clone(), (), head))
    }
}

fn mean(rows: &Mat<f64>) -> Vec<f64> {
    let mean = |column: usize| rows.col(column).iter().sum::<f64>() / rows.nrows() as f64;
    (0..rows.ncols()).map(mean).collect()
}

/// The covariance of some rows, of which a part is its mean variance in every direction.
fn covariance(rows: &Mat<f64>, mean: &[f64]) -> Mat<f64> {
    let centred = Mat::from_fn(rows.nrows(), rows.ncols(), |row, column| rows[(row, column)] - mean[column]);
    let mut covariance = centred.transpose() * &centred * (KEPT / (rows.nrows().max(2) - 1) as f64);
    let dim = mean.len();
    let variance = (0..dim).map(|column| covariance[(column, column)]).sum::<f64>() / KEPT / dim as f64;
    for column in 0..dim {
        covariance[(column, column)] += (1.0 - KEPT) * variance.max(LEAST_VARIANCE);
    }
    covariance
}

/// Below this there is no spread to recolour by.
const LEAST_VARIANCE: f64 = 1e-9;

/// A power of a symmetric positive definite matrix.
fn power(matrix: &Mat<f64>, exponent: f64) -> Result<Mat<f64>> {
    let eigen = matrix
        .self_adjoint_eigen(Side::Lower)
        .map_err(|error| Error::execution("decomposing a covariance", format!("{error:?}")))?;
    let (vectors, values) = (eigen.U(), eigen.S());
    let scaled = Mat::from_fn(matrix.nrows(), matrix.ncols(), |row, column| {
        vectors[(row, column)] * values[column].powf(exponent)
    });
    Ok(scaled * vectors.transpose())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images() -> Embeddings {
        let value = |at: usize| ((at * at * 13 + at * 5 + 2) % 17) as f32 - 6.0;
        Embeddings::new((0..120).map(value).collect(), 4).unwrap()
    }

    #[test]
    fn a_power_of_a_half_is_a_root() {
        let rows = images().unit_rows();
        let covariance = covariance(&rows, &mean(&rows));
        let root = power(&covariance, 0.5).unwrap();
        let (squared, inverse) = (&root * &root, power(&covariance, -0.5).unwrap() * &root);
        for (row, column) in (0..4).flat_map(|row| (0..4).map(move |column| (row, column))) {
            approx::assert_abs_diff_eq!(squared[(row, column)], covariance[(row, column)], epsilon = 1e-12);
            let identity = if row == column { 1.0 } else { 0.0 };
            approx::assert_abs_diff_eq!(inverse[(row, column)], identity, epsilon = 1e-9);
        }
    }
}
