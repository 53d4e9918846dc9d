//! Arithmetic on the host that knows nothing of images: vector instructions, dense algebra in f64, a minimiser,
//! logistic regression, softmax with its kin, and the beta distribution.

mod beta;
mod dense;
mod lbfgs;
mod logistic;
mod softmax;
pub(crate) mod vector;

pub(crate) use beta::lower_share;
pub(crate) use dense::{cholesky, dot, row_major, softmax_rows, transposed};
pub(crate) use lbfgs::minimise;
pub(crate) use logistic::LogisticRidge;
pub(crate) use softmax::{argmax, log_normalise, log_softmax, log_sum_exp};
