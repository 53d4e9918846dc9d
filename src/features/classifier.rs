use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use faer::Mat;

use super::set::check_class_names;
use super::{Embeddings, contrastive_logits, normalise};
use crate::error::{Error, Result};
use crate::fingerprint::Fingerprint;

/// CLIP's zero-shot classifier: one unit vector a class, made of text.
///
/// `W_c = normalise(mean_p normalise(t_pc))`: the prompts' embeddings are normalised, averaged and
/// normalised again (Radford et al., 2021, section 3.1.4, <https://arxiv.org/abs/2103.00020>).
///
/// # Examples
/// ```
/// use clip_adapter::TextClassifier;
///
/// // two prompts, one class, two dimensions
/// let prompts = vec![3.0, 0.0, 0.0, 5.0];
/// let classifier = TextClassifier::new(prompts, 2, ["cat"], ["a {}.", "the {}."], 100.0, "CLIP ViT-B/32")?;
/// approx::assert_abs_diff_eq!(classifier.weights().row(0), &[0.5f32.sqrt(); 2][..], epsilon = 1e-6);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct TextClassifier {
    prompts: Option<Embeddings>,
    weights: Embeddings,
    class_names: Arc<[String]>,
    templates: Vec<String>,
    logit_scale: f64,
    backbone: String,
}

impl TextClassifier {
    /// Averages prompt embeddings into class weights.
    ///
    /// | Name | Range | Meaning |
    /// | --- | --- | --- |
    /// | `prompts` | finite | text embeddings `[prompts, classes, dim]`, row-major, of any length |
    /// | `dim` | 1 or more | width of an embedding |
    /// | `class_names` | unique | one name a class |
    /// | `templates` | 1 or more | the prompts, with `{}` where the class name goes |
    /// | `logit_scale` | above 0, at most 1000 | what cosines are multiplied with; about 100 in CLIP |
    /// | `backbone` | any | names the weights and preprocessing that made the embeddings |
    ///
    /// # Errors
    /// [`Error::Data`] if the numbers of prompts, classes and values disagree, a value is not finite, a row is
    /// zero, or the prompts of a class cancel out; [`Error::Setting`] if the scale is out of range, or is 4.605, the logarithm
    /// of 100 that checkpoints hold.
    pub fn new<N: Into<String>, T: Into<String>>(
        prompts: Vec<f32>,
        dim: usize,
        class_names: impl IntoIterator<Item = N>,
        templates: impl IntoIterator<Item = T>,
        logit_scale: f64,
        backbone: impl Into<String>,
    ) -> Result<Self> {
        let class_names: Arc<[String]> = class_names.into_iter().map(Into::into).collect();
        let templates: Vec<String> = templates.into_iter().map(Into::into).collect();
        check_class_names(&class_names)?;
        let prompts = Embeddings::new(prompts, dim)?;
        let classes = class_names.len();
        if prompts.rows() == 0 || prompts.rows() != templates.len() * classes {
            return Err(Error::data(
                "text embeddings",
                format!("{} prompts x {classes} classes", templates.len()),
                format!("{} rows", prompts.rows()),
            ));
        }
        check_scale(logit_scale)?;
        let prompts = prompts.normalised();
        let mut means = vec![0.0; classes * dim];
        for (row, class) in (0..prompts.rows()).zip((0..classes).cycle()) {
            for (mean, value) in means[class * dim..][..dim].iter_mut().zip(prompts.row(row)) {
                *mean += value / templates.len() as f32;
            }
        }
        let weights = Embeddings::new(means, dim)?.normalised();
        Ok(Self {
            prompts: Some(prompts),
            weights,
            class_names,
            templates,
            logit_scale,
            backbone: backbone.into(),
        })
    }

    /// The class weights `W`, unit rows `[classes, dim]`.
    pub fn weights(&self) -> &Embeddings {
        &self.weights
    }

    /// The normalised embeddings of every prompt, `[prompts * classes, dim]`, class by class within a prompt.
    /// None in a classifier that came out of an adapter file, which keeps their mean only.
    pub fn prompts(&self) -> Option<&Embeddings> {
        self.prompts.as_ref()
    }

    /// The prompts' templates, with `{}` where the class name goes.
    pub fn templates(&self) -> &[String] {
        &self.templates
    }

    /// The classes' names, in label order.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// What cosines are multiplied with to give logits.
    pub fn logit_scale(&self) -> f64 {
        self.logit_scale
    }

    /// The width of an embedding.
    pub fn dim(&self) -> usize {
        self.weights.dim()
    }

    /// Names the weights and preprocessing that made the embeddings.
    pub fn backbone(&self) -> &str {
        &self.backbone
    }

    /// What a file fitted on this classifier records of it.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::new(&self.backbone, &self.templates, &self.class_names)
    }

    /// Puts back together what an adapter file keeps: the weights instead of the prompts they were made of.
    pub(crate) fn from_weights(
        weights: Embeddings,
        class_names: Vec<String>,
        templates: Vec<String>,
        logit_scale: f64,
        backbone: String,
    ) -> Result<Self> {
        check_class_names(&class_names)?;
        if weights.rows() != class_names.len() {
            return Err(Error::data("class weights", format!("{} rows", class_names.len()), weights.rows()));
        }
        check_scale(logit_scale)?;
        Ok(Self { prompts: None, weights, class_names: class_names.into(), templates, logit_scale, backbone })
    }

    pub(crate) fn shared_names(&self) -> Arc<[String]> {
        self.class_names.clone()
    }

    /// Zero-shot logits `s f W^T` on the device of `images`.
    ///
    /// # Shapes
    /// - `images`: `[batch, dim]`, of any length
    /// - returns: `[batch, classes]`
    ///
    /// # Panics
    /// If the width of `images` is not [`dim`](Self::dim).
    pub fn logits(&self, images: Tensor<2>) -> Tensor<2> {
        let weights = self.tensor(&images.device());
        contrastive_logits(normalise(images), weights, self.logit_scale)
    }

    /// Zero-shot logits of every image on the host, in f64: `[images, classes]`.
    pub(crate) fn logits_on_host(&self, images: &Embeddings) -> Mat<f64> {
        images.unit_rows() * self.weights.unit_rows().transpose() * self.logit_scale
    }

    /// The class weights as a tensor `[classes, dim]` on `device`.
    pub fn tensor(&self, device: &Device) -> Tensor<2> {
        self.weights.tensor(device)
    }
}

/// No public CLIP multiplies cosines with more: training holds it at 100.
const MAX_SCALE: f64 = 1000.0;

/// That a number can be what cosines are multiplied with.
pub(crate) fn check_scale(logit_scale: f64) -> Result<()> {
    let expected = format!("a number above 0 and at most {MAX_SCALE}, about 100 in CLIP");
    // What checkpoints hold is the logarithm, and it is easily handed on as it is.
    if (logit_scale - 100f64.ln()).abs() < 1e-3 {
        let found = format!("{logit_scale}, which is the logarithm of 100");
        return Err(Error::setting("logit_scale", expected, found));
    }
    match logit_scale > 0.0 && logit_scale <= MAX_SCALE {
        true => Ok(()),
        false => Err(Error::setting("logit_scale", expected, logit_scale)),
    }
}
