use burn::tensor::{Tensor, activation};

use crate::error::{Error, Result, positive};
use crate::features::{Embeddings, normalise};
use crate::model::Classifier;

/// The score of each image, and how it changes with what was given.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Slopes<const D: usize> {
    /// `log softmax_c` of the class asked for: `[images]`.
    pub scores: Vec<f32>,
    /// The gradient of each score with respect to its own image, of the shape that was given, on a plain device.
    pub values: Tensor<D>,
}

/// The exact gradient of the adapted score `log softmax_c` with respect to image embeddings: what a generator is guided by
/// that takes the embedding of an image.
///
/// Through normalising, the adapter's layers, the blend and the softmax, by automatic differentiation of
/// [`Classifier::logits`], whatever the classifier is: for CLIP-Adapter `g_z = s (w - q (q w)) / |z|` and
/// `g_f = (1 - r) g_z + r W1^T (1[h > 0] o W2^T (1[o > 0] o g_z))`, with `w = w_c - sum_k p_k w_k`.
///
/// # Shapes
/// - `images`: `[images, dim]` on the classifier's device, of any length
///
/// # Errors
/// [`Error::Dim`] or [`Error::Data`] if the width or the class is none of the classifier's; [`Error::Execution`] if the
/// device fails.
///
/// # Examples
/// ```
/// use clip_adapter::{methods::Ratio, prelude::*, tasks::generation::slopes};
///
/// let (file, device) = (FeatureFile::synthetic(0)?, Device::flex());
/// let model = ClipAdapter { ratio: Ratio::Fixed(0.6), ..ClipAdapter::default() };
/// let model = model.fit(&file.support(2, 1)?, file.classifier(), &device)?;
/// let image = file.split("test")?.embeddings().select(&[0]).tensor(&device);
/// let now = slopes(&model, image.clone(), 3)?;
/// let then = slopes(&model, image + now.values.mul_scalar(0.01), 3)?;
/// assert!(then.scores[0] > now.scores[0]);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
pub fn slopes(classifier: &dyn Classifier, images: Tensor<2>, class: usize) -> Result<Slopes<2>> {
    let [_, found] = images.dims();
    if found != classifier.dim() {
        let what = "image embeddings to guide".to_owned();
        return Err(Error::Dim { what, expected: classifier.dim(), found });
    }
    of_input(classifier, images, class, |images| images)
}

/// The same with respect to pixels, through an image tower: `embed` makes embeddings `[images, dim]` of pixels
/// `[images, 3, side, side]`.
///
/// Take [`TrainableClip::image_embeddings`](crate::backbone::TrainableClip::image_embeddings) of a CLIP on a plain device:
/// its weights are then constants, and only the pixels are followed.
///
/// # Errors
/// As [`slopes`].
///
/// # Examples
/// ```
/// use clip_adapter::{ZeroShot, prelude::*};
/// use clip_adapter::{backbone::TrainableClip, tasks::generation::pixel_slopes};
///
/// let (folder, device) = ("examples/pocket/model", Device::flex());
/// let clip = ClipBackbone::from_pretrained(folder, &device)?;
/// let classes = clip.text_classifier(&["apple", "car"], &Prompts::default())?;
/// let picture = "examples/pocket/images/icon-colour/vehicles/car.png";
/// let one = FeatureSet::new(clip.encode_images(&[picture])?, vec![1], ["apple", "car"])?;
/// let model = ZeroShot::default().fit(&Support::new(one)?, &classes, &device)?;
///
/// let pixels = clip.preprocess().load(&[picture], &device)?;
/// let tower = TrainableClip::from_pretrained(folder, &device)?;
/// let slopes = pixel_slopes(&model, |pixels| tower.image_embeddings(pixels), pixels.clone(), 0)?;
/// assert_eq!(slopes.values.dims(), pixels.dims());
/// # Ok::<(), clip_adapter::Error>(())
/// ```
pub fn pixel_slopes(
    classifier: &dyn Classifier,
    embed: impl Fn(Tensor<4>) -> Tensor<2>,
    pixels: Tensor<4>,
    class: usize,
) -> Result<Slopes<4>> {
    of_input(classifier, pixels, class, embed)
}

fn of_input<const D: usize>(
    classifier: &dyn Classifier,
    input: Tensor<D>,
    class: usize,
    embed: impl Fn(Tensor<D>) -> Tensor<2>,
) -> Result<Slopes<D>> {
    let classes = classifier.classes().class_names().len();
    if class >= classes {
        return Err(Error::data("class to guide to", format!("one below {classes}"), class));
    }
    let tracked = input.autodiff().require_grad();
    let logits = classifier.logits(embed(tracked.clone()));
    let images = logits.dims()[0];
    let scores = activation::log_softmax(logits, 1).slice([0..images, class..class + 1]);
    // Each image has a score of its own, and so the slope of their sum is that of each.
    let gradients = scores.clone().sum().backward();
    let values = tracked.grad(&gradients).ok_or_else(|| {
        Error::unsupported(
            "guidance",
            "a classifier that can be differentiated",
            format!("`{}`", classifier.kind()),
        )
    })?;
    let scores = scores.inner().try_into_vec_as::<f32>();
    Ok(Slopes { scores: scores.map_err(|error| Error::execution("guiding", error))?, values })
}

/// Walks embeddings uphill: `f <- normalise(f + rate |f| g / |g|)`, `steps` times.
///
/// A rate of 0.05 turns an embedding by about three degrees a step.
///
/// # Errors
/// As [`slopes`]; [`Error::Setting`] if the rate is not above 0.
pub fn climb(
    classifier: &dyn Classifier,
    images: &Embeddings,
    class: usize,
    rate: f64,
    steps: usize,
) -> Result<Embeddings> {
    positive("rate", rate)?;
    let mut at = normalise(images.tensor(classifier.device()));
    for _ in 0..steps {
        let slope = slopes(classifier, at.clone(), class)?.values;
        at = normalise(at + normalise(slope).mul_scalar(rate));
    }
    let values = at.try_into_vec_as::<f32>().map_err(|error| Error::execution("guiding", error))?;
    Embeddings::new(values, images.dim())
}
