//! Dense algebra in f64 on the host, for closed forms that are solved once and need more digits than f32 has.

use faer::{Mat, Side, linalg::solvers::Llt};

use crate::{Error, Result, features::Embeddings};

/// Embeddings scaled to unit length: `[rows, dim]`.
pub(crate) fn unit_rows(embeddings: &Embeddings) -> Mat<f64> {
    let norm = |row: usize| embeddings.row(row).iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
    let norms: Vec<f64> = (0..embeddings.rows()).map(norm).collect();
    Mat::from_fn(embeddings.rows(), embeddings.dim(), |row, column| {
        f64::from(embeddings.row(row)[column]) / norms[row]
    })
}

/// The Cholesky factor of a symmetric positive definite matrix, of which the lower half is read.
///
/// # Errors
/// [`Error::Execution`] if it is not positive definite.
pub(crate) fn cholesky(matrix: &Mat<f64>, doing: &'static str) -> Result<Llt<f64>> {
    matrix.llt(Side::Lower).map_err(|error| Error::execution(doing, error))
}

/// The matrix row after row, as a tensor holds it.
pub(crate) fn row_major(matrix: &Mat<f64>) -> Vec<f32> {
    let columns = matrix.ncols();
    (0..matrix.nrows() * columns).map(|at| matrix[(at / columns, at % columns)] as f32).collect()
}
