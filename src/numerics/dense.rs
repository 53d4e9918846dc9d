//! Dense algebra in f64 on the host, for closed forms that are solved once and need more digits than f32 has.

use faer::{Mat, Side, linalg::solvers::Llt};

use crate::error::{Error, Result};

/// The sum of the products of two vectors, entry by entry and from the first on.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Replaces every row of logits by its softmax and gives back the `log sum_c exp(l_c)` of each.
pub(crate) fn softmax_rows(logits: &mut Mat<f64>) -> Vec<f64> {
    let (rows, columns) = (logits.nrows(), logits.ncols());
    let mut log_sums = Vec::with_capacity(rows);
    for row in 0..rows {
        let largest = (0..columns).map(|column| logits[(row, column)]).fold(f64::NEG_INFINITY, f64::max);
        let mut sum = 0.0;
        for column in 0..columns {
            let part = (logits[(row, column)] - largest).exp();
            logits[(row, column)] = part;
            sum += part;
        }
        (0..columns).for_each(|column| logits[(row, column)] /= sum);
        log_sums.push(largest + sum.ln());
    }
    log_sums
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

/// A matrix `[rows, columns]` as `[columns, rows]`. On the host: a transposed view on the device would be
/// multiplied along another path, and give other last bits.
pub(crate) fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..rows * columns).map(|index| values[index % rows * columns + index / rows]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_softmax_does_not_overflow() {
        let mut logits = Mat::from_fn(2, 2, |row, column| if row == 0 { 1000.0 } else { column as f64 });
        let log_sums = softmax_rows(&mut logits);
        assert_eq!([logits[(0, 0)], logits[(0, 1)]], [0.5, 0.5]);
        approx::assert_abs_diff_eq!(logits[(1, 1)], 1.0 / (1.0 + (-1f64).exp()), epsilon = 1e-15);
        approx::assert_abs_diff_eq!(log_sums[0], 1000.0 + 2f64.ln(), epsilon = 1e-12);
        approx::assert_abs_diff_eq!(log_sums[1], (1.0 + 1f64.exp()).ln(), epsilon = 1e-15);
    }
}
