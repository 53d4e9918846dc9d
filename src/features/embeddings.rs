use std::ops::Range;

use burn::tensor::{Device, Tensor, TensorData};
use faer::Mat;

use crate::error::{Error, Result};

/// Rows of CLIP embeddings on the host: `[rows, dim]` of `f32`, every value finite, no row zero.
///
/// These two facts are checked once, here, so that no method divides by a zero norm or trains on a NaN.
///
/// # Examples
/// ```
/// use clip_adapter::features::Embeddings;
///
/// let rows = Embeddings::new(vec![3.0, 4.0, 0.0, 1.0], 2)?;
/// assert_eq!((rows.rows(), rows.dim(), rows.row(1)), (2, 2, &[0.0, 1.0][..]));
/// assert!(Embeddings::new(vec![0.0, 0.0], 2).is_err());
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    values: Vec<f32>,
    dim: usize,
}

impl Embeddings {
    /// Takes `values` as rows of `dim` numbers each.
    ///
    /// # Errors
    /// [`Error::Data`] if the values are not whole rows, or a row holds a NaN, an infinity or only zeros.
    pub fn new(values: Vec<f32>, dim: usize) -> Result<Self> {
        if dim == 0 || !values.len().is_multiple_of(dim) {
            return Err(Error::data(
                "embeddings",
                format!("whole rows of {dim} values"),
                format!("{} values", values.len()),
            ));
        }
        for (row, values) in values.chunks_exact(dim).enumerate() {
            if let Some(bad) = values.iter().find(|value| !value.is_finite()) {
                return Err(Error::data(format!("row {row} of the embeddings"), "finite values", bad));
            }
            if values.iter().all(|&value| value == 0.0) {
                return Err(Error::data(format!("row {row} of the embeddings"), "a direction", "only zeros"));
            }
        }
        Ok(Self { values, dim })
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.values.len() / self.dim
    }

    /// The width of a row.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// One row.
    ///
    /// # Panics
    /// If `row` is not below [`rows`](Self::rows).
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.dim..(row + 1) * self.dim]
    }

    /// All values, row after row.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// All values, to keep.
    pub(crate) fn into_values(self) -> Vec<f32> {
        self.values
    }

    /// The given rows, in the given order.
    ///
    /// # Panics
    /// If a row is not below [`rows`](Self::rows).
    pub fn select(&self, rows: &[usize]) -> Self {
        let values = rows.iter().flat_map(|&row| self.row(row)).copied().collect();
        Self { values, dim: self.dim }
    }

    /// That something else of width `found` goes with these rows.
    pub(crate) fn check_dim(&self, what: &str, found: usize) -> Result<()> {
        if found == self.dim {
            return Ok(());
        }
        Err(Error::Dim { what: what.to_owned(), expected: self.dim, found })
    }

    /// Every row scaled to unit length.
    pub fn normalised(&self) -> Self {
        self.clone().into_normalised()
    }

    /// As [`normalised`](Self::normalised), in place.
    pub(crate) fn into_normalised(mut self) -> Self {
        for row in self.values.chunks_exact_mut(self.dim) {
            let norm = row.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt() as f32;
            row.iter_mut().for_each(|value| *value /= norm);
        }
        self
    }

    /// The rows scaled to unit length, in f64: `[rows, dim]`.
    pub(crate) fn unit_rows(&self) -> Mat<f64> {
        let norm = |row: usize| self.row(row).iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        let norms: Vec<f64> = (0..self.rows()).map(norm).collect();
        Mat::from_fn(self.rows(), self.dim, |row, column| f64::from(self.row(row)[column]) / norms[row])
    }

    /// The rows as a tensor `[rows, dim]` on `device`.
    pub fn tensor(&self, device: &Device) -> Tensor<2> {
        self.tensor_of(0..self.rows(), device)
    }

    /// Some consecutive rows as a tensor.
    pub(crate) fn tensor_of(&self, rows: Range<usize>, device: &Device) -> Tensor<2> {
        let shape = [rows.len(), self.dim];
        let values = self.values[rows.start * self.dim..rows.end * self.dim].to_vec();
        Tensor::from_data(TensorData::new(values, shape), device)
    }
}
