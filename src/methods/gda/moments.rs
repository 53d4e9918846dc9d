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

    /// Adds what another has of other images of the same classes.
    pub fn merge(&mut self, other: &Self) {
        self.mass.iter_mut().zip(&other.mass).for_each(|(own, other)| *own += other);
        self.sums += &other.sums;
        self.squares += &other.squares;
    }

    /// The Gaussians of these images, where every text, `[classes, dim]`, counts as `text_shots` images of its class: as
    /// where the class would be among the images, its text plus what the images' means are apart from their texts. A class
    /// without any image is there.
    pub fn gaussians(&self, texts: &Mat<f64>, text_shots: f64) -> Result<Gaussians> {
        let (dim, classes) = (self.sums.nrows(), self.sums.ncols());
        let seen: Vec<usize> = (0..classes).filter(|&class| self.mass[class] > 0.0).collect();
        let mut means = Mat::<f64>::zeros(dim, classes);
        for &class in &seen {
            for column in 0..dim {
                means[(column, class)] = self.sums[(column, class)] / self.mass[class];
            }
        }
        // The scatter within classes is what all have, less what their means have.
        let scatter = &self.squares - &self.sums * means.transpose();
        for column in 0..dim {
            let apart =
                seen.iter().map(|&class| means[(column, class)] - texts[(class, column)]).sum::<f64>()
                    / seen.len().max(1) as f64;
            for class in 0..classes {
                let expected = texts[(class, column)] + apart;
                means[(column, class)] =
                    (self.sums[(column, class)] + text_shots * expected) / (self.mass[class] + text_shots);
            }
        }
        let trace: f64 = (0..dim).map(|column| scatter[(column, column)]).sum();
        let images: f64 = self.mass.iter().sum();
        let spread = trace > images * NO_SPREAD;
        let scatter = spread.then(|| (scatter, trace / (images - 1.0).max(1.0)));
        Gaussians::of(&means, scatter, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::gaussians::Prior;
    use super::*;
    use crate::features::TextClassifier;

    fn set(values: Vec<f32>, dim: usize, labels: &[usize]) -> FeatureSet {
        FeatureSet::new(Embeddings::new(values, dim).unwrap(), labels.to_vec(), ["a", "b", "c"]).unwrap()
    }

    /// The two ways to the same Gaussians, on uneven shots and on weighted ones, on a part and the rest.
    #[test]
    fn the_moments_are_those_of_the_images() {
        let value = |at: usize| ((at * at * 7 + 3) % 11) as f32 - 4.0;
        let texts = (0..9).map(|at| value(at + 5)).collect();
        let classes = TextClassifier::new(texts, 3, ["a", "b", "c"], ["a {}."], 100.0, "test").unwrap();
        let set = set((0..24).map(value).collect(), 3, &[0, 0, 0, 1, 1, 2, 2, 2]);
        for (set, text_shots) in [(set.clone(), 2.0), (set.balanced(), 0.0)] {
            let expected = Gaussians::estimate(&set, &Prior::new(&classes, text_shots, &set)).unwrap();
            let mut moments = Moments::new(3, 3);
            for rows in [[0, 3, 4, 7], [1, 2, 5, 6]] {
                let mut part = Moments::new(3, 3);
                let weights = rows.map(|row| set.image_weights()[row]);
                part.add(set.embeddings(), &rows, &rows.map(|row| set.labels()[row]), &weights);
                moments.merge(&part);
            }
            let found = moments.gaussians(&classes.weights().unit_rows(), text_shots).unwrap();
            approx::assert_abs_diff_eq!(found.bias[..], expected.bias[..], epsilon = 1e-9);
            for class in 0..3 {
                let (found, expected) =
                    (found.weights.col_as_slice(class), expected.weights.col_as_slice(class));
                approx::assert_abs_diff_eq!(found, expected, epsilon = 1e-9);
            }
        }
    }

    /// Images of a and b are (-0.2, 0.4) from their texts on the mean, and so is c, of which there is none.
    #[test]
    fn a_class_without_images_is_where_its_text_says() {
        let shots = set(vec![0.6, 0.8, 0.0, 1.0], 2, &[0, 1]);
        let texts = Mat::from_fn(3, 2, |class, column| [[1.0, 0.0], [0.0, 1.0], [0.6, -0.8]][class][column]);
        let found = Moments::of(&shots).gaussians(&texts, 1.0).unwrap();
        let c: Vec<f64> = found.weights.col_as_slice(2).to_vec(); // no spread: the mean itself
        approx::assert_abs_diff_eq!(&c[..], &[0.4, -0.4][..], epsilon = 1e-6);
        // without any image a text is what there is
        let none = Moments::new(2, 3).gaussians(&texts, 1.0).unwrap();
        approx::assert_abs_diff_eq!(none.weights.col_as_slice(0), &[1.0, 0.0][..], epsilon = 1e-6);
    }
}
