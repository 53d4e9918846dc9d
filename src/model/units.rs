use crate::error::{Error, Result};

/// How a [`FeatureMap`](super::FeatureMap) comes by what it adds to a feature, as the sum of single units.
///
/// `z = keep f + ratio g(sum_j h_j v_j)`, `f* = z / |z|`, with the unit feature `f`, what unit `j` reads, `h_j = f . r_j`,
/// and what it writes, `v_j`. In a *rectified* map, which CLIP-Adapter is, `h_j = ReLU(f . r_j)` and `g` is a ReLU too;
/// else both are the identity, as in a linear map whose `r_j` and `v_j` are singular vectors.
///
/// # Examples
/// ```
/// use clip_adapter::model::Units;
///
/// let units = Units::new(vec![1.0, 0.0], vec![0.0, 2.0], 2, 0.5, 0.5, true)?;
/// assert_eq!((units.len(), units.read(0), units.written(0)), (1, &[1.0, 0.0][..], &[0.0, 2.0][..]));
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Units {
    reads: Vec<f32>,  // [units, dim]
    writes: Vec<f32>, // [units, dim]
    dim: usize,
    keep: f64,
    ratio: f64,
    rectified: bool,
}

impl Units {
    /// Takes what every unit reads and writes, `[units, dim]` each, row after row.
    ///
    /// # Errors
    /// [`Error::Data`] if these are not as many whole rows, or a number is not finite.
    pub fn new(
        reads: Vec<f32>,
        writes: Vec<f32>,
        dim: usize,
        keep: f64,
        ratio: f64,
        rectified: bool,
    ) -> Result<Self> {
        if dim == 0 || reads.len() != writes.len() || !reads.len().is_multiple_of(dim) {
            let expected = format!("as many rows of {dim} numbers that are read as are written");
            return Err(Error::data("units", expected, format!("{} and {}", reads.len(), writes.len())));
        }
        let finite = reads.iter().chain(&writes).all(|value| value.is_finite());
        if !(finite && keep.is_finite() && ratio.is_finite()) {
            return Err(Error::data("units", "finite numbers", "others"));
        }
        Ok(Self { reads, writes, dim, keep, ratio, rectified })
    }

    /// The number of units.
    pub fn len(&self) -> usize {
        self.reads.len() / self.dim
    }

    /// Whether there is no unit: what is adapted by nothing.
    pub fn is_empty(&self) -> bool {
        self.reads.is_empty()
    }

    /// The width of a feature.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// What a unit reads, `r_j`.
    ///
    /// # Panics
    /// If `unit` is not below [`len`](Self::len).
    pub fn read(&self, unit: usize) -> &[f32] {
        &self.reads[unit * self.dim..(unit + 1) * self.dim]
    }

    /// What a unit writes, `v_j`.
    ///
    /// # Panics
    /// If `unit` is not below [`len`](Self::len).
    pub fn written(&self, unit: usize) -> &[f32] {
        &self.writes[unit * self.dim..(unit + 1) * self.dim]
    }

    /// How much of the feature itself is kept.
    pub fn keep(&self) -> f64 {
        self.keep
    }

    /// What the sum of the units is multiplied with.
    pub fn ratio(&self) -> f64 {
        self.ratio
    }

    /// Whether units, and their sum, are cut off below 0.
    pub fn is_rectified(&self) -> bool {
        self.rectified
    }
}
