use faer::{
    Mat,
    linalg::solvers::{DenseSolveCore, Solve},
};

use crate::{
    FeatureSet, Result, TextClassifier,
    methods::dense::{cholesky, softmax_rows, unit_rows},
};

/// What is regressed on what.
pub(super) struct Problem<'a> {
    pub labels: &'a [usize],
    counts: Vec<usize>,
    cosines: Mat<f64>,       // F F^T, [shots, shots]
    pub zero_shot: Mat<f64>, // s F W^T, [shots, classes]
    targets: Mat<f64>,       // L - softmax(zero_shot), [shots, classes]
}

impl<'a> Problem<'a> {
    pub fn new(set: &'a FeatureSet, classes: &TextClassifier) -> Self {
        let images = unit_rows(set.embeddings());
        let cosines = &images * images.transpose();
        let zero_shot = &images * unit_rows(classes.weights()).transpose() * classes.logit_scale();
        let mut targets = zero_shot.clone();
        softmax_rows(&mut targets);
        for (row, &label) in set.labels().iter().enumerate() {
            (0..targets.ncols()).for_each(|class| targets[(row, class)] *= -1.0);
            targets[(row, label)] += 1.0;
        }
        Self { labels: set.labels(), counts: set.class_counts(), cosines, zero_shot, targets }
    }

    /// Shots whose class has another one.
    pub fn not_alone(&self) -> Vec<usize> {
        (0..self.labels.len()).filter(|&row| self.counts[self.labels[row]] > 1).collect()
    }

    /// `K + lambda I`.
    fn ridge(&self, beta: f64, lambda: f64) -> Mat<f64> {
        let shots = self.labels.len();
        Mat::from_fn(shots, shots, |row, other| {
            let kernel = (-beta * (1.0 - self.cosines[(row, other)])).exp();
            if row == other { kernel + lambda } else { kernel }
        })
    }

    /// `A`: `[shots, classes]`.
    pub fn solve(&self, beta: f64, lambda: f64) -> Result<Mat<f64>> {
        Ok(cholesky(&self.ridge(beta, lambda), "solving a kernel regression")?.solve(&self.targets))
    }

    /// What the regression on all other shots says of each: `[shots, classes]`.
    pub fn left_out(&self, beta: f64, lambda: f64) -> Result<Mat<f64>> {
        let inverse = cholesky(&self.ridge(beta, lambda), "solving a kernel regression")?.inverse();
        let coefficients = &inverse * &self.targets;
        Ok(Mat::from_fn(self.targets.nrows(), self.targets.ncols(), |row, class| {
            self.targets[(row, class)] - coefficients[(row, class)] / inverse[(row, row)]
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FeatureFile;

    /// Fits without each shot and asks what the regression says of it.
    #[test]
    fn leaving_out_in_closed_form_is_leaving_out() {
        let file = FeatureFile::synthetic(0).unwrap();
        let support = file.support(2, 1).unwrap();
        let whole = Problem::new(support.set(), file.classifier());
        let closed = whole.left_out(5.0, 0.1).unwrap();
        for row in 0..support.set().len() {
            let others: Vec<usize> = (0..support.set().len()).filter(|&other| other != row).collect();
            let set = support.set().select(&others);
            let values = Problem::new(&set, file.classifier()).solve(5.0, 0.1).unwrap();
            for class in 0..file.classifier().class_names().len() {
                let says: f64 = (others.iter().enumerate())
                    .map(|(at, &other)| {
                        (-5.0 * (1.0 - whole.cosines[(row, other)])).exp() * values[(at, class)]
                    })
                    .sum();
                approx::assert_abs_diff_eq!(closed[(row, class)], says, epsilon = 1e-9);
            }
        }
    }
}
