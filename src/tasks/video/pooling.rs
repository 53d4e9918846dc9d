use std::f64::consts::{PI, SQRT_2};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, positive};
use crate::features::{Embeddings, FeatureSet, FrameFile, FrameSet, TextClassifier};
use crate::tasks::prototypes::prototypes;

/// How the frames of a video become one row.
///
/// # Examples
/// Twelve shots of two motions and their reverse, of which the mean knows nothing:
/// ```
/// use clip_adapter::{methods::LinearProbe, features::FrameFile, prelude::*, tasks::video::Pooling};
///
/// let file = FrameFile::synthetic(0)?;
/// let (shots, test) = (file.split("train")?.shots(12, 1)?, file.split("test")?);
/// let accuracy = |pooling: Pooling| -> Result<f64> {
///     let support = Support::new(pooling.set(&shots)?)?;
///     let classes = pooling.classes(&file, support.set())?;
///     let model = LinearProbe::default().fit(&support, &classes, &Device::flex())?;
///     Ok(model.evaluate(&pooling.set(test)?.into_test_set())?.accuracy)
/// };
/// let (mean, dct) = (accuracy(Pooling::Mean)?, accuracy("dct".parse()?)?);
/// assert!(mean < 45.0 && dct > 75.0, "{mean} {dct}");
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Pooling {
    /// `unit(mean_t unit(f_t))`: CLIP4Clip's (Luo et al., 2022, section 3.3, <https://arxiv.org/abs/2104.08860>).
    /// Of the right width for the text classifier, and blind to order.
    #[default]
    Mean,
    /// The mean and the first waves over time.
    Dct(Dct),
}

/// A temporal basis: how strongly the first waves over time are in the frames, beside their mean.
///
/// The row is `[unit(p_0), w p_1, .., w p_order]` with `p_k = (sqrt(2) / T) sum_t f_t cos(pi k (t + 1/2) / T)` over the
/// `T` unit frames: the DCT-II. Backwards, a video has the same mean and even waves and the negative odd ones, to the
/// bit. It has no parameters and costs what the mean costs.
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `order` | 2 | 1..=16 | the last wave, of `order` half periods |
/// | `weight` | 10 | above 0 | of the waves against the mean, which is far longer |
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dct {
    /// The last wave.
    pub order: usize,
    /// Of the waves against the mean.
    pub weight: f64,
}

impl Default for Dct {
    fn default() -> Self {
        Self { order: 2, weight: 10.0 }
    }
}

impl Dct {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first one outside.
    pub fn validate(&self) -> Result<()> {
        if !(1..=16).contains(&self.order) {
            return Err(Error::setting("order", "1..=16", self.order));
        }
        positive("weight", self.weight)
    }
}

impl Pooling {
    fn order(&self) -> usize {
        match self {
            Self::Mean => 0,
            Self::Dct(dct) => dct.order,
        }
    }

    fn weight(&self) -> f64 {
        match self {
            Self::Mean => 1.0,
            Self::Dct(dct) => dct.weight,
        }
    }

    fn validate(&self) -> Result<()> {
        match self {
            Self::Mean => Ok(()),
            Self::Dct(dct) => dct.validate(),
        }
    }

    /// The rows of all videos: `[videos, (order + 1) dim]`.
    ///
    /// # Errors
    /// [`Error::Setting`] for a setting out of range; [`Error::Data`] if the frames of a video cancel out.
    pub fn rows(&self, videos: &FrameSet) -> Result<Embeddings> {
        self.validate()?;
        let unit = videos.rows().normalised();
        let (dim, size) = (videos.dim(), videos.frames() * videos.dim());
        let mut rows = Vec::with_capacity(videos.len() * dim * (self.order() + 1));
        for (video, &count) in videos.counts().iter().enumerate() {
            let frames = &unit.values()[video * size..][..count * dim];
            let mean = wave(frames, dim, 0);
            let norm = mean.iter().map(|value| value * value).sum::<f64>().sqrt();
            if norm < 1e-6 {
                let what = format!("mean of the frames of video {video}");
                return Err(Error::data(what, "a direction", "frames that cancel out"));
            }
            rows.extend(mean.iter().map(|value| (value / norm) as f32));
            for k in 1..=self.order() {
                rows.extend(wave(frames, dim, k).iter().map(|value| (self.weight() * value) as f32));
            }
        }
        Embeddings::new(rows, dim * (self.order() + 1))
    }

    /// The same with the videos' labels, for any method.
    ///
    /// # Errors
    /// As [`rows`](Self::rows).
    pub fn set(&self, videos: &FrameSet) -> Result<FeatureSet> {
        FeatureSet::new(self.rows(videos)?, videos.labels().to_vec(), videos.class_names())
    }

    /// What the classes are for rows of this pooling: their texts in the place of the mean and nothing in those of the
    /// waves, of which texts know nothing. Where the file has no texts, a class is the mean of its shots.
    ///
    /// Its backbone names the sampling and the pooling too.
    ///
    /// # Errors
    /// As [`TextClassifier::new`]; [`Error::TooFewShots`] for a class without text and shots.
    pub fn classes(&self, file: &FrameFile, shots: &FeatureSet) -> Result<TextClassifier> {
        let (identity, blocks) = (format!("{} pooling:{self}", file.identity()), self.order() + 1);
        let Some(text) = file.classifier() else { return prototypes(shots, identity) };
        let rows = match text.prompts() {
            Some(rows) => (rows, text.templates().to_vec()),
            None => (text.weights(), vec!["{}".to_owned()]),
        };
        let (rows, templates) = rows;
        let mut values = Vec::with_capacity(rows.values().len() * blocks);
        for row in 0..rows.rows() {
            values.extend(rows.row(row));
            values.resize(values.len() + (blocks - 1) * rows.dim(), 0.0);
        }
        let dim = rows.dim() * blocks;
        TextClassifier::new(values, dim, text.class_names(), templates, text.logit_scale(), identity)
    }
}

/// `p_k` of frames `[count, dim]`, and their mean for `k` = 0.
///
/// A frame and the one as far from the end have the same factor but for its sign, and are joined first: so that the
/// reverse of a video has the same numbers, or their negatives, to the bit.
fn wave(frames: &[f32], dim: usize, k: usize) -> Vec<f64> {
    let count = frames.len() / dim;
    let sign = if k.is_multiple_of(2) { 1.0 } else { -1.0 };
    let scale = if k == 0 { 1.0 } else { SQRT_2 } / count as f64;
    let mut sum = vec![0.0; dim];
    for t in 0..count.div_ceil(2) {
        let other = count - 1 - t;
        let factor = scale * (PI * k as f64 * (t as f64 + 0.5) / count as f64).cos();
        // The frame in the middle has no other, and odd waves pass it at 0.
        let (factor, sign) = if other == t { (factor, 0.0) } else { (factor, sign) };
        let factor = if other == t && k % 2 == 1 { 0.0 } else { factor };
        for (sum, at) in sum.iter_mut().zip(0..dim) {
            let (a, b) = (f64::from(frames[t * dim + at]), f64::from(frames[other * dim + at]));
            *sum += factor * (a + sign * b);
        }
    }
    sum
}

impl fmt::Display for Pooling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mean => f.write_str("mean"),
            Self::Dct(Dct { order, weight }) => write!(f, "dct 0..{order} x{weight}"),
        }
    }
}

impl FromStr for Pooling {
    type Err = Error;

    /// `mean` or `dct`, with its defaults.
    fn from_str(name: &str) -> Result<Self> {
        match name {
            "mean" => Ok(Self::Mean),
            "dct" => Ok(Self::Dct(Dct::default())),
            _ => Err(Error::setting("pooling", "mean or dct", format!("`{name}`"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The formula in a plain loop.
    fn plain(frames: &[f32], dim: usize, k: usize) -> Vec<f64> {
        let count = frames.len() / dim;
        let factor = |t: usize| (PI * k as f64 * (t as f64 + 0.5) / count as f64).cos();
        let scale = if k == 0 { 1.0 } else { SQRT_2 } / count as f64;
        (0..dim)
            .map(|at| scale * (0..count).map(|t| factor(t) * f64::from(frames[t * dim + at])).sum::<f64>())
            .collect()
    }

    #[test]
    fn waves_are_their_formula() {
        for count in 1..=9 {
            let frames: Vec<f32> = (0..count * 3).map(|at| (0.37 * (at * at) as f32).sin()).collect();
            for k in 0..=4 {
                let (found, expected) = (wave(&frames, 3, k), plain(&frames, 3, k));
                approx::assert_abs_diff_eq!(&found[..], &expected[..], epsilon = 1e-12);
            }
        }
    }

    /// With `p_0 = mean` and a row of all waves, nothing is lost: `sum_k p_k^2 = mean_t f_t^2`.
    #[test]
    fn all_waves_together_are_the_frames() {
        let frames: Vec<f32> = (0..8).map(|at| (1.3 * (at * at) as f32).cos()).collect();
        let power: f64 = (0..8).map(|k| wave(&frames, 1, k)[0].powi(2)).sum();
        let expected = frames.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>() / 8.0;
        approx::assert_abs_diff_eq!(power, expected, epsilon = 1e-12);
    }

    #[test]
    fn backwards_only_odd_waves_change_their_sign() {
        let videos = FrameFile::synthetic(3).unwrap().split("test").unwrap().clone();
        let counts: Vec<usize> = (0..videos.len()).map(|video| 1 + video % 8).collect();
        let (dim, pooling) = (videos.dim(), Pooling::Dct(Dct { order: 3, weight: 10.0 }));
        for videos in [videos.clone(), videos.with_counts(counts).unwrap()] {
            let (forth, back) = (pooling.rows(&videos).unwrap(), pooling.rows(&videos.reversed()).unwrap());
            for video in 0..videos.len() {
                let (forth, back) = (forth.row(video), back.row(video));
                for block in 0..4 {
                    let sign = if block % 2 == 1 { -1.0 } else { 1.0 };
                    let place = block * dim..(block + 1) * dim;
                    assert!(forth[place.clone()].iter().zip(&back[place]).all(|(a, b)| *a == sign * b));
                }
            }
        }
    }
}
