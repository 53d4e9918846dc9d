use crate::error::{Error, Result};
use crate::features::Embeddings;
use crate::numerics::dot;

/// The images among which a person chooses, or a sample of a few thousand of them: what is usual, and how far images
/// are from it.
///
/// `x = (f - m) / c` for an image `f` of unit length, with the mean `m` of the gallery and the mean distance `c` from
/// it. CLIP's images share most of their direction, which says nothing of a taste; without it every score of content
/// is about twice as good.
///
/// # Examples
/// ```
/// use clip_adapter::{FeatureFile, tasks::taste::Gallery};
///
/// let file = FeatureFile::synthetic(0)?;
/// let photos = Gallery::new(file.split("train")?.embeddings(), file.classifier().backbone())?;
/// assert_eq!((photos.dim(), photos.backbone()), (64, "synthetic"));
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Gallery {
    rows: Embeddings, // unit
    mean: Vec<f64>,
    spread: f64,
    backbone: String,
}

impl Gallery {
    /// Takes image features `[images, dim]` of any length, and what names the weights that made them.
    ///
    /// # Errors
    /// [`Error::Data`] if no two of them differ.
    pub fn new(images: &Embeddings, backbone: impl Into<String>) -> Result<Self> {
        let rows = images.normalised();
        let count = rows.rows().max(1) as f64;
        let mut mean = vec![0.0; rows.dim()];
        for row in 0..rows.rows() {
            mean.iter_mut().zip(rows.row(row)).for_each(|(mean, &value)| *mean += f64::from(value) / count);
        }
        let distance = |row: usize| length(&difference(rows.row(row), &mean));
        let spread = (0..rows.rows()).map(distance).sum::<f64>() / count;
        if spread < 1e-6 {
            let found = format!("{} that are alike", rows.rows());
            return Err(Error::data("images of a gallery", "two that differ", found));
        }
        Ok(Self { rows, mean, spread, backbone: backbone.into() })
    }

    /// The width of the features.
    pub fn dim(&self) -> usize {
        self.rows.dim()
    }

    /// Names the weights and preprocessing that made the features.
    pub fn backbone(&self) -> &str {
        &self.backbone
    }

    pub(super) fn mean(&self) -> &[f64] {
        &self.mean
    }

    pub(super) fn spread(&self) -> f64 {
        self.spread
    }

    /// `x` of every image, row after row.
    pub(super) fn centred(&self, what: &str, images: &Embeddings) -> Result<Vec<Vec<f64>>> {
        self.rows.check_dim(what, images.dim())?;
        let unit = images.normalised();
        let row = |row: usize| -> Vec<f64> {
            difference(unit.row(row), &self.mean).into_iter().map(|value| value / self.spread).collect()
        };
        Ok((0..unit.rows()).map(row).collect())
    }

    /// `q / s`, with the standard deviation `s` of the query's cosines with the gallery: a direction whose scores
    /// differ by 1 among images whatever made the query, a sentence or an image. None where it scores all alike.
    pub(super) fn standardised(&self, query: &Embeddings) -> Result<Option<Vec<f64>>> {
        self.rows.check_dim("query", query.dim())?;
        if query.rows() != 1 {
            return Err(Error::data("query", "one row", query.rows()));
        }
        let unit: Vec<f64> = query.normalised().row(0).iter().map(|&value| f64::from(value)).collect();
        let scores = (0..self.rows.rows()).map(|row| dot(&difference(self.rows.row(row), &self.mean), &unit));
        let variance = scores.map(|score| score * score).sum::<f64>() / self.rows.rows() as f64;
        let deviation = variance.sqrt();
        Ok((deviation > 1e-9).then(|| unit.into_iter().map(|value| value / deviation).collect()))
    }
}

fn difference(row: &[f32], mean: &[f64]) -> Vec<f64> {
    row.iter().zip(mean).map(|(&value, mean)| f64::from(value) - mean).collect()
}

fn length(row: &[f64]) -> f64 {
    dot(row, row).sqrt()
}
