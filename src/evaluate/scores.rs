use super::logits::Logits;
use crate::error::Result;
use crate::numerics::{argmax, log_sum_exp};

/// Bins of the expected calibration error.
const BINS: usize = 15;

/// What logits and labels say, before it is put into words.
///
/// # Examples
/// ```
/// use clip_adapter::evaluate::{Logits, Scores};
///
/// let logits = Logits::new(vec![2.0, 0.0, 0.0, 2.0, 0.0, 2.0], 2)?;
/// let scores = Scores::new(&logits, &[0, 1, 0])?;
/// assert_eq!(scores.confusion(), [vec![1, 1], vec![0, 1]]);
/// approx::assert_abs_diff_eq!(scores.accuracy(), 66.67, epsilon = 0.01);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    confusion: Vec<Vec<usize>>,
    images: usize,
    nll: f64,
    ece: f64,
}

impl Scores {
    /// Compares logits with labels.
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data) if there is no image, not one label an image, or a label that is no
    /// class.
    pub fn new(logits: &Logits, labels: &[usize]) -> Result<Self> {
        logits.check_labels(labels)?;
        let (images, classes) = (logits.images(), logits.classes());
        let mut confusion = vec![vec![0; classes]; classes];
        let mut nll = 0.0;
        let mut gaps = [0.0; BINS]; // sum of (right - confidence) of the images in each bin
        for (row, &label) in logits.rows().zip(labels) {
            let (predicted, log_sum) = (argmax(row), log_sum_exp(row));
            confusion[label][predicted] += 1;
            nll += log_sum - f64::from(row[label]);
            let confidence = (f64::from(row[predicted]) - log_sum).exp();
            let right = if predicted == label { 1.0 } else { 0.0 };
            // Bin b holds the confidences in (b / 15, (b + 1) / 15].
            let bin = ((confidence * BINS as f64).ceil() as usize).clamp(1, BINS) - 1;
            gaps[bin] += right - confidence;
        }
        let count = images as f64;
        let ece = 100.0 * gaps.iter().map(|gap| gap.abs()).sum::<f64>() / count;
        Ok(Self { confusion, images, nll: nll / count, ece })
    }

    /// The number of images.
    pub fn images(&self) -> usize {
        self.images
    }

    /// Images by true class (row) and predicted class (column).
    pub fn confusion(&self) -> &[Vec<usize>] {
        &self.confusion
    }

    /// Percentage of images whose largest logit is the right class.
    pub fn accuracy(&self) -> f64 {
        let right: usize = (0..self.confusion.len()).map(|class| self.confusion[class][class]).sum();
        100.0 * right as f64 / self.images as f64
    }

    /// Mean negative log-likelihood of the right class, in nats.
    pub fn nll(&self) -> f64 {
        self.nll
    }

    /// Expected calibration error over 15 equal bins, in percent (Guo et al., 2017, section 2,
    /// <https://arxiv.org/abs/1706.04599>).
    pub fn ece(&self) -> f64 {
        self.ece
    }

    /// Precision, recall and F1 of a class in percent; 0 where there is nothing to divide by.
    pub fn class(&self, class: usize) -> (f64, f64, f64) {
        let right = self.confusion[class][class] as f64;
        let percent = |part: f64, whole: f64| if whole == 0.0 { 0.0 } else { 100.0 * part / whole };
        let (labelled, predicted) = (self.labelled(class) as f64, self.predicted(class) as f64);
        (percent(right, predicted), percent(right, labelled), percent(2.0 * right, labelled + predicted))
    }

    /// Images of a class.
    pub fn labelled(&self, class: usize) -> usize {
        self.confusion[class].iter().sum()
    }

    fn predicted(&self, class: usize) -> usize {
        self.confusion.iter().map(|row| row[class]).sum()
    }

    /// Mean F1 over the classes that occur among labels or predictions, in percent.
    pub fn macro_f1(&self) -> f64 {
        let present: Vec<usize> = (0..self.confusion.len())
            .filter(|&class| self.labelled(class) + self.predicted(class) > 0)
            .collect();
        present.iter().map(|&class| self.class(class).2).sum::<f64>() / present.len() as f64
    }
}
