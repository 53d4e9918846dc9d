use std::path::Path;

use crate::{
    Error, Result,
    archive::{Archive, ArchiveWriter},
    vector::{exp, fold, largest, widest},
};

/// The format a file of logits declares in its metadata.
const FORMAT: &str = "clip-logits/1";

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

    /// Reads logits with their labels: a safetensors file of the format `clip-logits/1`.
    ///
    /// | Tensor | Type, shape | Meaning |
    /// | --- | --- | --- |
    /// | `logits` | f16, bf16 or f32 `[images, classes]` | cosines times the logit scale, or a method's logits |
    /// | `labels` | i64 `[images]` | class indices |
    ///
    /// # Errors
    /// [`Error::Read`] if it cannot be read; [`Error::Malformed`] naming the tensor and row if it is
    /// truncated, of another format, empty, has a label outside the classes or a value that is not finite.
    ///
    /// # Examples
    /// ```
    /// use clip_adapter::evaluate::Logits;
    ///
    /// let folder = tempfile::tempdir().unwrap();
    /// let path = folder.path().join("logits.safetensors");
    /// let logits = Logits::new(vec![20.0, 25.0, 30.0, 10.0], 2)?;
    /// logits.write(&[1, 0], &path)?;
    /// assert_eq!(Logits::read(&path)?, (logits, vec![1, 0]));
    /// # Ok::<(), clip_adapter::Error>(())
    /// ```
    pub fn read(path: impl AsRef<Path>) -> Result<(Self, Vec<usize>)> {
        let archive = Archive::read(path.as_ref())?;
        archive.require_format(FORMAT)?;
        let (values, [_, classes]) = archive.floats("logits")?;
        let logits = Self::new(values, classes).map_err(|error| archive.locate("logits", error))?;
        let labels = archive.indices("labels")?;
        logits.check_labels(&labels).map_err(|error| archive.locate("labels", error))?;
        Ok((logits, labels))
    }

    /// Writes logits with their labels, whole or not at all.
    ///
    /// # Errors
    /// [`Error::Data`] if there is not one label an image or a label is no class, [`Error::Write`] if the file
    /// cannot be written.
    pub fn write(&self, labels: &[usize], path: impl AsRef<Path>) -> Result<()> {
        self.check_labels(labels)?;
        let mut archive = ArchiveWriter::new(FORMAT);
        archive.floats("logits", &[self.images(), self.classes], &self.values);
        archive.indices("labels", labels);
        archive.write(path.as_ref())
    }

    /// The given images, in the given order.
    ///
    /// # Panics
    /// If a row is not below [`images`](Self::images).
    pub fn select(&self, rows: &[usize]) -> Self {
        let row = |&row: &usize| &self.values[row * self.classes..(row + 1) * self.classes];
        Self { values: rows.iter().flat_map(row).copied().collect(), classes: self.classes }
    }

    /// There are images, one label for each, and every label is a class.
    pub(crate) fn check_labels(&self, labels: &[usize]) -> Result<()> {
        let (images, classes) = (self.images(), self.classes);
        if images == 0 || labels.len() != images {
            return Err(Error::data(
                "labels",
                format!("one for each of {} images", images.max(1)),
                labels.len(),
            ));
        }
        match labels.iter().position(|&label| label >= classes) {
            None => Ok(()),
            Some(row) => {
                let expected = format!("a class below {classes}");
                Err(Error::data(format!("row {row} of the labels"), expected, labels[row]))
            }
        }
    }

    /// That something fitted for `expected` classes is asked about as many.
    pub(crate) fn check_classes(&self, expected: usize) -> Result<()> {
        if self.classes == expected {
            return Ok(());
        }
        Err(Error::data("classes of the logits", expected, self.classes))
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

/// `log sum_c exp(l_c)`, without overflow, to about 2e-7.
pub(crate) fn log_sum_exp(row: &[f32]) -> f64 {
    widest(
        #[inline(always)]
        || {
            let most = largest(row);
            let sum = fold(row, 0.0, |logit| exp(logit - most), |a, b| a + b);
            f64::from(most) + f64::from(sum).ln()
        },
    )
}

/// `l_c - log sum_c exp(l_c)` of a row, in f64.
pub(crate) fn log_softmax(row: &[f32]) -> Vec<f64> {
    let mut values: Vec<f64> = row.iter().copied().map(f64::from).collect();
    log_normalise(&mut values);
    values
}

/// Subtracts `log sum_c exp(v_c)` from every value, so that they become the logarithms of probabilities.
pub(crate) fn log_normalise(values: &mut [f64]) {
    let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = values.iter().map(|value| (value - max).exp()).sum();
    let log_sum = max + sum.ln();
    values.iter_mut().for_each(|value| *value -= log_sum);
}
