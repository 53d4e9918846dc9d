use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::features::{FeatureSet, Support, TextClassifier};
use crate::train::{AnyMethod, Run};

/// So many shots of a class are the least that a curve is drawn through.
const LEAST: f64 = 4.0;

/// Different draws of each number of shots.
const DRAWS: usize = 4;

/// Of more images than this nobody plans.
const MOST_SHOTS: usize = 4096;

/// So many shots of a class the texts count as. CLIP knows the classes before the first shot, so that the error falls late: a
/// power of `m` alone is too low nearly everywhere.
const HEAD_START: f64 = 4.0;

/// How the accuracy on unseen shots grows with their number, and where it seems to go: `error = a (m + 4)^-b` at `m` shots.
///
/// The texts count as four shots, a number that training images chose. It is pessimistic, since few shots are all it sees:
/// read it as "at least about". What 4 shots say of 16 is 2.3 points off on four files of real features, and what 8 say 2.7; of
/// these most is due to one file whose test images are easier than its shots, and without it 1.1 and 1.3 are left. 2 shots are
/// refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LearningCurve {
    /// What was measured, from few shots to many.
    pub points: Vec<CurvePoint>,
    /// Where the error starts from, as a part of 1: `a 5^-b` at one shot.
    pub a: f64,
    /// How fast the error falls, 0 or more.
    pub b: f64,
}

/// The accuracy at a number of shots.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CurvePoint {
    /// Shots of a class that were fitted.
    pub shots: usize,
    /// Right answers about the others, in percent.
    pub accuracy: f64,
    /// The number of answers, over all draws.
    pub answers: usize,
}

impl LearningCurve {
    /// What the curve says of so many shots, in percent.
    pub fn accuracy_at(&self, shots: usize) -> f64 {
        100.0 * (1.0 - (self.a * (shots.max(1) as f64 + HEAD_START).powf(-self.b)).min(1.0))
    }

    /// The least number of shots of a class at which the curve reaches an accuracy in percent: "at least about so many".
    /// None if that is more than 4,096.
    pub fn shots_for(&self, accuracy: f64) -> Option<usize> {
        if self.accuracy_at(1) >= accuracy {
            return Some(1);
        }
        let error = 1.0 - accuracy / 100.0;
        let shots = ((self.a / error).powf(1.0 / self.b) - HEAD_START).ceil();
        (error > 0.0 && shots <= MOST_SHOTS as f64).then_some(shots as usize)
    }

    /// Least squares through the logarithms, in which a point weighs as much as it has errors: its logarithm is so sure.
    fn through(points: Vec<CurvePoint>) -> Self {
        let (mut weights, mut x, mut y, mut xx, mut xy) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for point in &points {
            let errors = (1.0 - point.accuracy / 100.0) * point.answers as f64;
            let weight = errors + 0.5; // half an error more, so that none is not impossible
            let (log_shots, log_error) =
                ((point.shots as f64 + HEAD_START).ln(), (weight / (point.answers as f64 + 1.0)).ln());
            weights += weight;
            x += weight * log_shots;
            y += weight * log_error;
            xx += weight * log_shots * log_shots;
            xy += weight * log_shots * log_error;
        }
        let spread = xx - x * x / weights;
        let slope = if spread > 1e-12 { (xy - x * y / weights) / spread } else { 0.0 };
        let b = (-slope).max(0.0);
        Self { points, a: ((y + b * x) / weights).exp(), b }
    }
}

/// Fits a method on 1, 2, 4, .. shots of each class, asks it about the others, and lays a curve through what it has right.
///
/// Up to four draws of each number, which are parts of the shots in turn; up to `K - 1` of `K` shots. It takes as long as
/// some fifteen fits.
///
/// # Errors
/// As [`Method::fit_with`](crate::Method::fit_with); [`Error::Data`] if the classes have fewer than 4 shots on average.
///
/// # Examples
/// ```
/// use clip_adapter::{AutoAdapter, explain::learning_curve, prelude::*};
///
/// let (file, device) = (FeatureFile::synthetic(0)?, Device::flex());
/// let method = AutoAdapter::default();
/// let curve = learning_curve(&method, &file.support(8, 1)?, file.classifier(), &mut Run::new(&device))?;
/// assert!(curve.accuracy_at(16) > curve.points[0].accuracy);
/// println!("for 95 %: at least about {:?} images a class", curve.shots_for(95.0));
/// assert!(learning_curve(&method, &file.support(2, 1)?, file.classifier(), &mut Run::new(&device)).is_err());
/// # Ok::<(), clip_adapter::Error>(())
/// ```
pub fn learning_curve(
    method: &dyn AnyMethod,
    support: &Support,
    classes: &TextClassifier,
    run: &mut Run<'_>,
) -> Result<LearningCurve> {
    support.check(classes)?;
    let set = support.set();
    let shots = set.shots_a_class();
    if shots < LEAST {
        let found = format!("{shots:.1}");
        return Err(Error::data("shots a class for a learning curve", format!("{LEAST} or more"), found));
    }
    let numbers = numbers(shots as usize);
    let fits = numbers.len() * DRAWS;
    let mut points = Vec::new();
    for (at, &number) in numbers.iter().enumerate() {
        let (mut right, mut answers) = (0, 0);
        for draw in 0..DRAWS {
            let (fitted, others) = draw_of(set, number, draw);
            let mut part = run.part(DRAWS * at + draw, fits, format!("curve, {number} shots"));
            let model = method.fit_any(&Support::new(set.select(&fitted))?, classes, &mut part)?;
            let others = set.select(&others);
            let said = model.score(others.embeddings())?;
            right +=
                said.predictions().zip(others.labels()).filter(|(answer, label)| answer == *label).count();
            answers += others.len();
        }
        points.push(CurvePoint { shots: number, accuracy: 100.0 * right as f64 / answers as f64, answers });
    }
    Ok(LearningCurve::through(points))
}

/// 1, 2, 4, .. below `shots - 1`, and that.
fn numbers(shots: usize) -> Vec<usize> {
    let mut numbers: Vec<usize> =
        (0..usize::BITS).map(|power| 1 << power).take_while(|&number| number < shots - 1).collect();
    numbers.push(shots - 1);
    numbers
}

/// The rows of a part of each class, from another one on in each draw, and all others; of a class with fewer shots one is
/// always among the others.
fn draw_of(set: &FeatureSet, number: usize, draw: usize) -> (Vec<usize>, Vec<usize>) {
    let counts = set.class_counts();
    let mut seen = vec![0; counts.len()];
    (0..set.len()).partition(|&row| {
        let (class, count) = (set.labels()[row], counts[set.labels()[row]]);
        let turned = (seen[class] + draw * count / DRAWS) % count;
        seen[class] += 1;
        turned < number.min((count - 1).max(1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::FeatureFile;

    #[test]
    fn a_power_law_is_found_again() {
        let point = |shots: usize| CurvePoint {
            shots,
            accuracy: 100.0 * (1.0 - 0.9 * (shots as f64 + 4.0).powf(-0.7)),
            answers: 100_000_000,
        };
        let curve = LearningCurve::through([1, 2, 4, 7].map(point).to_vec());
        approx::assert_abs_diff_eq!(curve.a, 0.9, epsilon = 1e-6);
        approx::assert_abs_diff_eq!(curve.b, 0.7, epsilon = 1e-6);
        approx::assert_abs_diff_eq!(curve.accuracy_at(16), 88.945948, epsilon = 1e-5); // 0.9 / 20^0.7
        assert_eq!(curve.shots_for(95.0), Some(59)); // 18^(1 / 0.7) is 62.1
        assert_eq!(
            (curve.shots_for(50.0), curve.shots_for(100.0), curve.shots_for(99.99)),
            (Some(1), None, None)
        );
    }

    #[test]
    fn an_error_that_grows_is_taken_as_level() {
        let point = |shots: usize| CurvePoint { shots, accuracy: 90.0 - shots as f64, answers: 1000 };
        let curve = LearningCurve::through([1, 2, 3].map(point).to_vec());
        assert_eq!(curve.b, 0.0);
        assert_eq!(curve.shots_for(99.0), None);
    }

    #[test]
    fn draws_are_disjoint_where_there_are_enough() {
        assert_eq!(
            [numbers(4), numbers(5), numbers(16)],
            [vec![1, 2, 3], vec![1, 2, 4], vec![1, 2, 4, 8, 15]]
        );
        let support = FeatureFile::synthetic(0).unwrap().support(4, 1).unwrap();
        let set = support.set();
        let mut drawn: Vec<usize> = (0..4).flat_map(|draw| draw_of(set, 1, draw).0).collect();
        drawn.sort_unstable();
        assert_eq!(drawn, (0..set.len()).collect::<Vec<_>>());
        let (fitted, others) = draw_of(set, 3, 2);
        assert_eq!((fitted.len(), others.len()), (24, 8));
        let uneven = set.select(&[0, 1, 2, 3, 4]); // four of a class, one of another
        assert_eq!(draw_of(&uneven, 3, 0), (vec![0, 1, 2, 4], vec![3]));
    }
}
