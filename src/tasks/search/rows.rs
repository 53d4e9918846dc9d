use std::ops::Range;
use std::sync::Arc;

use half::f16;
use half::slice::HalfFloatSliceExt;
use safetensors::Dtype;

use super::block::{BLOCK, best_of};
use super::{Hit, Index};
use crate::archive::{Archive, Place, PutFloats};
use crate::error::{Error, Result};
use crate::features::Embeddings;

/// Rows of a gallery, `[rows, dim]`, that answer queries exactly: in memory in 16 or 32 bits, or on disk in 16.
///
/// The scores are `S = Q G^T`, in f32 whatever the rows are stored in (Radford et al., 2021, section 3.1.2,
/// <https://arxiv.org/abs/2103.00020>), computed a block of rows at a time on all cores; of each block only what is
/// better than the best so far is kept. Rounding unit rows to 16 bits moves a cosine by about 1e-4 and halves the
/// memory: a million rows of 512 are 1 GB.
///
/// Rows are taken as they are, and so are queries: unit rows give cosines. A bias of each row, which is what corrections
/// of hubs add, is one more column of the rows and a 1 at the end of every query.
///
/// # Examples
/// ```
/// use clip_adapter::features::Embeddings;
/// use clip_adapter::tasks::search::{Hit, Index, Rows};
///
/// let gallery = Rows::halves(&Embeddings::new(vec![1.0, 0.0, 0.0, 1.0, 1.0, 0.0], 2)?)?;
/// let found = gallery.search(&Embeddings::new(vec![0.5, 0.25], 2)?, 2)?;
/// assert_eq!(found[0], [Hit { row: 0, score: 0.5 }, Hit { row: 2, score: 0.5 }]);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Rows {
    values: Values,
    rows: usize,
    dim: usize,
}

#[derive(Debug, Clone)]
enum Values {
    Floats(Vec<f32>),
    Halves(Vec<f16>),
    /// A tensor of 16 bits in a file, of which a block a thread is read.
    Stored(Arc<Archive>, Place),
}

impl Rows {
    /// Keeps rows as they are, in 32 bits.
    pub fn floats(rows: &Embeddings) -> Self {
        Self { values: Values::Floats(rows.values().to_vec()), rows: rows.rows(), dim: rows.dim() }
    }

    /// Rounds rows to 16 bits.
    ///
    /// # Errors
    /// [`Error::Data`] with the first row that has a value beyond what 16 bits hold.
    pub fn halves(rows: &Embeddings) -> Result<Self> {
        let mut halves = vec![f16::ZERO; rows.values().len()];
        halves.convert_from_f32_slice(rows.values());
        Self::from_halves(halves, rows.dim())
    }

    /// Takes values that are rounded already.
    ///
    /// # Errors
    /// [`Error::Data`] if the values are not whole rows, or one is not finite.
    pub fn from_halves(values: Vec<f16>, dim: usize) -> Result<Self> {
        if dim == 0 || !values.len().is_multiple_of(dim) {
            let expected = format!("whole rows of {dim} values");
            return Err(Error::data("rows", expected, format!("{} values", values.len())));
        }
        check_finite(&values, 0, dim)?;
        Ok(Self { rows: values.len() / dim, values: Values::Halves(values), dim })
    }

    /// A tensor of 16 bits of a file, which stays there.
    pub(super) fn stored(archive: Arc<Archive>, name: &str) -> Result<Self> {
        let [rows, dim] = archive.shape_of(name)?;
        match archive.place(name) {
            Some(place) if place.dtype == Dtype::F16 && dim > 0 => {
                let place = place.clone();
                Ok(Self { values: Values::Stored(archive, place), rows, dim })
            }
            place => {
                let found = place.map(|place| format!("{:?} {:?}", place.dtype, place.shape));
                Err(archive.malformed(name, "f16 of a width of 1 or more", found.unwrap_or_default()))
            }
        }
    }

    /// The same in memory.
    pub(super) fn into_memory(self) -> Result<Self> {
        let Values::Stored(..) = self.values else { return Ok(self) };
        let mut halves = Vec::with_capacity(self.rows * self.dim);
        for rows in self.blocks() {
            halves.extend(self.read(rows)?);
        }
        Ok(Self { values: Values::Halves(halves), ..self })
    }

    /// Some rows in another order, in memory and in 16 bits.
    pub(super) fn select(&self, rows: &[usize]) -> Result<Self> {
        let mut halves = Vec::with_capacity(rows.len() * self.dim);
        for &row in rows {
            halves.extend(self.read(row..row + 1)?);
        }
        Self::from_halves(halves, self.dim)
    }

    /// One row, in 32 bits.
    ///
    /// # Errors
    /// [`Error::Data`] if there is no such row; [`Error::Read`] if it is on disk and cannot be read.
    pub fn row(&self, row: usize) -> Result<Vec<f32>> {
        if row >= self.rows {
            return Err(Error::data("row of the gallery", format!("below {}", self.rows), row));
        }
        let mut values = Vec::new();
        self.fill(row..row + 1, &mut values)?;
        Ok(values)
    }

    /// Consecutive rows in 32 bits.
    pub(super) fn fill(&self, rows: Range<usize>, into: &mut Vec<f32>) -> Result<()> {
        let range = rows.start * self.dim..rows.end * self.dim;
        into.resize(range.len(), 0.0);
        match &self.values {
            Values::Floats(values) => into.copy_from_slice(&values[range]),
            Values::Halves(values) => values[range].convert_to_f32_slice(into),
            Values::Stored(..) => self.read(rows)?.convert_to_f32_slice(into),
        }
        Ok(())
    }

    /// Hands over all rows in 32 bits, a block at a time.
    pub(super) fn each(&self, put: &mut PutFloats<'_>) -> Result<()> {
        let mut block = Vec::new();
        for rows in self.blocks() {
            self.fill(rows, &mut block)?;
            put(&block)?;
        }
        Ok(())
    }

    fn blocks(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let rows = self.rows;
        (0..rows).step_by(BLOCK).map(move |start| start..(start + BLOCK).min(rows))
    }

    /// Consecutive rows in 16 bits.
    pub(super) fn read(&self, rows: Range<usize>) -> Result<Vec<f16>> {
        let range = rows.start * self.dim..rows.end * self.dim;
        match &self.values {
            Values::Halves(values) => Ok(values[range].to_vec()),
            Values::Floats(values) => Ok(values[range].iter().map(|&value| f16::from_f32(value)).collect()),
            Values::Stored(archive, place) => {
                let bytes = archive.read_part(place, 2 * range.start..2 * range.end)?;
                let halves: Vec<f16> = bytes.as_chunks().0.iter().map(|&b| f16::from_le_bytes(b)).collect();
                check_finite(&halves, rows.start, self.dim).map_err(|error| archive.locate("rows", error))?;
                Ok(halves)
            }
        }
    }
}

fn check_finite(values: &[f16], first: usize, dim: usize) -> Result<()> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(at) => {
            let expected = format!("finite values of at most {} in 16 bits", f16::MAX);
            Err(Error::data(format!("row {} of the gallery", first + at / dim), expected, values[at]))
        }
    }
}

impl Index for Rows {
    fn len(&self) -> usize {
        self.rows
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn search(&self, queries: &Embeddings, k: usize) -> Result<Vec<Vec<Hit>>> {
        best_of(queries, k, self.rows, self.dim, |rows, into| self.fill(rows, into))
    }
}
