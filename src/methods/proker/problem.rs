use faer::{
    Mat,
    linalg::solvers::{DenseSolveCore, Solve},
};

use crate::error::Result;
use crate::features::{FeatureSet, TextClassifier};
use crate::numerics::{cholesky, softmax_rows};

/// What is regressed on what.
pub(in crate::methods) struct Problem<'a> {
    labels: &'a [usize],
    weights: Vec<f64>,
    cosines: Mat<f64>,       // F F^T, [shots, shots]
    pub zero_shot: Mat<f64>, // s F W^T, [shots, classes]
    targets: Mat<f64>,       // L - softmax(zero_shot), [shots, classes]
}

impl<'a> Problem<'a> {
    pub fn new(set: &'a FeatureSet, classes: &TextClassifier) -> Self {
        let images = set.embeddings().unit_rows();
        let cosines = &images * images.transpose();
        let zero_shot = classes.logits_on_host(set.embeddings());
        let mut targets = zero_shot.clone();
        softmax_rows(&mut targets);
        for (row, &label) in set.labels().iter().enumerate() {
            (0..targets.ncols()).for_each(|class| targets[(row, class)] *= -1.0);
            targets[(row, label)] += 1.0;
        }
        let weights = set.image_weights();
        Self { labels: set.labels(), weights, cosines, zero_shot, targets }
    }

    /// The labels of all groups, one group after the other.
    pub fn labels_of(&self, groups: &[Vec<usize>]) -> Vec<usize> {
        groups.iter().flatten().map(|&row| self.labels[row]).collect()
    }

    /// The lower half of `K + lambda I`, in which a shot that weighs more is pulled less.
    fn ridge(&self, beta: f64, lambda: f64) -> Mat<f64> {
        let shots = self.labels.len();
        Mat::from_fn(shots, shots, |row, other| {
            if row < other {
                return 0.0;
            }
            let kernel = (-beta * (1.0 - self.cosines[(row, other)])).exp();
            if row == other { kernel + lambda / self.weights[row] } else { kernel }
        })
    }

    /// How many numbers the regression has in effect: `tr(K (K + lambda I)^-1) = N - lambda tr((K + lambda I)^-1)` where
    /// all shots weigh the same.
    pub fn degrees_of_freedom(&self, beta: f64, lambda: f64) -> Result<f64> {
        let inverse = cholesky(&self.ridge(beta, lambda), "counting degrees of freedom")?.inverse();
        let pulled: f64 =
            self.weights.iter().enumerate().map(|(row, weight)| inverse[(row, row)] / weight).sum();
        Ok(self.labels.len() as f64 - lambda * pulled)
    }

    /// How far shots that are alike lack the same: `tr(T^T K T) / (N |T|^2)` of the targets `T`, 0..=1.
    pub fn alignment(&self, beta: f64) -> f64 {
        let shots = self.labels.len();
        let kernel =
            Mat::from_fn(shots, shots, |row, other| (-beta * (1.0 - self.cosines[(row, other)])).exp());
        let smoothed = &kernel * &self.targets;
        let (mut inner, mut square) = (0.0, 0.0);
        for class in 0..self.targets.ncols() {
            for row in 0..shots {
                inner += self.targets[(row, class)] * smoothed[(row, class)];
                square += self.targets[(row, class)].powi(2);
            }
        }
        if square == 0.0 { 0.0 } else { inner / (shots as f64 * square) }
    }

    /// `A`: `[shots, classes]`.
    pub fn solve(&self, beta: f64, lambda: f64) -> Result<Mat<f64>> {
        Ok(cholesky(&self.ridge(beta, lambda), "solving a kernel regression")?.solve(&self.targets))
    }

    /// What the regression on all other shots says of a group of them, of one group after the other:
    /// `[shots of all groups, classes]`. The others keep the weights that they have in the whole set.
    pub fn left_out(&self, beta: f64, lambda: f64, groups: &[Vec<usize>]) -> Result<Mat<f64>> {
        const DOING: &str = "leaving shots out of a kernel regression";
        let inverse = cholesky(&self.ridge(beta, lambda), DOING)?.inverse();
        let coefficients = &inverse * &self.targets;
        let classes = self.targets.ncols();
        let mut says = Mat::<f64>::zeros(groups.iter().map(Vec::len).sum(), classes);
        let mut start = 0;
        for group in groups {
            let among = |row: usize, other: usize| inverse[(group[row], group[other])];
            let of_group = |row: usize, class: usize| coefficients[(group[row], class)];
            let block = Mat::from_fn(group.len(), group.len(), among);
            let missed = cholesky(&block, DOING)?.solve(&Mat::from_fn(group.len(), classes, of_group));
            for (row, &shot) in group.iter().enumerate() {
                for class in 0..classes {
                    says[(start + row, class)] = self.targets[(shot, class)] - missed[(row, class)];
                }
            }
            start += group.len();
        }
        Ok(says)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::FeatureFile;
    use faer::Side;

    /// The trace of a product, and the sum over eigenvalues: `sum_i k_i / (k_i + lambda)`.
    #[test]
    fn degrees_of_freedom_both_ways() {
        let file = FeatureFile::synthetic(0).unwrap();
        let support = file.support(4, 1).unwrap();
        let problem = Problem::new(support.set(), file.classifier());
        let shots = support.set().len();
        let kernel =
            Mat::from_fn(shots, shots, |row, other| (-5.0 * (1.0 - problem.cosines[(row, other)])).exp());
        let eigenvalues = kernel.self_adjoint_eigenvalues(Side::Lower).unwrap();
        for lambda in [1e-3, 0.1, 10.0] {
            let sum: f64 = eigenvalues.iter().map(|value| value / (value + lambda)).sum();
            let trace = problem.degrees_of_freedom(5.0, lambda).unwrap();
            approx::assert_abs_diff_eq!(trace, sum, epsilon = 1e-9);
            assert!(trace > 0.0 && trace < shots as f64);
        }
        let alignment = problem.alignment(5.0);
        assert!(alignment > 0.0 && alignment <= 1.0, "{alignment}");
        // K is the identity, but for cosines in f32 that are not quite 1.
        approx::assert_abs_diff_eq!(problem.alignment(1e9), 1.0 / shots as f64, epsilon = 1e-6);
    }

    /// Fits without each group and asks what the regression says of it.
    #[test]
    fn leaving_out_in_closed_form_is_leaving_out() {
        let file = FeatureFile::synthetic(0).unwrap();
        let support = file.support(2, 1).unwrap();
        let whole = Problem::new(support.set(), file.classifier());
        let shots = support.set().len();
        let groups = [vec![0, 5, 6], vec![3], (0..shots - 1).collect()];
        let closed = whole.left_out(5.0, 0.1, &groups).unwrap();
        assert_eq!((closed.nrows(), closed.ncols()), (4 + shots - 1, 8));
        let rows = groups.iter().flat_map(|group| group.iter().map(move |&row| (group, row)));
        for (at, (group, row)) in rows.enumerate() {
            let others: Vec<usize> = (0..shots).filter(|other| !group.contains(other)).collect();
            let set = support.set().select(&others);
            let values = Problem::new(&set, file.classifier()).solve(5.0, 0.1).unwrap();
            for class in 0..closed.ncols() {
                let says: f64 = (others.iter().enumerate())
                    .map(|(at, &other)| {
                        (-5.0 * (1.0 - whole.cosines[(row, other)])).exp() * values[(at, class)]
                    })
                    .sum();
                approx::assert_abs_diff_eq!(closed[(at, class)], says, epsilon = 1e-9);
            }
        }
    }
}
