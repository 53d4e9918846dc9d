//! Whether a text follows from a picture, contradicts it, or neither: three classes of rows made of both.

use crate::error::{Error, Result};
use crate::features::{Embeddings, FeatureSet, TextClassifier};
use crate::tasks::prototypes::prototypes;

/// The classes, in label order.
pub const LABELS: [&str; 3] = ["entailment", "neutral", "contradiction"];

/// `[v, h, v * h, |v - h|]` of unit premises and hypotheses, row by row: `[rows, 4 dim]`. Any method takes it.
///
/// A premise may be a picture's embedding or a text's. To train on pairs of texts and ask about pictures, take each
/// modality's mean from its rows first: [`centred`].
///
/// # Errors
/// [`Error::Dim`] if the widths differ, [`Error::Data`] if the numbers of rows do.
///
/// # Examples
/// ```
/// use clip_adapter::features::Embeddings;
/// use clip_adapter::tasks::questions::entailment;
///
/// let (premise, hypothesis) = (Embeddings::new(vec![3.0, 4.0], 2)?, Embeddings::new(vec![0.0, 2.0], 2)?);
/// let rows = entailment::rows(&premise, &hypothesis)?;
/// approx::assert_abs_diff_eq!(
///     rows.row(0),
///     &[0.6, 0.8, 0.0, 1.0, 0.0, 0.8, 0.6, 0.2][..],
///     epsilon = 1e-6
/// );
/// # Ok::<(), clip_adapter::Error>(())
/// ```
pub fn rows(premises: &Embeddings, hypotheses: &Embeddings) -> Result<Embeddings> {
    premises.check_dim("hypotheses", hypotheses.dim())?;
    if premises.rows() != hypotheses.rows() {
        let expected = format!("one for each of {} premises", premises.rows());
        return Err(Error::data("hypotheses", expected, hypotheses.rows()));
    }
    let (v, h) = (premises.normalised(), hypotheses.normalised());
    let mut values = Vec::with_capacity(4 * v.values().len());
    for row in 0..v.rows() {
        let (v, h) = (v.row(row), h.row(row));
        values.extend(v);
        values.extend(h);
        values.extend(v.iter().zip(h).map(|(v, h)| v * h));
        values.extend(v.iter().zip(h).map(|(v, h)| (v - h).abs()));
    }
    Embeddings::new(values, 4 * premises.dim())
}

/// Unit rows less their mean: what pictures and texts are once what all pictures share, and all texts, is taken away.
///
/// # Errors
/// [`Error::Data`] if all rows are alike.
pub fn centred(of: &Embeddings) -> Result<Embeddings> {
    let (unit, dim) = (of.normalised(), of.dim());
    let mut mean = vec![0.0f64; dim];
    for row in 0..unit.rows() {
        for (mean, value) in mean.iter_mut().zip(unit.row(row)) {
            *mean += f64::from(*value) / unit.rows() as f64;
        }
    }
    let less = |(at, value): (usize, &f32)| (f64::from(*value) - mean[at % dim]) as f32;
    Embeddings::new(unit.values().iter().enumerate().map(less).collect(), dim)
}

/// The classes of labelled [`rows`], which have no text of their own: each is the mean of its shots.
///
/// # Errors
/// [`Error::TooFewShots`] for a class without shots.
pub fn classes(shots: &FeatureSet, backbone: &str) -> Result<TextClassifier> {
    prototypes(shots, format!("{backbone} entailment"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_rows_share_is_taken_away() {
        let rows = Embeddings::new(vec![1.0, 0.0, 0.0, 2.0], 2).unwrap();
        let centred = centred(&rows).unwrap();
        approx::assert_abs_diff_eq!(centred.values(), &[0.5, -0.5, -0.5, 0.5][..], epsilon = 1e-6);
        let alike = Embeddings::new(vec![1.0, 0.0, 1.0, 0.0], 2).unwrap();
        assert!(matches!(super::centred(&alike), Err(Error::Data { .. })));
    }

    #[test]
    fn pairs_must_fit() {
        let one = Embeddings::new(vec![1.0, 0.0], 2).unwrap();
        let two = Embeddings::new(vec![1.0, 0.0, 0.0, 1.0], 2).unwrap();
        assert!(matches!(rows(&one, &two), Err(Error::Data { .. })));
        let wide = Embeddings::new(vec![1.0; 3], 3).unwrap();
        assert!(matches!(rows(&one, &wide), Err(Error::Dim { expected: 2, found: 3, .. })));
    }
}
