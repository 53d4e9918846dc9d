use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::archive::{Archive, ArchiveWriter};
use crate::error::{Error, Result};
use crate::numerics::{argmax, log_sum_exp};

/// The format a file of logits declares in its metadata.
const FORMAT: &str = "clip-logits/1";

/// A class of an image, with its probability.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Ranked {
    /// Its index.
    pub class: usize,
    /// Its name.
    pub name: String,
    /// Of all classes, 0..=1.
    pub probability: f32,
}

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
        let archive = Archive::open(path.as_ref())?;
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

    /// The likeliest classes of every image, at most `count` of each, likeliest first and of equal ones the first.
    ///
    /// # Panics
    /// If there are not as many names as classes.
    ///
    /// # Examples
    /// ```
    /// use clip_adapter::evaluate::Logits;
    ///
    /// let logits = Logits::new(vec![1.0, 3.0, 2.0], 3)?;
    /// let top = logits.top(2, &["ant", "bee", "cat"]);
    /// assert_eq!((top[0][0].name.as_str(), top[0][1].class), ("bee", 2));
    /// approx::assert_abs_diff_eq!(top[0][0].probability, 0.665, epsilon = 1e-3);
    /// # Ok::<(), clip_adapter::Error>(())
    /// ```
    pub fn top(&self, count: usize, class_names: &[impl AsRef<str>]) -> Vec<Vec<Ranked>> {
        assert_eq!(class_names.len(), self.classes, "one name a class");
        let of_row = |probabilities: Vec<f32>| {
            let mut order: Vec<usize> = (0..self.classes).collect();
            order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
            order.truncate(count);
            let ranked = |class: usize| Ranked {
                class,
                name: class_names[class].as_ref().to_owned(),
                probability: probabilities[class],
            };
            order.into_iter().map(ranked).collect()
        };
        self.probabilities().map(of_row).collect()
    }

    /// The softmax of every image's logits.
    pub fn probabilities(&self) -> impl ExactSizeIterator<Item = Vec<f32>> {
        self.rows().map(|row| {
            let log_sum = log_sum_exp(row);
            row.iter().map(|&logit| (f64::from(logit) - log_sum).exp() as f32).collect()
        })
    }
}
