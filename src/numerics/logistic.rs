//! Logistic regression that is pulled towards nothing: what one person's thumbs and choices between pairs come down to.

use super::{dot, minimise};

/// Where the descent ends: a gradient shorter than this, or so many steps.
const TOLERANCE: f64 = 1e-8;
const STEPS: usize = 200;

/// `sum_i u_i log(1 + exp(-y_i (o_i + w x_i))) + lambda/2 |w|^2`, strictly convex in `w`.
#[derive(Debug, Default)]
pub(crate) struct LogisticRidge {
    pub rows: Vec<Vec<f64>>, // x
    pub signs: Vec<f64>,     // y, 1 or -1
    pub offsets: Vec<f64>,   // o
    pub weights: Vec<f64>,   // u
    pub lambda: f64,
}

impl LogisticRidge {
    /// The value and its gradient.
    pub fn objective(&self, w: &[f64]) -> (f64, Vec<f64>) {
        let mut value = self.lambda / 2.0 * dot(w, w);
        let mut gradient: Vec<f64> = w.iter().map(|w| self.lambda * w).collect();
        let examples = self.rows.iter().zip(&self.signs).zip(self.offsets.iter().zip(&self.weights));
        for ((x, sign), (offset, weight)) in examples {
            let margin = sign * (offset + dot(w, x));
            value += weight * ((-margin.abs()).exp().ln_1p() + (-margin).max(0.0));
            let slope = -weight * sign / (1.0 + margin.exp());
            gradient.iter_mut().zip(x).for_each(|(g, x)| *g += slope * x);
        }
        (value, gradient)
    }

    /// The `w` of width `dim` at the minimum.
    pub fn solve(&self, dim: usize) -> Vec<f64> {
        minimise(|w| self.objective(w), vec![0.0; dim], TOLERANCE, STEPS).at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examples() -> LogisticRidge {
        let number = |at: usize| ((at * 37 + 11) % 23) as f64 / 11.0 - 1.0;
        LogisticRidge {
            rows: (0..5).map(|row| (0..4).map(|column| number(row * 4 + column)).collect()).collect(),
            signs: vec![1.0, -1.0, 1.0, -1.0, -1.0],
            offsets: vec![0.3, -2.0, 0.0, 800.0, 1.0],
            weights: vec![1.0, 0.5, 1.0, 1.0, 2.0],
            lambda: 0.3,
        }
    }

    #[test]
    fn the_objectives_slope_is_its_gradient() {
        let examples = examples();
        let at = [0.4, -0.2, 1.1, 0.0];
        let (value, gradient) = examples.objective(&at);
        assert!(value.is_finite());
        for column in 0..4 {
            let value = |by: f64| {
                let mut moved = at;
                moved[column] += by;
                examples.objective(&moved).0
            };
            let slope = (value(1e-5) - value(-1e-5)) / 2e-5;
            approx::assert_abs_diff_eq!(slope, gradient[column], epsilon = 1e-5);
        }
    }

    #[test]
    fn the_minimum_has_no_slope_and_a_weight_is_a_repetition() {
        let mut examples = examples();
        let at = examples.solve(4);
        assert!(examples.objective(&at).1.iter().all(|slope| slope.abs() < 1e-7));
        examples.weights[4] = 1.0;
        examples.rows.push(examples.rows[4].clone());
        examples.signs.push(-1.0);
        examples.offsets.push(1.0);
        examples.weights.push(1.0);
        approx::assert_abs_diff_eq!(&at[..], &examples.solve(4)[..], epsilon = 1e-6);
    }
}
