use faer::{Mat, linalg::solvers::Solve};

use crate::error::Result;
use crate::features::{Embeddings, FeatureSet, TextClassifier};
use crate::numerics::cholesky;

/// Shots closer to the means of their classes than this, squared and on average, are no evidence of a spread.
pub(super) const NO_SPREAD: f64 = 1e-12;

/// A classifier `f w^T + b`.
pub(crate) struct Gaussians {
    pub weights: Mat<f64>, // [dim, classes]
    pub bias: Vec<f64>,
}

/// What stands beside the shots.
pub(in crate::methods) struct Prior {
    text: Mat<f64>, // [classes, dim]
    text_shots: f64,
    trace: Option<f64>,
}

impl Prior {
    /// The text as so many shots of every class, and the spread of `set` for those of its parts that have none.
    pub fn new(classes: &TextClassifier, text_shots: f64, set: &FeatureSet) -> Self {
        let images = set.embeddings().unit_rows();
        let means = class_means(&images, set);
        Self { text: classes.weights().unit_rows(), text_shots, trace: trace(&centred(&images, &means, set)) }
    }

    /// How far `P` is from the identity where the shots do not spread.
    pub fn scale(&self) -> f64 {
        self.trace.map_or(1.0, |trace| self.text.ncols() as f64 / trace)
    }

    /// Draws the mean of every class that has shots, `[dim, classes]`, towards where its text is among the texts.
    fn shift(&self, means: &mut Mat<f64>, counts: &[usize]) {
        if self.text_shots == 0.0 {
            return;
        }
        let seen = seen(counts);
        for column in 0..means.nrows() {
            let image: f64 = seen.iter().map(|&class| means[(column, class)]).sum();
            let text: f64 = seen.iter().map(|&class| self.text[(class, column)]).sum();
            let apart = (image - text) / seen.len() as f64; // between images and texts, of all classes
            for &class in &seen {
                let shots = counts[class] as f64;
                let expected = self.text[(class, column)] + apart;
                means[(column, class)] =
                    (shots * means[(column, class)] + self.text_shots * expected) / (shots + self.text_shots);
            }
        }
    }
}

impl Gaussians {
    /// How many of its dimensions the covariance really has: `sum_i s_i / (s_i + tr(S))` of the eigenvalues of `(N - 1) S`,
    /// which is `tr(M (M + tr(S) I)^-1)`; none without a spread.
    pub fn degrees_of_freedom(set: &FeatureSet) -> Result<Option<f64>> {
        let images = set.embeddings().unit_rows();
        let centred = centred(&images, &class_means(&images, set), set);
        let Some(trace) = trace(&centred) else { return Ok(None) };
        // The eigenvalues of the smaller of the two products, which are those of the other but for zeros.
        let inner = match centred.nrows() < centred.ncols() {
            true => &centred * centred.transpose(),
            false => centred.transpose() * &centred,
        };
        let side = inner.nrows();
        let pulled = Mat::from_fn(side, side, |row, column| {
            inner[(row, column)] + if row == column { trace } else { 0.0 }
        });
        let solved = cholesky(&pulled, "counting degrees of freedom")?.solve(&inner);
        Ok(Some((0..side).map(|at| solved[(at, at)]).sum()))
    }

    pub(super) fn estimate(set: &FeatureSet, prior: &Prior) -> Result<Self> {
        let images = set.embeddings().unit_rows(); // [shots, dim]
        let mut means = class_means(&images, set); // [dim, classes]
        let centred = centred(&images, &means, set);
        prior.shift(&mut means, &set.class_counts());
        let scatter = trace(&centred).map(|trace| (centred.transpose() * &centred, trace));
        Self::of(&means, scatter, prior.scale())
    }

    /// From the means of the classes, `[dim, classes]`, and `(N - 1) S` with the trace of `S`; where there is no spread,
    /// `P` is the identity times `otherwise`.
    pub(super) fn of(means: &Mat<f64>, scatter: Option<(Mat<f64>, f64)>, otherwise: f64) -> Result<Self> {
        let (dim, classes) = (means.nrows(), means.ncols());
        let scaled = |scale: f64| Mat::from_fn(dim, classes, |column, class| scale * means[(column, class)]);
        let weights = match scatter {
            None => scaled(otherwise),
            Some((mut inner, trace)) => {
                for column in 0..dim {
                    inner[(column, column)] += trace;
                }
                cholesky(&inner, "inverting a covariance")?.solve(&scaled(dim as f64))
            }
        };
        let square = |class: usize| -> f64 {
            (0..dim).map(|column| means[(column, class)] * weights[(column, class)]).sum()
        };
        let bias = (0..classes).map(|class| -(classes as f64).ln() - square(class) / 2.0).collect();
        Ok(Self { weights, bias })
    }

    /// `f w^T + b` of every image: `[images, classes]`.
    pub fn scores(&self, images: &Embeddings) -> Mat<f64> {
        let product = images.unit_rows() * &self.weights;
        Mat::from_fn(product.nrows(), product.ncols(), |row, class| product[(row, class)] + self.bias[class])
    }
}

/// Every shot less the mean of its class, times the root of its weight: `[shots, dim]`.
fn centred(images: &Mat<f64>, means: &Mat<f64>, set: &FeatureSet) -> Mat<f64> {
    let roots: Vec<f64> = set.image_weights().into_iter().map(f64::sqrt).collect();
    Mat::from_fn(images.nrows(), images.ncols(), |row, column| {
        roots[row] * (images[(row, column)] - means[(column, set.labels()[row])])
    })
}

/// The trace of the covariance `S`, where the shots are evidence of one.
fn trace(centred: &Mat<f64>) -> Option<f64> {
    let (shots, dim) = (centred.nrows(), centred.ncols());
    let square = |row: usize| -> f64 { (0..dim).map(|column| centred[(row, column)].powi(2)).sum() };
    let scatter: f64 = (0..shots).map(square).sum();
    // Where there is a scatter there are two shots or more.
    (scatter > shots as f64 * NO_SPREAD).then(|| scatter / (shots - 1) as f64)
}

/// The classes that have shots.
fn seen(counts: &[usize]) -> Vec<usize> {
    (0..counts.len()).filter(|&class| counts[class] > 0).collect()
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
    let seen = seen(&counts);
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

    fn text(values: &[f32], text_shots: f64, set: &FeatureSet) -> Prior {
        let names = ["a", "b", "c"];
        let classes = TextClassifier::new(values.to_vec(), 2, names, ["a {}."], 100.0, "test").unwrap();
        Prior::new(&classes, text_shots, set)
    }

    fn without_text(set: &FeatureSet) -> Prior {
        text(&[1.0; 6], 0.0, set)
    }

    /// The shots of a and b lie at (1, 0) and (0, 1), their texts at (0, 1) and (1, 0): half a shot each, and they
    /// meet. c has no shot, and its text does not count.
    #[test]
    fn a_text_counts_as_shots_of_its_class() {
        let shots = set(&[1.0, 0.0, 0.0, 1.0], &[0, 1]);
        for (text_shots, a) in [(0.0, [1.0, 0.0]), (1.0, [0.5, 0.5]), (3.0, [0.25, 0.75])] {
            let prior = text(&[0.0, 1.0, 1.0, 0.0, 0.6, 0.8], text_shots, &shots);
            let Gaussians { weights, .. } = Gaussians::estimate(&shots, &prior).unwrap();
            let expected = [a, [a[1], a[0]], [0.5, 0.5]];
            for (class, expected) in expected.into_iter().enumerate() {
                let found = [weights[(0, class)], weights[(1, class)]];
                approx::assert_abs_diff_eq!(&found[..], &expected[..], epsilon = 1e-12);
            }
        }
    }

    /// The scatter of the whole set is 1, the trace of its S 1/2, and the scale 2 dimensions by it.
    #[test]
    fn a_part_without_spread_takes_that_of_the_whole() {
        let shots = set(&[1.0, 0.0, 0.0, 1.0, 1.0, 0.0], &[0, 0, 1]);
        let prior = without_text(&shots);
        approx::assert_abs_diff_eq!(prior.scale(), 4.0, epsilon = 1e-12);
        let Gaussians { weights, .. } = Gaussians::estimate(&shots.select(&[0, 2]), &prior).unwrap();
        approx::assert_abs_diff_eq!(weights[(0, 0)], 4.0, epsilon = 1e-12);
    }

    #[test]
    fn one_shot_a_class_has_the_identity_for_a_covariance() {
        let shots = set(&[1.0, 0.0, 0.0, 5.0], &[0, 1]);
        let Gaussians { weights, bias } = Gaussians::estimate(&shots, &without_text(&shots)).unwrap();
        let columns: Vec<[f64; 2]> = (0..3).map(|class| [weights[(0, class)], weights[(1, class)]]).collect();
        assert_eq!(columns, [[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]); // the last class takes the mean of the means
        assert_eq!(bias[..2], [-(3f64.ln()) - 0.5; 2]);
    }

    /// The scatter [[1, -1], [-1, 1]] / 2 has the eigenvalues 1 and 0, and the trace of S is 1/2: 1 / (1 + 1/2).
    #[test]
    fn degrees_of_freedom_are_those_of_the_eigenvalues() {
        let shots = set(&[1.0, 0.0, 0.0, 1.0, 1.0, 0.0], &[0, 0, 1]);
        approx::assert_abs_diff_eq!(
            Gaussians::degrees_of_freedom(&shots).unwrap().unwrap(),
            2.0 / 3.0,
            epsilon = 1e-12
        );
        assert_eq!(Gaussians::degrees_of_freedom(&shots.select(&[0, 2])).unwrap(), None);
    }

    /// The trace of a product, and the sum over eigenvalues, of the shots' products and of their covariance.
    #[test]
    fn degrees_of_freedom_both_ways() {
        let file = crate::features::FeatureFile::synthetic(0).unwrap(); // of 64 dimensions and 8 classes
        for shots in [4, 16] {
            let set = file.support(shots, 1).unwrap().set().clone();
            let images = set.embeddings().unit_rows();
            let centred = centred(&images, &class_means(&images, &set), &set);
            let trace = trace(&centred).unwrap();
            let covariance = centred.transpose() * &centred;
            let eigenvalues = covariance.self_adjoint_eigenvalues(faer::Side::Lower).unwrap();
            let sum: f64 = eigenvalues.iter().map(|value| value / (value + trace)).sum();
            let found = Gaussians::degrees_of_freedom(&set).unwrap().unwrap();
            approx::assert_abs_diff_eq!(found, sum, epsilon = 1e-9);
            assert!(found > 1.0 && found < set.len() as f64);
        }
    }

    /// Of a = (1, 0), (0, 1) and b = (1, 0) the scatter is [[1, -1], [-1, 1]] / 2 and the trace of S 1/2, so
    /// that the precision is 2 ([[2, -1], [-1, 2]] / 2)^-1 = [[8, 4], [4, 8]] / 3.
    #[test]
    fn the_precision_is_the_formulas() {
        let shots = set(&[1.0, 0.0, 0.0, 1.0, 1.0, 0.0], &[0, 0, 1]);
        let Gaussians { weights, bias } = Gaussians::estimate(&shots, &without_text(&shots)).unwrap();
        for (at, expected) in [((0, 0), 2.0), ((1, 0), 2.0), ((0, 1), 8.0 / 3.0), ((1, 1), 4.0 / 3.0)] {
            approx::assert_abs_diff_eq!(weights[at], expected, epsilon = 1e-12);
        }
        approx::assert_abs_diff_eq!(bias[0], -(3f64.ln()) - 1.0, epsilon = 1e-12);
        approx::assert_abs_diff_eq!(bias[1], -(3f64.ln()) - 4.0 / 3.0, epsilon = 1e-12);
        let even = {
            let even = shots.clone().balanced();
            Gaussians::estimate(&even, &without_text(&even)).unwrap()
        }; // a shot of a weighs 3/4, that of b 3/2
        for (at, expected) in [((0, 0), 8.0 / 3.0), ((1, 0), 8.0 / 3.0), ((0, 1), 32.0 / 9.0)] {
            approx::assert_abs_diff_eq!(even.weights[at], expected, epsilon = 1e-12);
        }
        let scores = Gaussians { weights, bias }.scores(shots.embeddings());
        approx::assert_abs_diff_eq!(scores[(1, 0)], 2.0 - 3f64.ln() - 1.0, epsilon = 1e-12);
    }
}
