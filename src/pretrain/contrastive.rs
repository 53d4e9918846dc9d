use burn::tensor::{Tensor, TensorData, activation::log_softmax};
use serde::{Deserialize, Serialize};

use crate::backbone::TrainableClip;
use crate::error::{Error, Result, not_negative};
use crate::input::Tokenized;
use crate::train::scalar;

/// What CLIP is pre-trained with: pictures are told from captions, captions from pictures, and views from views.
///
/// `loss = (forth + back) / 2 + views_weight views`. Of the logits `l`, pictures by captions, `forth` is the mean over
/// pictures of `-sum_j q_j log softmax(l)_j`, in which `q` is spread evenly over the captions that are true of the
/// picture; `back` is the same of captions (Radford et al., 2021, figure 3, <https://arxiv.org/abs/2103.00020>; with
/// any number of positives, Yang et al., 2022, <https://arxiv.org/abs/2204.03610>). `views` is the same, both ways, of
/// the first views of all pictures by the second ones, where only the same picture is true (Mu et al., 2021,
/// <https://arxiv.org/abs/2112.12750>), and the mean over all pairs of views; 0 where a picture has one view.
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `views_weight` | 0.5 | 0 or more | weight of the loss that draws the views of a picture together |
///
/// # Examples
/// ```
/// use clip_adapter::backbone::{BackboneConfig, TextConfig, TowerActivation, TrainableClip, VisionConfig, VisionKind};
/// use clip_adapter::input::{Preprocess, Tokenized};
/// use clip_adapter::prelude::*;
/// use clip_adapter::pretrain::{Contrastive, ContrastiveBatch, Lanes};
///
/// # let activation = TowerActivation::QuickGelu;
/// # let kind = VisionKind::Vit { patch_size: 8, layers: 1, mlp: 64, epsilon: 1e-5, activation };
/// # let config = BackboneConfig {
/// #     vision: VisionConfig { image_size: 16, width: 32, heads: 2, kind },
/// #     text: TextConfig {
/// #         context: 8, vocabulary: 50, width: 32, heads: 2, layers: 1, mlp: 64, epsilon: 1e-5, activation,
/// #         end: Some(49),
/// #     },
/// #     embed_dim: 16,
/// # };
/// # let preprocess = Preprocess { resize: 16, crop: 16, ..Default::default() };
/// let device = Device::flex();
/// let clip = TrainableClip::random(&config, &preprocess, 7, &device.clone().autodiff())?;
///
/// // Two pictures with a caption each, seen twice; all four views are the same grey.
/// let ids = vec![vec![48, 1, 49, 49, 49, 49, 49, 49], vec![48, 2, 49, 49, 49, 49, 49, 49]];
/// let captions = Tokenized { ids, ends: vec![2, 2] };
/// let batch = ContrastiveBatch::paired(vec![0.5; 4 * 3 * 16 * 16], captions, 2)?;
///
/// let (losses, gradients) = Contrastive::default().gradients(&clip, &batch, &Lanes::new(&device)?)?;
/// let [_, texts, views] = losses.numbers()?;
/// approx::assert_abs_diff_eq!(texts, 4.0_f64.ln(), epsilon = 1e-4); // one view is as good as another
/// approx::assert_abs_diff_eq!(views, 2.0_f64.ln(), epsilon = 1e-4); // and so is one picture
/// assert_eq!(gradients.len(), 38); // one for each tensor of the checkpoint
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Contrastive {
    /// Weight of the loss that draws the views of a picture together.
    pub views_weight: f64,
}

impl Default for Contrastive {
    fn default() -> Self {
        Self { views_weight: 0.5 }
    }
}

impl Contrastive {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first one outside.
    pub fn validate(&self) -> Result<()> {
        not_negative("views_weight", self.views_weight)
    }

    /// The losses of a batch whose embeddings are there already. To train,
    /// [`gradients`](Self::gradients) makes the embeddings and carries the loss back through them.
    ///
    /// # Shapes
    /// - `images`: `[images, embed_dim]`, not normalised, in the batch's order
    /// - `texts`: `[captions, embed_dim]`, not normalised
    ///
    /// # Panics
    /// If there are not as many of each as the batch has.
    pub fn losses(
        &self,
        clip: &TrainableClip,
        images: Tensor<2>,
        texts: Tensor<2>,
        batch: &ContrastiveBatch,
    ) -> ContrastiveLosses {
        let shape = [batch.images(), batch.captions.ids.len()];
        let truth = TensorData::new(batch.truth.clone(), shape);
        let truth = Tensor::<2>::from_data(truth, &images.device());
        let logits = clip.logits(images.clone(), texts);
        let views = between_views(clip, images, batch.views);
        let forth = cross_entropy(logits.clone(), truth.clone());
        let back = cross_entropy(logits.transpose(), truth.transpose());
        let total =
            (forth.clone() + back.clone()).mul_scalar(0.5) + views.clone().mul_scalar(self.views_weight);
        ContrastiveLosses { images: forth, texts: back, views, total }
    }
}

/// The mean loss of telling the pictures of one view from those of another, both ways.
fn between_views(clip: &TrainableClip, images: Tensor<2>, views: usize) -> Tensor<1> {
    let device = images.device();
    let pictures = images.dims()[0] / views;
    let view = |view: usize| images.clone().narrow(0, view * pictures, pictures);
    let same = Tensor::<2>::eye(pictures, &device);
    let pairs = (0..views).flat_map(|first| (first + 1..views).map(move |second| (first, second)));
    let mut sum: Option<Tensor<1>> = None;
    for (first, second) in pairs {
        let logits = clip.logits(view(first), view(second));
        let forth = cross_entropy(logits.clone(), same.clone());
        let both = forth + cross_entropy(logits.transpose(), same.clone());
        sum = Some(match sum {
            Some(sum) => sum + both,
            None => both,
        });
    }
    match sum {
        Some(sum) => sum.mul_scalar(0.5 / (views * (views - 1) / 2) as f64),
        None => Tensor::zeros([1], &device),
    }
}

/// InfoNCE with any number of positives a row: the mean over rows of `-sum_j q_j log softmax(l)_j`, where `q` is
/// evenly spread over the row's positives.
fn cross_entropy(logits: Tensor<2>, positives: Tensor<2>) -> Tensor<1> {
    let targets = positives.clone() / positives.sum_dim(1);
    (log_softmax(logits, 1) * targets).sum_dim(1).mean().neg()
}

/// The losses of a batch, each `[1]`, in nats.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ContrastiveLosses {
    /// Of finding the captions of a picture.
    pub images: Tensor<1>,
    /// Of finding the pictures of a caption.
    pub texts: Tensor<1>,
    /// Of finding the picture of one view among those of another.
    pub views: Tensor<1>,
    /// What is minimised.
    pub total: Tensor<1>,
}

impl ContrastiveLosses {
    /// `images`, `texts` and `views` on the host.
    ///
    /// # Errors
    /// [`Error::Execution`] if they cannot be read from the device.
    pub fn numbers(&self) -> Result<[f64; 3]> {
        let number = |loss: &Tensor<1>| scalar(loss.clone(), "training");
        Ok([number(&self.images)?, number(&self.texts)?, number(&self.views)?])
    }

    /// The same without their graph.
    pub(super) fn inner(self) -> Self {
        Self {
            images: self.images.inner(),
            texts: self.texts.inner(),
            views: self.views.inner(),
            total: self.total.inner(),
        }
    }
}

/// Some pictures, each in one view or several, some captions, and which caption is true of which picture.
#[derive(Debug, Clone, PartialEq)]
pub struct ContrastiveBatch {
    pixels: Vec<f32>,
    captions: Tokenized,
    truth: Vec<f32>,
    views: usize,
}

impl ContrastiveBatch {
    /// Takes the first views of all pictures, then the second views in the same order, and so on.
    ///
    /// # Shapes
    /// - `pixels`: `[images, 3, side, side]`, preprocessed, in which `images` is `views` times the pictures
    /// - `truth`: `[images, captions]`, 1 where the caption is true of the image, else 0
    ///
    /// # Errors
    /// [`Error::Data`] if these do not fit together, or if an image or a caption has nothing that is true of it.
    ///
    /// # Examples
    /// A caption that says no more than the kind is true of both pictures:
    /// ```
    /// use clip_adapter::{input::Tokenized, pretrain::ContrastiveBatch};
    ///
    /// let captions = || Tokenized { ids: vec![vec![48, 1, 49], vec![48, 2, 49]], ends: vec![2, 2] };
    /// let batch = ContrastiveBatch::new(vec![0.0; 2 * 3 * 4 * 4], captions(), vec![1.0, 1.0, 0.0, 1.0], 1)?;
    /// assert_eq!(batch.images(), 2);
    /// let of_nothing = ContrastiveBatch::new(vec![0.0; 2 * 3 * 4 * 4], captions(), vec![1.0, 0.0, 1.0, 0.0], 1);
    /// assert_eq!(of_nothing.unwrap_err().to_string(), "caption 1: expected a picture that it is true of, found none");
    /// # Ok::<(), clip_adapter::Error>(())
    /// ```
    pub fn new(pixels: Vec<f32>, captions: Tokenized, truth: Vec<f32>, views: usize) -> Result<Self> {
        let (texts, ends) = (captions.ids.len(), captions.ends.len());
        if texts == 0 || ends != texts {
            let expected = "one or more, with the place of an end each";
            return Err(Error::data("captions", expected, format!("{texts} with {ends} places")));
        }
        let images = truth.len() / texts;
        if images == 0 || truth.len() != images * texts || !images.is_multiple_of(views) {
            let expected = format!("rows of {texts}, and {views} for each picture");
            return Err(Error::data("truth of a batch", expected, format!("{} numbers", truth.len())));
        }
        if !truth.iter().all(|value| value.is_finite() && *value >= 0.0) {
            return Err(Error::data("truth of a batch", "0 or 1", "another number"));
        }
        if let Some(image) = truth.chunks_exact(texts).position(|row| row.iter().all(|&value| value == 0.0)) {
            return Err(Error::data(format!("image {image}"), "a caption that is true of it", "none"));
        }
        let has_none = |&text: &usize| truth.iter().skip(text).step_by(texts).all(|&value| value == 0.0);
        if let Some(text) = (0..texts).find(has_none) {
            return Err(Error::data(format!("caption {text}"), "a picture that it is true of", "none"));
        }
        if pixels.is_empty() || !pixels.len().is_multiple_of(images) {
            let expected = format!("as many of each of {images} images");
            return Err(Error::data("pixels of a batch", expected, pixels.len()));
        }
        Ok(Self { pixels, captions, truth, views })
    }

    /// One caption a picture, which is true of no other.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn paired(pixels: Vec<f32>, captions: Tokenized, views: usize) -> Result<Self> {
        let pictures = captions.ids.len();
        let is_true = |at: usize| at / pictures % pictures == at % pictures;
        let truth = (0..views * pictures * pictures).map(|at| if is_true(at) { 1.0 } else { 0.0 }).collect();
        Self::new(pixels, captions, truth, views)
    }

    /// The number of images: every view of every picture.
    pub fn images(&self) -> usize {
        self.truth.len() / self.captions.ids.len()
    }

    /// The captions.
    pub fn captions(&self) -> &Tokenized {
        &self.captions
    }

    /// Every image after the other, each of as many numbers.
    pub(super) fn pixels(&self) -> &[f32] {
        &self.pixels
    }

    /// Checks that the images are squares of this side.
    pub(super) fn check_side(&self, side: usize) -> Result<()> {
        let (expected, found) = (3 * side * side, self.pixels.len() / self.images());
        if expected == found {
            return Ok(());
        }
        Err(Error::data("pixels of an image", format!("{expected}, of side {side}"), found))
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::super::lanes::tests::{batch, clip};
    use super::*;

    #[test]
    fn targets_are_spread_over_the_positives() {
        let device = Device::flex();
        let logits = Tensor::<2>::from_data([[1.0_f32, 2.0, 5.0], [4.0, 4.0, 8.0]], &device).log();
        let positives = Tensor::<2>::from_data([[0.0_f32, 1.0, 1.0], [1.0, 0.0, 0.0]], &device);
        let loss = cross_entropy(logits, positives).into_scalar::<f32>();
        let rows = [0.5 * (4.0_f32.ln() + 1.6_f32.ln()), 4.0_f32.ln()];
        approx::assert_abs_diff_eq!(loss, 0.5 * (rows[0] + rows[1]), epsilon = 1e-6);
    }

    #[test]
    fn what_is_orthogonal_is_told_apart_by_chance() {
        let device = Device::flex();
        let clip = clip(&device);
        let unit = |rows: std::ops::Range<usize>| Tensor::<2>::eye(16, &device).slice([rows]);
        let losses = Contrastive { views_weight: 2.0 }.losses(&clip, unit(0..10), unit(10..15), &batch());
        let [images, texts, views] = losses.numbers().unwrap();
        for (loss, among) in [(images, 5.0_f64), (texts, 10.0), (views, 5.0)] {
            approx::assert_abs_diff_eq!(loss, among.ln(), epsilon = 1e-5);
        }
        let total = 0.5 * (5.0_f64.ln() + 10.0_f64.ln()) + 2.0 * 5.0_f64.ln();
        approx::assert_abs_diff_eq!(scalar(losses.total, "testing").unwrap(), total, epsilon = 1e-5);
    }

    #[test]
    fn a_batch_that_does_not_fit_together_is_refused() {
        let captions = |count: usize| Tokenized { ids: vec![vec![48, 49]; count], ends: vec![1; count] };
        let refused = |pixels: usize, texts: usize, truth: &[f32], views: usize, sentence: &str| {
            let batch = ContrastiveBatch::new(vec![0.0; pixels], captions(texts), truth.to_vec(), views);
            let message = batch.unwrap_err().to_string();
            assert!(message.contains(sentence), "{message}");
        };
        refused(24, 0, &[1.0], 1, "captions");
        refused(24, 2, &[1.0, 1.0, 1.0], 1, "truth of a batch");
        refused(24, 2, &[1.0, 1.0], 2, "truth of a batch");
        refused(24, 2, &[1.0, 1.0], 0, "truth of a batch");
        refused(24, 2, &[1.0, f32::NAN], 1, "truth of a batch");
        refused(24, 2, &[1.0, 1.0, 0.0, 0.0], 1, "image 1");
        refused(24, 2, &[1.0, 0.0, 1.0, 0.0], 1, "caption 1");
        refused(25, 2, &[1.0, 0.0, 0.0, 1.0], 1, "pixels of a batch");
        let paired = ContrastiveBatch::paired(vec![0.0; 48], captions(2), 2).unwrap();
        assert_eq!(paired.truth, [1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0]);
        assert!(paired.check_side(2).is_ok() && paired.check_side(4).is_err());
    }
}
