use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::evaluate::Logits;

/// How evenly images seem to be spread over the classes, before one of them has a label.
///
/// `effective = exp(-sum_c q_c ln q_c) / C` with the mean `q` of the images' class probabilities: the number of classes
/// that would be as uncertain if all were equally frequent, as a part of the classes there are. CLIP's own errors spread
/// the mean, so that a set which lacks half of its classes still has about 0.7.
///
/// Methods that expect images of every class are right where this is about 1 and can fall far below zero-shot where it
/// is not: [`warning`](Self::warning) says so, and [`require`](Self::require) refuses.
///
/// # Examples
/// ```
/// use clip_adapter::{evaluate::Logits, tasks::unlabelled::Balance};
///
/// let even = Balance::of(&Logits::new(vec![50.0, 0.0, 0.0, 50.0], 2)?);
/// approx::assert_abs_diff_eq!(even.effective, 1.0, epsilon = 1e-6);
/// let one_class = Balance::of(&Logits::new(vec![50.0, 0.0, 50.0, 0.0], 2)?);
/// approx::assert_abs_diff_eq!(one_class.effective, 0.5, epsilon = 1e-6);
/// assert!(even.warning().is_none() && one_class.require().is_err());
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Balance {
    /// Effective classes as a part of all, above 0 and at most 1.
    pub effective: f64,
}

impl Balance {
    /// From here on a set counts as balanced. It was set on two targets and held on draws of them that were not used for
    /// it: 0.92 and 0.96 where every class is there, 0.61 to 0.87 where half of the classes or most of their images are not.
    pub const EVEN: f64 = 0.9;

    /// By the logits that zero-shot CLIP, or another method, gave the images.
    pub fn of(logits: &Logits) -> Self {
        let mut sum = Sum::new(logits.classes());
        logits.probabilities().for_each(|row| sum.add(row.into_iter().map(f64::from)));
        sum.balance()
    }

    /// Whether every class seems to be there, and about as often as the others.
    pub fn is_even(&self) -> bool {
        self.effective >= Self::EVEN
    }

    /// What to say where it is not.
    pub fn warning(&self) -> Option<String> {
        let Self { effective } = self;
        (!self.is_even()).then(|| {
            format!(
                "the images seem to lack classes or to have few of them (balance {effective:.2}, {} or more is even): what \
                 expects all classes can do worse than zero-shot here",
                Self::EVEN
            )
        })
    }

    /// Refuses images that are not balanced.
    ///
    /// # Errors
    /// [`Error::Data`] if they are not.
    pub fn require(&self) -> Result<()> {
        match self.is_even() {
            true => Ok(()),
            false => {
                let expected = format!("{} or more, images of every class", Self::EVEN);
                Err(Error::data("balance of the images", expected, format!("{:.2}", self.effective)))
            }
        }
    }
}

/// Class probabilities of the images so far.
#[derive(Debug, Clone)]
pub(super) struct Sum {
    of_class: Vec<f64>,
}

impl Sum {
    pub fn new(classes: usize) -> Self {
        Self { of_class: vec![0.0; classes] }
    }

    /// Adds an image.
    pub fn add(&mut self, probabilities: impl Iterator<Item = f64>) {
        self.of_class.iter_mut().zip(probabilities).for_each(|(sum, p)| *sum += p);
    }

    pub fn merge(&mut self, other: &Self) {
        self.add(other.of_class.iter().copied());
    }

    pub fn balance(&self) -> Balance {
        let total: f64 = self.of_class.iter().sum();
        let parts = self.of_class.iter().map(|sum| sum / total).filter(|&part| part > 0.0);
        let entropy = -parts.map(|part| part * part.ln()).sum::<f64>();
        Balance { effective: entropy.exp() / self.of_class.len() as f64 }
    }
}
