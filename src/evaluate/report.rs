use std::fmt;

use serde::{Deserialize, Serialize};

use super::Scores;

/// How well a classifier does on a test set. Percentages are 0..=100.
///
/// It prints as a summary and serialises as JSON:
///
/// ```
/// use clip_adapter::{Report, evaluate::{Logits, Scores}};
///
/// let scores = Scores::new(&Logits::new(vec![2.0, 0.0, 0.0, 2.0], 2)?, &[0, 1])?;
/// let report = Report::new(scores, ["cat", "dog"]);
/// assert!(report.to_string().starts_with("accuracy 100.00 %"));
/// assert_eq!(serde_json::to_value(&report).unwrap()["macro_f1"], 100.0);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// Images scored.
    pub images: usize,
    /// Right answers, in percent.
    pub accuracy: f64,
    /// Mean F1 of the classes, in percent.
    pub macro_f1: f64,
    /// Expected calibration error over 15 bins, in percent.
    pub ece: f64,
    /// Mean negative log-likelihood, in nats.
    pub nll: f64,
    /// Each class, in label order.
    pub classes: Vec<ClassReport>,
    /// Images by true class (row) and predicted class (column).
    pub confusion: Vec<Vec<usize>>,
}

/// One class of a [`Report`], in percent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ClassReport {
    /// Its name.
    pub name: String,
    /// Its images.
    pub images: usize,
    /// Of the images called this, how many are.
    pub precision: f64,
    /// Of the images that are this, how many are called so.
    pub recall: f64,
    /// The harmonic mean of the two.
    pub f1: f64,
}

impl Report {
    /// Names the classes of `scores`.
    pub fn new<N: Into<String>>(scores: Scores, class_names: impl IntoIterator<Item = N>) -> Self {
        let classes = class_names.into_iter().enumerate().map(|(class, name)| {
            let (precision, recall, f1) = scores.class(class);
            ClassReport { name: name.into(), images: scores.labelled(class), precision, recall, f1 }
        });
        Self {
            images: scores.images(),
            accuracy: scores.accuracy(),
            macro_f1: scores.macro_f1(),
            ece: scores.ece(),
            nll: scores.nll(),
            classes: classes.collect(),
            confusion: scores.confusion().to_vec(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "accuracy {:.2} %, macro F1 {:.2} %, ECE {:.2} %, NLL {:.4} on {} images",
            self.accuracy, self.macro_f1, self.ece, self.nll, self.images
        )
    }
}
