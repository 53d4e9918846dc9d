use burn::tensor::Tensor;

/// Scales every row to unit length: `x / ||x||`.
///
/// A zero row stays zero: the norm is bounded from below by 1e-12, as in PyTorch's `F.normalize`.
///
/// # Shapes
/// - `x`: `[rows, dim]`
/// - returns: `[rows, dim]`
///
/// # Examples
/// ```
/// use burn::tensor::{Device, Tensor};
/// use clip_adapter::features::normalise;
///
/// let x = Tensor::<2>::from_data([[3.0, 4.0], [0.0, 0.0]], &Device::flex());
/// assert_eq!(normalise(x).try_to_vec_as::<f32>().unwrap(), [0.6, 0.8, 0.0, 0.0]);
/// ```
pub fn normalise(x: Tensor<2>) -> Tensor<2> {
    let norm = norms(x.clone());
    x / norm
}

/// The length of every row, at least 1e-12: `[rows, dim]` to `[rows, 1]`.
pub(crate) fn norms(x: Tensor<2>) -> Tensor<2> {
    (x.clone() * x).sum_dim(1).sqrt().clamp_min(1e-12)
}

/// The slope in `x` of what has this slope in `unit = x / norm`: normalising removes what points along `unit`.
/// `[rows, dim]` twice and `[rows, 1]` to `[rows, dim]`.
pub(crate) fn normalise_slope(slope: Tensor<2>, unit: Tensor<2>, norm: Tensor<2>) -> Tensor<2> {
    let radial = (slope.clone() * unit.clone()).sum_dim(1);
    (slope - unit * radial) / norm
}

/// CLIP's logits: the cosine of every image with every class, times the logit scale.
///
/// `logits = scale * f W^T` (Radford et al., 2021, figure 3, <https://arxiv.org/abs/2103.00020>).
/// Both inputs are taken as they are: [`normalise`] them first.
///
/// # Shapes
/// - `images`: `[batch, dim]`
/// - `classes`: `[classes, dim]`
/// - returns: `[batch, classes]`
///
/// # Panics
/// If the two widths differ.
///
/// # Examples
/// ```
/// use burn::tensor::{Device, Tensor};
/// use clip_adapter::features::contrastive_logits;
///
/// let device = Device::flex();
/// let images = Tensor::<2>::from_data([[0.5, 0.25]], &device);
/// let classes = Tensor::<2>::from_data([[1.0, 0.0], [0.0, 1.0]], &device);
/// let logits = contrastive_logits(images, classes, 100.0);
/// assert_eq!(logits.try_to_vec_as::<f32>().unwrap(), [50.0, 25.0]);
/// ```
pub fn contrastive_logits(images: Tensor<2>, classes: Tensor<2>, scale: f64) -> Tensor<2> {
    images.matmul(classes.transpose()).mul_scalar(scale)
}
