//! Minimising a smooth function of many variables, in f64 on the host: L-BFGS. Burn's own works in f32 on a device,
//! which ends at gradients a thousand times larger than those asked for here.

use std::collections::VecDeque;

use super::dot;

/// Pairs of steps and gradient changes that stand for the curvature.
const MEMORY: usize = 10;

/// The weak Wolfe conditions: a step must gain this part of what the slope promises, and flatten the slope to this.
const DECREASE: f64 = 1e-4;
const CURVATURE: f64 = 0.9;

/// Lengths tried along one direction; with so many the interval is as narrow as f64 can tell.
const TRIES: usize = 50;

/// A function's value and gradient somewhere.
#[derive(Debug)]
pub(crate) struct Point {
    pub at: Vec<f64>,
    pub value: f64,
    pub gradient: Vec<f64>,
}

/// Walks down from `start` until the gradient is shorter than `tolerance`, for at most `iterations` steps, or until
/// rounding hides any descent.
///
/// Nocedal and Wright, Numerical Optimization, 2nd edition, algorithms 7.4 and 7.5; the line search bisects.
pub(crate) fn minimise(
    function: impl Fn(&[f64]) -> (f64, Vec<f64>),
    start: Vec<f64>,
    tolerance: f64,
    iterations: usize,
) -> Point {
    let (value, gradient) = function(&start);
    let mut point = Point { at: start, value, gradient };
    let mut pairs: VecDeque<Pair> = VecDeque::with_capacity(MEMORY);
    for _ in 0..iterations {
        let steepness = dot(&point.gradient, &point.gradient).sqrt();
        if steepness < tolerance {
            break;
        }
        let direction = direction(&point.gradient, &pairs);
        let first = if pairs.is_empty() { 1.0 / steepness } else { 1.0 };
        let Some(next) = search(&function, &point, &direction, first) else { break };
        if pairs.len() == MEMORY {
            pairs.pop_front();
        }
        pairs.push_back(Pair::between(&point, &next));
        point = next;
    }
    point
}

/// One step and what it did to the gradient.
struct Pair {
    step: Vec<f64>,
    change: Vec<f64>,
    inverse: f64, // 1 / (step . change), which the line search keeps positive
}

impl Pair {
    fn between(from: &Point, to: &Point) -> Self {
        let step = difference(&to.at, &from.at);
        let change = difference(&to.gradient, &from.gradient);
        let inverse = 1.0 / dot(&step, &change);
        Self { step, change, inverse }
    }
}

/// The negative gradient times an inverse Hessian that the pairs describe: the two-loop recursion.
fn direction(gradient: &[f64], pairs: &VecDeque<Pair>) -> Vec<f64> {
    let mut direction: Vec<f64> = gradient.iter().map(|slope| -slope).collect();
    let mut weights = Vec::with_capacity(pairs.len());
    for pair in pairs.iter().rev() {
        let weight = pair.inverse * dot(&pair.step, &direction);
        add(&mut direction, -weight, &pair.change);
        weights.push(weight);
    }
    if let Some(last) = pairs.back() {
        let scale = 1.0 / (last.inverse * dot(&last.change, &last.change));
        direction.iter_mut().for_each(|value| *value *= scale);
    }
    for (pair, weight) in pairs.iter().zip(weights.into_iter().rev()) {
        let undone = pair.inverse * dot(&pair.change, &direction);
        add(&mut direction, weight - undone, &pair.step);
    }
    direction
}

/// A point along `direction` that meets both conditions: the length is halved where the value does not fall enough,
/// and grows where the slope is still steep.
fn search(
    function: &impl Fn(&[f64]) -> (f64, Vec<f64>),
    from: &Point,
    direction: &[f64],
    first: f64,
) -> Option<Point> {
    let slope = dot(&from.gradient, direction);
    let (mut low, mut high, mut length) = (0.0, f64::INFINITY, first);
    for _ in 0..TRIES {
        let mut at = from.at.clone();
        add(&mut at, length, direction);
        let (value, gradient) = function(&at);
        let falls = value <= from.value + DECREASE * length * slope; // false for a NaN
        if !falls {
            high = length;
        } else if dot(&gradient, direction) < CURVATURE * slope {
            low = length;
        } else {
            return Some(Point { at, value, gradient });
        }
        length = if high.is_finite() { (low + high) / 2.0 } else { 2.0 * low };
    }
    None
}

fn difference(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

fn add(to: &mut [f64], weight: f64, values: &[f64]) {
    to.iter_mut().zip(values).for_each(|(to, value)| *to += weight * value);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `sum_i (i + 1) (x_i - i)^2 / 2`, whose curvature differs by a factor of 30 among its axes.
    #[test]
    fn a_quadratic_ends_at_its_minimum() {
        let quadratic = |x: &[f64]| {
            let slopes: Vec<f64> =
                x.iter().enumerate().map(|(i, x)| (i + 1) as f64 * (x - i as f64)).collect();
            let value = x.iter().enumerate().zip(&slopes).map(|((i, x), slope)| slope * (x - i as f64));
            (value.sum::<f64>() / 2.0, slopes)
        };
        let end = minimise(quadratic, vec![100.0; 30], 1e-9, 200);
        assert!(dot(&end.gradient, &end.gradient).sqrt() < 1e-9);
        assert!(end.value < 1e-18);
        assert!(end.at.iter().enumerate().all(|(i, x)| (x - i as f64).abs() < 1e-9));
    }

    /// Rosenbrock's curved valley, from the far side of its bend.
    #[test]
    fn a_curved_valley_is_followed_to_its_end() {
        let rosenbrock = |x: &[f64]| {
            let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
            (a * a + 100.0 * b * b, vec![-2.0 * a - 400.0 * x[0] * b, 200.0 * b])
        };
        let end = minimise(rosenbrock, vec![-1.2, 1.0], 1e-8, 200);
        assert!((end.at[0] - 1.0).abs() < 1e-7 && (end.at[1] - 1.0).abs() < 1e-7, "{:?}", end.at);
        let early = minimise(rosenbrock, vec![-1.2, 1.0], 1e-8, 3);
        assert!(early.value > end.value && early.value < rosenbrock(&[-1.2, 1.0]).0);
    }

    #[test]
    fn nothing_to_gain_leaves_the_start() {
        let end = minimise(|x| (1.0, vec![0.0; x.len()]), vec![3.0, 4.0], 1e-9, 10);
        assert_eq!((end.at, end.value), (vec![3.0, 4.0], 1.0));
        let wrong = minimise(|x| (x[0], vec![-1.0]), vec![0.0], 1e-9, 10);
        assert_eq!(wrong.at, [0.0], "no step falls along a slope that points the wrong way");
    }
}
