use faer::{Mat, MatRef};

use crate::features::{Embeddings, FeatureSet};
use crate::numerics::{minimise, row_major, softmax_rows};

/// Steps of a fit, as in the recipe.
const ITERATIONS: usize = 1000;

/// What is minimised. The features are taken relative to their mean, which the free bias absorbs: CLIP's features
/// share most of their direction, and without it the descent is many times quicker.
pub(super) struct Regression<'a> {
    images: Mat<f64>, // centred, and a column of ones for the bias: [shots, dim + 1]
    mean: Vec<f64>,   // [dim]
    labels: &'a [usize],
    classes: usize,
}

impl<'a> Regression<'a> {
    pub fn new(set: &'a FeatureSet) -> Self {
        let images = set.embeddings().unit_rows();
        let shots = images.nrows();
        let mean = |column: usize| (0..shots).map(|row| images[(row, column)]).sum::<f64>() / shots as f64;
        let mean: Vec<f64> = (0..images.ncols()).map(mean).collect();
        let images = centred(&images, &mean);
        Self { images, mean, labels: set.labels(), classes: set.class_names().len() }
    }

    /// Parameters to start from: the columns of `[dim + 1, classes]`, one class after another.
    pub fn zeros(&self) -> Vec<f64> {
        vec![0.0; self.images.ncols() * self.classes]
    }

    pub fn fit(&self, c: f64, start: Vec<f64>, tolerance: f64) -> Vec<f64> {
        minimise(|parameters| self.objective(c, parameters), start, tolerance, ITERATIONS).at
    }

    /// The mean cross-entropy plus `||w||^2 / (2 c N)`, and the gradient.
    fn objective(&self, c: f64, parameters: &[f64]) -> (f64, Vec<f64>) {
        let shots = self.labels.len() as f64;
        let mut scores = &self.images * self.weights(parameters); // [shots, classes]
        let of_labels: f64 = self.labels.iter().enumerate().map(|(row, &label)| scores[(row, label)]).sum();
        let log_sums: f64 = softmax_rows(&mut scores).iter().sum();
        for (row, &label) in self.labels.iter().enumerate() {
            scores[(row, label)] -= 1.0;
        }
        let slopes = self.images.transpose() * &scores; // [dim + 1, classes]
        let (mut square, pull) = (0.0, 1.0 / (c * shots));
        let dim = self.mean.len();
        let mut gradient = Vec::with_capacity(parameters.len());
        for class in 0..self.classes {
            for column in 0..=dim {
                let weight = if column < dim { parameters[class * (dim + 1) + column] } else { 0.0 };
                square += weight * weight;
                gradient.push(slopes[(column, class)] / shots + pull * weight);
            }
        }
        ((log_sums - of_labels) / shots + pull * square / 2.0, gradient)
    }

    fn weights<'p>(&self, parameters: &'p [f64]) -> MatRef<'p, f64> {
        MatRef::from_column_major_slice(parameters, self.images.ncols(), self.classes)
    }

    pub fn logits(&self, parameters: &[f64], images: &Embeddings) -> Vec<f32> {
        row_major(&(centred(&images.unit_rows(), &self.mean) * self.weights(parameters)))
    }

    /// The same for features that are not centred: `w`, `[classes, dim]`, and `b - w mean`.
    pub fn head(&self, parameters: &[f64]) -> (Mat<f64>, Vec<f64>) {
        let (weights, dim) = (self.weights(parameters), self.mean.len());
        let product = |class: usize, column: usize| weights[(column, class)] * self.mean[column];
        let shift = |class: usize| -> f64 { (0..dim).map(|column| product(class, column)).sum() };
        let bias = |class: usize| weights[(dim, class)] - shift(class);
        let bias = (0..self.classes).map(bias).collect();
        (Mat::from_fn(self.classes, dim, |class, column| weights[(column, class)]), bias)
    }
}

/// `f - mean` with a last column of ones: `[rows, dim]` to `[rows, dim + 1]`.
fn centred(images: &Mat<f64>, mean: &[f64]) -> Mat<f64> {
    let dim = images.ncols();
    Mat::from_fn(images.nrows(), dim + 1, |row, column| {
        if column < dim { images[(row, column)] - mean[column] } else { 1.0 }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::FeatureFile;

    /// The objective as it is defined, in plain loops, of weights `[classes, dim]` on features as they are.
    fn objective(set: &FeatureSet, c: f64, weight: &[Vec<f64>], bias: &[f64]) -> f64 {
        let mut sum = 0.0;
        for (row, &label) in set.labels().iter().enumerate() {
            let image: Vec<f64> = set.embeddings().row(row).iter().map(|&value| f64::from(value)).collect();
            let norm = image.iter().map(|value| value * value).sum::<f64>().sqrt();
            let score = |class: usize| {
                let product: f64 = weight[class].iter().zip(&image).map(|(w, f)| w * f / norm).sum();
                product + bias[class]
            };
            let scores: Vec<f64> = (0..weight.len()).map(score).collect();
            sum += scores.iter().map(|score| score.exp()).sum::<f64>().ln() - scores[label];
        }
        c * sum + weight.iter().flatten().map(|w| w * w).sum::<f64>() / 2.0
    }

    #[test]
    fn the_fit_is_the_minimum() {
        let file = FeatureFile::synthetic(0).unwrap();
        let support = file.support(3, 1).unwrap();
        for c in [0.5, 20.0] {
            let regression = Regression::new(support.set());
            let parameters = regression.fit(c, regression.zeros(), 1e-7);
            let (_, gradient) = regression.objective(c, &parameters);
            assert!(gradient.iter().map(|slope| slope * slope).sum::<f64>().sqrt() < 1e-6);

            let (weight, bias) = regression.head(&parameters);
            let weight: Vec<Vec<f64>> =
                (0..8).map(|class| (0..64).map(|column| weight[(class, column)]).collect()).collect();
            let shots = support.set().len() as f64;
            let best = objective(support.set(), c, &weight, &bias);
            approx::assert_relative_eq!(
                regression.objective(c, &parameters).0 * c * shots,
                best,
                max_relative = 1e-12
            );
            for class in 0..8 {
                for column in [0, 17, 63, 64] {
                    let moved = |by: f64| {
                        let (mut weight, mut bias) = (weight.clone(), bias.clone());
                        if column < 64 {
                            weight[class][column] += by
                        } else {
                            bias[class] += by
                        }
                        objective(support.set(), c, &weight, &bias)
                    };
                    let (below, above) = (moved(-0.01), moved(0.01));
                    assert!(below > best && above > best, "{class} {column}");
                    let slope = (moved(1e-4) - moved(-1e-4)) / 2e-4 / (c * shots);
                    assert!(slope.abs() < 1e-6, "{class} {column}: {slope}");
                }
            }
        }
    }

    #[test]
    fn the_objectives_slope_is_its_gradient() {
        let file = FeatureFile::synthetic(0).unwrap();
        let support = file.support(2, 1).unwrap();
        let regression = Regression::new(support.set());
        let parameters: Vec<f64> = (0..65 * 8).map(|at| ((at * 37) % 11) as f64 / 5.0 - 1.0).collect();
        let (_, gradient) = regression.objective(3.0, &parameters);
        for at in [0, 64, 65, 300, 519] {
            let value = |by: f64| {
                let mut moved = parameters.clone();
                moved[at] += by;
                regression.objective(3.0, &moved).0
            };
            let slope = (value(1e-5) - value(-1e-5)) / 2e-5;
            approx::assert_abs_diff_eq!(slope, gradient[at], epsilon = 1e-8);
        }
    }
}
