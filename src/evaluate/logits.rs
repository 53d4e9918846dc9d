use crate::{Error, Result};

/// Logits of images on the host: `[images, classes]`, every value finite.
#[derive(Debug, Clone, PartialEq)]
pub struct Logits {
    values: Vec<f32>,
    classes: usize,
}

impl Logits {
    /// Takes `values` as rows of `classes` logits.
    ///
    /// # Errors
    /// [`Error::Data`] if the values are not whole rows or one is not finite.
    ///
    /// # Examples
    /// ```
    /// use clip_adapter::evaluate::Logits;
    ///
    /// let logits = Logits::new(vec![20.0, 25.0, 30.0, 10.0], 2)?;
    /// assert_eq!(logits.predictions().collect::<Vec<_>>(), [1, 0]);
    /// # Ok::<(), clip_adapter::Error>(())
    /// ```
    pub fn new(values: Vec<f32>, classes: usize) -> Result<Self> {
        if classes == 0 || !values.len().is_multiple_of(classes) {
            let found = format!("{} values", values.len());
            return Err(Error::data("logits", format!("whole rows of {classes} classes"), found));
        }
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            return Err(Error::data(
                format!("row {} of the logits", at / classes),
                "finite values",
                values[at],
            ));
        }
        Ok(Self { values, classes })
    }

    /// The number of images.
    pub fn images(&self) -> usize {
        self.values.len() / self.classes
    }

    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The logits of every image.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.classes)
    }

    /// The class of the largest logit of every image; of equal ones the first.
    pub fn predictions(&self) -> impl ExactSizeIterator<Item = usize> {
        self.rows().map(argmax)
    }

    /// The softmax of every image's logits.
    pub fn probabilities(&self) -> impl ExactSizeIterator<Item = Vec<f32>> {
        self.rows().map(|row| {
            let log_sum = log_sum_exp(row);
            row.iter().map(|&logit| (f64::from(logit) - log_sum).exp() as f32).collect()
        })
    }
}

pub(crate) fn argmax(row: &[f32]) -> usize {
    let mut best = 0;
    for (class, value) in row.iter().enumerate() {
        if *value > row[best] {
            best = class;
        }
    }
    best
}

/// `log sum_c exp(l_c)`, without overflow.
pub(crate) fn log_sum_exp(row: &[f32]) -> f64 {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|&logit| f64::from((logit - max).exp())).sum();
    f64::from(max) + sum.ln()
}
