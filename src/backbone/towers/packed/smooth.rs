//! Where a norm gives a few channels numbers far above the others, eight bits for a row are too few for the others. So
//! scale goes from the channels of the norm to the rows of the weights after it, which changes no product (Xiao et al.,
//! 2022, SmoothQuant, <https://arxiv.org/abs/2211.10438>, equation 4 with alpha 0.5).

use super::block::Norm;
use crate::numerics::vector::widest;

/// The largest amount that a norm gives each channel of these rows.
pub(super) fn spans(norm: &Norm, x: &[f32]) -> Vec<f32> {
    let width = norm.gain.len();
    let (mut spans, mut y) = (vec![0.0f32; width], vec![0.0; width]);
    for x in x.chunks_exact(width) {
        widest(
            #[inline(always)]
            || norm.apply(x, &mut y),
        );
        spans.iter_mut().zip(&y).for_each(|(span, y)| *span = span.max(y.abs()));
    }
    spans
}

/// Divides channel `j` of a norm by `sqrt(span_j / most_j)` and multiplies row `j` of the weights with it, of which
/// `most_j` is the largest amount.
///
/// # Shapes
/// - `weights`: `[width, outputs]`
pub(super) fn smooth(norm: &mut Norm, weights: &mut [f32], spans: &[f32]) {
    let outputs = weights.len() / spans.len();
    let channels = norm.gain.iter_mut().zip(&mut norm.shift).zip(spans);
    for (row, ((gain, shift), span)) in weights.chunks_exact_mut(outputs).zip(channels) {
        let most = row.iter().fold(0.0f32, |most, weight| most.max(weight.abs()));
        let scale = (span / most).sqrt();
        if scale.is_normal() {
            *gain /= scale;
            *shift /= scale;
            row.iter_mut().for_each(|weight| *weight *= scale);
        }
    }
}
