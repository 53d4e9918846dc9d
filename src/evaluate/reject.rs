use serde::{Deserialize, Serialize};

use super::Logits;
use crate::error::{Error, Result};
use crate::numerics::{argmax, log_softmax};

/// The option to give no answer: images less sure than a threshold are left to a person.
///
/// An image is answered if the probability of its likeliest class is at least the threshold, which is chosen on
/// calibration images (Geifman and El-Yaniv, 2017, <https://arxiv.org/abs/1705.08500>).
///
/// # Examples
/// ```
/// use clip_adapter::evaluate::{Logits, Reject};
///
/// let logits = Logits::new(vec![4.0, 0.0, 3.0, 0.0, 0.0, 2.0, 1.0, 0.0], 2)?;
/// let labels = [0, 0, 0, 1]; // the two least sure ones are wrong
/// let reject = Reject::for_accuracy(&logits, &labels, 0.9)?;
/// assert_eq!(reject.predict(&logits), [Some(0), Some(0), None, None]);
/// let report = reject.evaluate(&logits, &labels)?;
/// assert_eq!((report.coverage, report.accuracy), (50.0, Some(100.0)));
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reject {
    threshold: f64,
}

/// What answering only where it is sure gives, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RejectReport {
    /// Images that are answered.
    pub coverage: f64,
    /// Right answers among those; none if nothing is answered.
    pub accuracy: Option<f64>,
}

/// How the errors among the answers grow with the answers, in percent: surest images first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RiskCoverage {
    /// Coverage and risk, the wrong ones among the answers, for every threshold that changes them.
    pub points: Vec<[f64; 2]>,
    /// The mean risk over the thresholds of all images: the lower, the better errors are told by their
    /// probability.
    pub area: f64,
}

impl Reject {
    /// The threshold that answers most calibration images while `accuracy`, 0..=1, of the answers are right.
    /// The images must be others than were fitted.
    ///
    /// # Errors
    /// [`Error::Data`] if there is no image, not one label an image, a label that is no class, or no threshold
    /// reaches the accuracy; [`Error::Setting`] if it is not in 0..=1.
    pub fn for_accuracy(logits: &Logits, labels: &[usize], accuracy: f64) -> Result<Self> {
        logits.check_labels(labels)?;
        check_part("accuracy", accuracy)?;
        let steps = steps(logits, labels);
        let reached = |step: &&Step| step.right as f64 >= accuracy * step.answered as f64;
        match steps.iter().rev().find(reached) {
            Some(step) => Ok(Self { threshold: step.threshold }),
            None => {
                let part = |step: &Step| step.right as f64 / step.answered as f64;
                let best = steps.iter().map(part).fold(0.0, f64::max);
                let expected = format!("a threshold above which {accuracy} are right");
                Err(Error::data("calibration images", expected, format!("{best:.4} at most")))
            }
        }
    }

    /// The highest threshold that answers at least `coverage`, 0..=1, of these images, which need no labels.
    ///
    /// # Errors
    /// [`Error::Data`] if there is no image, [`Error::Setting`] if the coverage is not in 0..=1.
    pub fn for_coverage(logits: &Logits, coverage: f64) -> Result<Self> {
        check_part("coverage", coverage)?;
        let mut sure: Vec<f64> = logits.rows().map(|row| confidence(row).1).collect();
        sure.sort_by(|a, b| b.total_cmp(a));
        let answered = ((sure.len() as f64 * coverage - 1e-9).ceil() as usize).max(1);
        match sure.get(answered - 1) {
            Some(&threshold) => Ok(Self { threshold }),
            None => Err(Error::data("calibration images", "at least one", "none")),
        }
    }

    /// The least probability that is answered.
    pub fn threshold(&self) -> f64 {
        self.threshold
    }

    /// The likeliest class of every image, or none where it is not sure enough.
    pub fn predict(&self, logits: &Logits) -> Vec<Option<usize>> {
        let answer = |row| {
            let (class, sure) = confidence(row);
            (sure >= self.threshold).then_some(class)
        };
        logits.rows().map(answer).collect()
    }

    /// Counts the answers and how many are right.
    ///
    /// # Errors
    /// [`Error::Data`] if there is no image, not one label an image, or a label that is no class.
    pub fn evaluate(&self, logits: &Logits, labels: &[usize]) -> Result<RejectReport> {
        logits.check_labels(labels)?;
        let (mut answered, mut right) = (0, 0);
        for (answer, &label) in self.predict(logits).into_iter().zip(labels) {
            answered += usize::from(answer.is_some());
            right += usize::from(answer == Some(label));
        }
        Ok(RejectReport {
            coverage: 100.0 * answered as f64 / labels.len() as f64,
            accuracy: (answered > 0).then(|| 100.0 * right as f64 / answered as f64),
        })
    }
}

impl RiskCoverage {
    /// Goes through all thresholds.
    ///
    /// # Errors
    /// [`Error::Data`] if there is no image, not one label an image, or a label that is no class.
    ///
    /// # Examples
    /// ```
    /// use clip_adapter::evaluate::{Logits, RiskCoverage};
    ///
    /// let logits = Logits::new(vec![4.0, 0.0, 3.0, 0.0, 0.0, 2.0, 1.0, 0.0], 2)?;
    /// let curve = RiskCoverage::new(&logits, &[0, 0, 0, 0])?;
    /// assert_eq!(curve.points[1], [50.0, 0.0]);
    /// assert_eq!(curve.points[3], [100.0, 25.0]);
    /// # Ok::<(), clip_adapter::Error>(())
    /// ```
    pub fn new(logits: &Logits, labels: &[usize]) -> Result<Self> {
        logits.check_labels(labels)?;
        let (mut points, mut area, mut before) = (Vec::new(), 0.0, 0);
        for Step { answered, right, .. } in steps(logits, labels) {
            let risk = 100.0 * (answered - right) as f64 / answered as f64;
            points.push([100.0 * answered as f64 / labels.len() as f64, risk]);
            area += risk * (answered - before) as f64 / labels.len() as f64;
            before = answered;
        }
        Ok(Self { points, area })
    }
}

/// What a threshold gives.
struct Step {
    threshold: f64,
    answered: usize,
    right: usize,
}

/// Every threshold that changes what is answered, from the highest on. Images as sure as each other are
/// answered together.
fn steps(logits: &Logits, labels: &[usize]) -> Vec<Step> {
    let answer = |(row, &label): (&[f32], &usize)| {
        let (class, sure) = confidence(row);
        (sure, usize::from(class == label))
    };
    let mut answers: Vec<(f64, usize)> = logits.rows().zip(labels).map(answer).collect();
    answers.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut right = 0;
    let mut steps: Vec<Step> = Vec::new();
    for (at, (threshold, is_right)) in answers.into_iter().enumerate() {
        right += is_right;
        if steps.last().is_some_and(|step| step.threshold == threshold) {
            steps.pop();
        }
        steps.push(Step { threshold, answered: at + 1, right });
    }
    steps
}

/// The likeliest class and its probability.
fn confidence(row: &[f32]) -> (usize, f64) {
    let class = argmax(row);
    (class, log_softmax(row)[class].exp())
}

fn check_part(name: &'static str, part: f64) -> Result<()> {
    if (0.0..=1.0).contains(&part) {
        return Ok(());
    }
    Err(Error::setting(name, "0..=1", part))
}
