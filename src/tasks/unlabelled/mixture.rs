use faer::Mat;

use crate::features::FeatureSet;

/// A class starts as the mean of so many images that are likeliest to be of it, as in the authors' code.
const SUREST: usize = 8;

/// Below this, a variance would make images that are all alike infinitely certain.
const LEAST_VARIANCE: f64 = 1e-9;

/// What the mixture is fitted to: unlabelled images, and what shots add to every sum over them.
pub(super) struct Sample {
    pub images: Mat<f64>, // unit rows [images, dim]
    shots: Mat<f64>,      // weighted sum of the shots of each class, [classes, dim]
    mass: Vec<f64>,       // weight of the shots of each class
    squares: Vec<f64>,    // weighted sum over images and shots of x^2, [dim]
}

impl Sample {
    /// Images alone.
    pub fn new(images: Mat<f64>, classes: usize) -> Self {
        let square =
            |column: usize| -> f64 { (0..images.nrows()).map(|row| images[(row, column)].powi(2)).sum() };
        let squares = (0..images.ncols()).map(square).collect();
        let shots = Mat::<f64>::zeros(classes, images.ncols());
        Self { images, shots, mass: vec![0.0; classes], squares }
    }

    /// Adds shots, each of which counts as much as `weight` images.
    pub fn add(&mut self, set: &FeatureSet, weight: f64) {
        let rows = set.embeddings().unit_rows();
        for ((row, &class), of_image) in set.labels().iter().enumerate().zip(set.image_weights()) {
            let weight = weight * of_image;
            self.mass[class] += weight;
            for column in 0..rows.ncols() {
                self.shots[(class, column)] += weight * rows[(row, column)];
                self.squares[column] += weight * rows[(row, column)].powi(2);
            }
        }
    }
}

/// One Gaussian a class, with unit means and one diagonal covariance that all classes share.
pub(super) struct Mixture {
    means: Mat<f64>, // [classes, dim]
    variance: Vec<f64>,
}

impl Mixture {
    /// From the surest images of each class, by their log probabilities `[classes, images]`.
    pub fn start(sample: &Sample, log_y: &Mat<f64>) -> Self {
        let (count, dim) = (sample.images.nrows(), sample.images.ncols());
        let mut means = Mat::<f64>::zeros(log_y.nrows(), dim);
        let mut order: Vec<usize> = Vec::with_capacity(count);
        for class in 0..log_y.nrows() {
            order.clear();
            order.extend(0..count);
            let surer = |a: &usize, b: &usize| {
                log_y[(class, *b)].total_cmp(&log_y[(class, *a)]).then_with(|| a.cmp(b))
            };
            let kept = SUREST.min(count);
            order.select_nth_unstable_by(kept - 1, surer);
            order[..kept].sort_unstable_by(surer);
            for &row in &order[..kept] {
                // Relative to the surest, so that a class far from every image does not vanish.
                let weight = (log_y[(class, row)] - log_y[(class, order[0])]).exp();
                for column in 0..dim {
                    means[(class, column)] += weight * sample.images[(row, column)];
                }
            }
        }
        let mut mixture =
            Self { means: Mat::zeros(log_y.nrows(), dim), variance: vec![1.0 / dim as f64; dim] };
        mixture.set_means(&means);
        mixture
    }

    /// Every class's mean becomes the direction of a sum; where there is none, it stays.
    fn set_means(&mut self, sums: &Mat<f64>) {
        for class in 0..sums.nrows() {
            let square: f64 = (0..sums.ncols()).map(|column| sums[(class, column)].powi(2)).sum();
            if square > 0.0 {
                for column in 0..sums.ncols() {
                    self.means[(class, column)] = sums[(class, column)] / square.sqrt();
                }
            }
        }
    }

    /// `log p(x | c)` up to a number that all classes share, as a linear layer: `[classes, dim]`, and what is taken off.
    pub fn linear(&self) -> (Mat<f64>, Vec<f64>) {
        let (classes, dim) = (self.means.nrows(), self.means.ncols());
        let scaled =
            Mat::from_fn(classes, dim, |class, column| self.means[(class, column)] / self.variance[column]);
        let half_square = |class: usize| -> f64 {
            (0..dim).map(|column| self.means[(class, column)] * scaled[(class, column)]).sum::<f64>() / 2.0
        };
        let offsets = (0..classes).map(half_square).collect();
        (scaled, offsets)
    }

    /// `log p(x_i | c)` up to a number that all classes share: `[classes, images]`.
    pub fn log_likelihood(&self, sample: &Sample) -> Mat<f64> {
        let (scaled, offsets) = self.linear();
        let product = &scaled * sample.images.transpose();
        Mat::from_fn(product.nrows(), product.ncols(), |class, image| {
            product[(class, image)] - offsets[class]
        })
    }

    /// Means and variance that fit the assignments `z`, `[classes, images]`, and the shots best.
    pub fn update(&mut self, sample: &Sample, z: &Mat<f64>) {
        let sums = z * &sample.images + &sample.shots; // [classes, dim]
        self.set_means(&sums);
        let classes = z.nrows();
        let of_class = |class: usize| -> f64 { (0..z.ncols()).map(|image| z[(class, image)]).sum() };
        let mass: Vec<f64> = (0..classes).map(|class| of_class(class) + sample.mass[class]).collect();
        let total: f64 = mass.iter().sum();
        for (column, variance) in self.variance.iter_mut().enumerate() {
            let cross = |class: usize| {
                let mean = self.means[(class, column)];
                mean * (mass[class] * mean - 2.0 * sums[(class, column)])
            };
            let scatter = sample.squares[column] + (0..classes).map(cross).sum::<f64>();
            *variance = (scatter / total).max(LEAST_VARIANCE);
        }
    }
}
