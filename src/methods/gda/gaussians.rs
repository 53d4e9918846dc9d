use faer::{Mat, linalg::solvers::Solve};

use crate::{
    FeatureSet, Result,
    features::Embeddings,
    methods::dense::{cholesky, unit_rows},
};

/// Shots closer to the means of their classes than this, squared and on average, are no evidence of a spread.
const NO_SPREAD: f64 = 1e-12;

/// A classifier `f w^T + b`.
pub(super) struct Gaussians {
    pub weights: Mat<f64>, // [dim, classes]
    pub bias: Vec<f64>,
}

impl Gaussians {
    pub fn estimate(set: &FeatureSet) -> Result<Self> {
        let images = unit_rows(set.embeddings()); // [shots, dim]
        let (shots, dim) = (images.nrows(), images.ncols());
        let means = class_means(&images, set); // [dim, classes]
        let centred = Mat::from_fn(shots, dim, |row, column| {
            images[(row, column)] - means[(column, set.labels()[row])]
        });
        let mut inner = centred.transpose() * &centred; // (N - 1) S, [dim, dim]
        let scatter: f64 = (0..dim).map(|column| inner[(column, column)]).sum();
        let weights = if scatter <= shots as f64 * NO_SPREAD {
            means.clone()
        } else {
            let trace = scatter / (shots - 1) as f64; // of S; there are two shots or more
            for column in 0..dim {
                inner[(column, column)] += trace;
            }
            let scaled =
                Mat::from_fn(dim, means.ncols(), |column, class| dim as f64 * means[(column, class)]);
            cholesky(&inner, "inverting a covariance")?.solve(&scaled)
        };
        let classes = means.ncols();
        let square = |class: usize| -> f64 {
            (0..dim).map(|column| means[(column, class)] * weights[(column, class)]).sum()
        };
        let bias = (0..classes).map(|class| -(classes as f64).ln() - square(class) / 2.0).collect();
        Ok(Self { weights, bias })
    }

    /// `f w^T + b` of every image: `[images, classes]`.
    pub fn scores(&self, images: &Embeddings) -> Mat<f64> {
        let product = unit_rows(images) * &self.weights;
        Mat::from_fn(product.nrows(), product.ncols(), |row, class| product[(row, class)] + self.bias[class])
    }
}

/// The mean of every class, `[dim, classes]`; where there is no image, the mean of the others.
fn class_means(images: &Mat<f64>, set: &FeatureSet) -> Mat<f64> {
    let (dim, counts) = (images.ncols(), set.class_counts());
    let mut means = Mat::<f64>::zeros(dim, counts.len());
    for (row, &class) in set.labels().iter().enumerate() {
        for column in 0..dim {
            means[(column, class)] += images[(row, column)] / counts[class] as f64;
        }
    }
    let seen: Vec<usize> = (0..counts.len()).filter(|&class| counts[class] > 0).collect();
    for class in (0..counts.len()).filter(|&class| counts[class] == 0) {
        for column in 0..dim {
            let sum: f64 = seen.iter().map(|&seen| means[(column, seen)]).sum();
            means[(column, class)] = sum / seen.len() as f64;
        }
    }
    means
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(values: &[f32], labels: &[usize]) -> FeatureSet {
        FeatureSet::new(Embeddings::new(values.to_vec(), 2).unwrap(), labels.to_vec(), ["a", "b", "c"])
            .unwrap()
    }

    #[test]
    fn one_shot_a_class_has_the_identity_for_a_covariance() {
        let Gaussians { weights, bias } = Gaussians::estimate(&set(&[1.0, 0.0, 0.0, 5.0], &[0, 1])).unwrap();
        let columns: Vec<[f64; 2]> = (0..3).map(|class| [weights[(0, class)], weights[(1, class)]]).collect();
        assert_eq!(columns, [[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]); // the last class takes the mean of the means
        assert_eq!(bias[..2], [-(3f64.ln()) - 0.5; 2]);
    }

    /// Of a = (1, 0), (0, 1) and b = (1, 0) the scatter is [[1, -1], [-1, 1]] / 2 and the trace of S 1/2, so
    /// that the precision is 2 ([[2, -1], [-1, 2]] / 2)^-1 = [[8, 4], [4, 8]] / 3.
    #[test]
    fn the_precision_is_the_formulas() {
        let shots = set(&[1.0, 0.0, 0.0, 1.0, 1.0, 0.0], &[0, 0, 1]);
        let Gaussians { weights, bias } = Gaussians::estimate(&shots).unwrap();
        for (at, expected) in [((0, 0), 2.0), ((1, 0), 2.0), ((0, 1), 8.0 / 3.0), ((1, 1), 4.0 / 3.0)] {
            approx::assert_abs_diff_eq!(weights[at], expected, epsilon = 1e-12);
        }
        approx::assert_abs_diff_eq!(bias[0], -(3f64.ln()) - 1.0, epsilon = 1e-12);
        approx::assert_abs_diff_eq!(bias[1], -(3f64.ln()) - 4.0 / 3.0, epsilon = 1e-12);
        let scores = Gaussians { weights, bias }.scores(shots.embeddings());
        approx::assert_abs_diff_eq!(scores[(1, 0)], 2.0 - 3f64.ln() - 1.0, epsilon = 1e-12);
    }
}
