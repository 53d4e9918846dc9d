//! Sparse non-negative regression on unit vectors.

use std::collections::HashMap;

use faer::Mat;

use super::Splice;

/// A weight that changes by less does not change.
const STILL: f64 = 1e-10;

/// Minimises `|C^T w - v|^2 + lambda sum w` over `w >= 0` by coordinate descent, for one unit vector after the other.
pub(super) struct Solver<'a> {
    directions: &'a Mat<f64>, // C, unit rows [words, dim]
    settings: &'a Splice,
    /// Columns of `C C^T`, of the words that were ever needed: few of many.
    columns: HashMap<usize, Vec<f64>>,
}

/// The weights above 0, largest first, and how far the objective may be from its least value.
pub(super) struct Solution {
    pub weights: Vec<(usize, f64)>,
    pub gap: f64,
}

impl<'a> Solver<'a> {
    pub fn new(directions: &'a Mat<f64>, settings: &'a Splice) -> Self {
        Self { directions, settings, columns: HashMap::new() }
    }

    /// `cosines` are `C v`, of a unit vector.
    pub fn solve(&mut self, cosines: &[f64]) -> Solution {
        let half = self.settings.lambda / 2.0;
        let mut weights = vec![0.0; cosines.len()];
        let mut left = cosines.to_vec(); // C (v - C^T w)
        let mut gap = f64::INFINITY;
        for _ in 0..self.settings.rounds {
            // Those that matter most first: most others are explained by them.
            let mut order: Vec<usize> =
                (0..left.len()).filter(|&at| weights[at] > 0.0 || left[at] > half).collect();
            order.sort_by(|&one, &other| {
                (left[other] + weights[other]).total_cmp(&(left[one] + weights[one])).then(one.cmp(&other))
            });
            for at in order {
                let weight = (weights[at] + left[at] - half).max(0.0);
                let step = weight - weights[at];
                if step.abs() > STILL {
                    weights[at] = weight;
                    let column = self.column(at);
                    left.iter_mut().zip(column).for_each(|(left, cosine)| *left -= step * cosine);
                }
            }
            gap = duality_gap(&weights, cosines, &left, half);
            if gap <= self.settings.tolerance {
                break;
            }
        }
        let mut weights: Vec<(usize, f64)> =
            weights.into_iter().enumerate().filter(|(_, weight)| *weight > 0.0).collect();
        weights.sort_by(|one, other| other.1.total_cmp(&one.1).then(one.0.cmp(&other.0)));
        Solution { weights, gap }
    }

    fn column(&mut self, word: usize) -> &[f64] {
        let directions = self.directions;
        self.columns.entry(word).or_insert_with(|| {
            let product = directions * directions.row(word).transpose();
            (0..product.nrows()).map(|at| product[at]).collect()
        })
    }
}

/// The objective less the dual one at the residual `r`, scaled so that no word is correlated with it by more than
/// `lambda / 2`.
fn duality_gap(weights: &[f64], cosines: &[f64], left: &[f64], half: f64) -> f64 {
    let dot = |values: &[f64]| weights.iter().zip(values).map(|(weight, value)| weight * value).sum::<f64>();
    let (with_v, with_r) = (dot(cosines), dot(left));
    let residual = 1.0 - with_v - with_r; // |r|^2 = |v|^2 - w C v - w C r
    let primal = residual + 2.0 * half * weights.iter().sum::<f64>();
    let most = left.iter().copied().fold(0.0, f64::max);
    let scale = if most > half { half / most } else { 1.0 };
    let dual = 2.0 * scale * (1.0 - with_v) - scale * scale * residual;
    primal - dual
}

#[cfg(test)]
mod tests {
    use super::*;

    fn solve(directions: &Mat<f64>, v: &[f64], lambda: f64) -> Solution {
        let settings = Splice { lambda, ..Default::default() };
        let cosines: Vec<f64> = (0..directions.nrows())
            .map(|row| (0..v.len()).map(|column| directions[(row, column)] * v[column]).sum())
            .collect();
        Solver::new(directions, &settings).solve(&cosines)
    }

    /// Of directions at right angles every weight is the cosine less `lambda / 2`.
    #[test]
    fn axes_are_cut_off() {
        let axes = Mat::<f64>::identity(3, 3);
        let found = solve(&axes, &[0.8, 0.6, 0.0], 0.4);
        assert_eq!(found.weights.iter().map(|(word, _)| *word).collect::<Vec<_>>(), [0, 1]);
        approx::assert_abs_diff_eq!(found.weights[0].1, 0.6, epsilon = 1e-12);
        approx::assert_abs_diff_eq!(found.weights[1].1, 0.4, epsilon = 1e-12);
        assert!(found.gap.abs() < 1e-12);
        assert!(solve(&axes, &[-1.0, 0.0, 0.0], 0.1).weights.is_empty());
    }

    /// The optimality conditions: a word in use is correlated with what is left by `lambda / 2`, another one by no more.
    #[test]
    fn what_is_left_is_explained_by_no_word() {
        let value =
            |row: usize, column: usize| ((row * 7 + column * column * 3 + row * column) % 13) as f64 - 6.0;
        let raw = Mat::from_fn(20, 8, value);
        let norm = |row: usize| (0..8).map(|column| raw[(row, column)].powi(2)).sum::<f64>().sqrt();
        let directions = Mat::from_fn(20, 8, |row, column| raw[(row, column)] / norm(row));
        let v: Vec<f64> = (0..8).map(|at| if at < 4 { 0.5 } else { 0.0 }).collect();
        let found = solve(&directions, &v, 0.1);
        assert!(found.gap <= 1e-6 && found.weights.len() > 1, "{} {}", found.gap, found.weights.len());
        let left: Vec<f64> = (0..8)
            .map(|column| {
                v[column] - found.weights.iter().map(|&(word, w)| w * directions[(word, column)]).sum::<f64>()
            })
            .collect();
        for row in 0..20 {
            let with: f64 = (0..8).map(|column| directions[(row, column)] * left[column]).sum();
            assert!(with <= 0.05 + 1e-3);
            if found.weights.iter().any(|(word, _)| *word == row) {
                approx::assert_abs_diff_eq!(with, 0.05, epsilon = 1e-3);
            }
        }
    }
}
