//! The largest of some numbers, and what softmax is made of, without overflow.

use super::vector::{exp, fold, largest, widest};

/// The place of the largest number; of equal ones the first.
pub(crate) fn argmax(row: &[f32]) -> usize {
    let mut best = 0;
    for (class, value) in row.iter().enumerate() {
        if *value > row[best] {
            best = class;
        }
    }
    best
}

/// `log sum_c exp(l_c)`, without overflow, to about 2e-7.
pub(crate) fn log_sum_exp(row: &[f32]) -> f64 {
    widest(
        #[inline(always)]
        || {
            let most = largest(row);
            let sum = fold(row, 0.0, |logit| exp(logit - most), |a, b| a + b);
            f64::from(most) + f64::from(sum).ln()
        },
    )
}

/// `l_c - log sum_c exp(l_c)` of a row, in f64.
pub(crate) fn log_softmax(row: &[f32]) -> Vec<f64> {
    let mut values: Vec<f64> = row.iter().copied().map(f64::from).collect();
    log_normalise(&mut values);
    values
}

/// Subtracts `log sum_c exp(v_c)` from every value, so that they become the logarithms of probabilities.
pub(crate) fn log_normalise(values: &mut [f64]) {
    let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = values.iter().map(|value| (value - max).exp()).sum();
    let log_sum = max + sum.ln();
    values.iter_mut().for_each(|value| *value -= log_sum);
}
