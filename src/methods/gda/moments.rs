use faer::Mat;

use super::gaussians::{Gaussians, NO_SPREAD};
use crate::error::Result;
use crate::features::{Embeddings, FeatureSet};

/// Rows that become f64 at once.
const BLOCK: usize = 1024;

/// The sums over labelled images that Gaussians are made of. They take the same memory for any number of images, and those
/// of several sets can be added.
#[derive(Debug, Clone)]
pub(crate) struct Moments {
    mass: Vec<f64>,    // weight of the images of each class
    sums: Mat<f64>,    // [dim, classes]
    squares: Mat<f64>, // sum of x x^T, [dim, dim]
}

impl Moments {
    /// Of no image.
    pub fn new(dim: usize, classes: usize) -> Self {
        Self { mass: vec![0.0; classes], sums: Mat::zeros(dim, classes), squares: Mat::zeros(dim, dim) }
    }

    /// Of labelled images with their weights.
    pub fn of(set: &FeatureSet) -> Self {
        let mut moments = Self::new(set.embeddings().dim(), set.class_names().len());
        let rows: Vec<usize> = (0..set.len()).collect();
        moments.add(set.embeddings(), &rows, set.labels(), &set.image_weights());
        moments
    }

    /// Adds some rows of `images`, each with its class and its weight.
    pub fn add(&mut self, images: &Embeddings, rows: &[usize], labels: &[usize], weights: &[f64]) {
        let blocks = rows.chunks(BLOCK).zip(labels.chunks(BLOCK)).zip(weights.chunks(BLOCK));
        for ((rows, labels), weights) in blocks {
            let block = images.select(rows).unit_rows(); // [block, dim]
            for (row, (&class, &weight)) in labels.iter().zip(weights).enumerate() {
                self.mass[class] += weight;
                for (column, sum) in self.sums.col_as_slice_mut(class).iter_mut().enumerate() {
                    *sum += weight * block[(row, column)];
                }
            }
            let weighted =
                Mat::from_fn(block.nrows(), block.ncols(), |row, column| weights[row] * block[(row, column)]);
            self.squares += weighted.transpose() * &block;
        }
    }

    /// Whether a class has images.
    pub fn has(&self, class: usize) -> bool {
        self.mass[class] > 0.0
    }

    /// The Gaussians of these images; a class without any has the mean of the others' weights and biases, and so of their
    /// scores.
    pub fn gaussians(&self) -> Result<Gaussians> {
        let (dim, classes) = (self.sums.nrows(), self.sums.ncols());
        let means = Mat::from_fn(dim, classes, |column, class| {
            if self.has(class) { self.sums[(column, class)] / self.mass[class] } else { 0.0 }
        });
        // The scatter within classes is what all have, less what their means have.
        let scatter = &self.squares - &self.sums * means.transpose();
        let trace: f64 = (0..dim).map(|column| scatter[(column, column)]).sum();
        let images: f64 = self.mass.iter().sum();
        let spread = trace > images * NO_SPREAD;
        let scatter = spread.then(|| (scatter, trace / (images - 1.0).max(1.0)));
        let mut found = Gaussians::of(&means, scatter, 1.0)?;

        let seen: Vec<usize> = (0..classes).filter(|&class| self.has(class)).collect();
        for class in (0..classes).filter(|&class| !self.has(class)) {
            let mean = |of: &dyn Fn(usize) -> f64| {
                seen.iter().map(|&seen| of(seen)).sum::<f64>() / seen.len().max(1) as f64
            };
            for column in 0..dim {
                let weight = mean(&|seen| found.weights[(column, seen)]);
                found.weights[(column, class)] = weight;
            }
            found.bias[class] = mean(&|seen| found.bias[seen]);
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::super::gaussians::Prior;
    use super::*;
    use crate::features::TextClassifier;

    /// The two ways to the same Gaussians, on uneven shots and on weighted ones.
    #[test]
    fn the_moments_are_those_of_the_images() {
        let names = ["a", "b", "c"];
        let classes = TextClassifier::new(vec![1.0; 9], 3, names, ["a {}."], 100.0, "test").unwrap();
        let value = |at: usize| ((at * at * 7 + 3) % 11) as f32 - 4.0;
        let rows = Embeddings::new((0..24).map(value).collect(), 3).unwrap();
        let set = FeatureSet::new(rows, vec![0, 0, 0, 1, 1, 2, 2, 2], names).unwrap();
        for set in [set.clone(), set.balanced()] {
            let expected = Gaussians::estimate(&set, &Prior::new(&classes, 0.0, &set)).unwrap();
            let found = Moments::of(&set).gaussians().unwrap();
            approx::assert_abs_diff_eq!(found.bias[..], expected.bias[..], epsilon = 1e-9);
            for class in 0..3 {
                let (found, expected) =
                    (found.weights.col_as_slice(class), expected.weights.col_as_slice(class));
                approx::assert_abs_diff_eq!(found, expected, epsilon = 1e-9);
            }
        }
    }

    #[test]
    fn a_class_without_images_has_the_mean_score() {
        let rows = Embeddings::new(vec![1.0, 0.0, 0.8, 0.6, 0.0, 1.0, 0.6, 0.8], 2).unwrap();
        let set = FeatureSet::new(rows, vec![0, 0, 2, 2], ["a", "b", "c"]).unwrap();
        let found = Moments::of(&set).gaussians().unwrap();
        let scores = found.scores(set.embeddings());
        for row in 0..4 {
            approx::assert_abs_diff_eq!(
                scores[(row, 1)],
                (scores[(row, 0)] + scores[(row, 2)]) / 2.0,
                epsilon = 1e-9
            );
        }
    }
}
