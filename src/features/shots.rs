use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::set::check_same_classes;
use super::{FeatureSet, TestSet, TextClassifier};
use crate::error::{Error, Result};

/// The few labelled images a method may learn from, and the few it may choose settings with.
///
/// # Examples
/// ```
/// use clip_adapter::{FeatureSet, features::Embeddings};
///
/// let rows = Embeddings::new((1..=8).map(|v| v as f32).collect(), 2)?;
/// let set = FeatureSet::new(rows, vec![0, 1, 0, 1], ["cat", "dog"])?;
/// let support = set.shots(1, 7)?;
/// assert_eq!(support.set().class_counts(), [1, 1]);
/// assert!(support.validation().is_none());
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Support {
    set: FeatureSet,
    validation: Option<FeatureSet>,
}

impl Support {
    /// Takes all of `set` as training images, however many there are of each class.
    ///
    /// # Errors
    /// [`Error::Data`] if there is no image.
    pub fn new(set: FeatureSet) -> Result<Self> {
        if set.is_empty() {
            return Err(Error::data("support set", "at least one image", "none"));
        }
        Ok(Self { set, validation: None })
    }

    /// Adds images for early stopping and for choosing settings. Keep them as few as the shots, or the result
    /// is no longer a few-shot one.
    ///
    /// # Errors
    /// [`Error::Data`] if there is no image or the classes differ, [`Error::Dim`] if the widths differ.
    pub fn with_validation(mut self, validation: FeatureSet) -> Result<Self> {
        if validation.is_empty() {
            return Err(Error::data("validation set", "at least one image", "none"));
        }
        check_same_classes("validation set", self.set.class_names(), validation.class_names())?;
        self.set.embeddings().check_dim("validation features", validation.embeddings().dim())?;
        self.validation = Some(validation);
        Ok(self)
    }

    /// Gives every class the same weight, however many images it has: an image of class `c` weighs
    /// `N / (C n_c)`, with the `n_c` of `N` images that are of its class and the `C` classes that have images.
    ///
    /// Where shots are uneven, a class with many of them otherwise draws images of its neighbours to itself.
    /// In methods that train, the weight multiplies the loss of an image; in Tip-Adapter what it adds to its
    /// class; in GDA its part of the covariance (class means are balanced as they are); in ProKeR it divides
    /// the pull towards zero-shot; in SS-Text every class moves equally far. Even shots are not changed by it.
    /// Validation images never weigh differently.
    ///
    /// # Examples
    /// ```
    /// use clip_adapter::{FeatureSet, Support, features::Embeddings};
    ///
    /// let rows = Embeddings::new(vec![1.0, 0.0, 0.9, 0.1, 0.8, 0.2, 0.0, 1.0], 2)?;
    /// let support = Support::new(FeatureSet::new(rows, vec![0, 0, 0, 1], ["cat", "dog"])?)?.balanced();
    /// let weights = support.set().image_weights();
    /// approx::assert_abs_diff_eq!(weights[..3].iter().sum::<f64>(), weights[3], epsilon = 1e-12);
    /// # Ok::<(), clip_adapter::Error>(())
    /// ```
    pub fn balanced(self) -> Self {
        Self { set: self.set.balanced(), ..self }
    }

    /// Puts several support sets together, such as those of several cameras. Their validation images are put
    /// together too; the result is [balanced](Self::balanced) if one of them is.
    ///
    /// # Errors
    /// [`Error::Data`] if there is none or their classes differ, [`Error::Dim`] if their widths differ.
    ///
    /// # Examples
    /// ```
    /// use clip_adapter::{FeatureFile, Support};
    ///
    /// let file = FeatureFile::synthetic(0)?;
    /// let both = Support::merge(&[file.support(1, 1)?, file.support(2, 2)?])?;
    /// assert_eq!(both.set().class_counts(), [3; 8]);
    /// # Ok::<(), clip_adapter::Error>(())
    /// ```
    pub fn merge(supports: &[Self]) -> Result<Self> {
        let sets: Vec<&FeatureSet> = supports.iter().map(Self::set).collect();
        let merged = Self::new(FeatureSet::merged(&sets)?)?;
        let validation: Vec<&FeatureSet> = supports.iter().filter_map(Self::validation).collect();
        if validation.is_empty() {
            return Ok(merged);
        }
        merged.with_validation(FeatureSet::merged(&validation)?)
    }

    /// Checks that the images have the classes and the width of a classifier, as every method does first.
    ///
    /// # Errors
    /// [`Error::Dim`] or [`Error::Data`] if they have not.
    pub fn check(&self, classes: &TextClassifier) -> Result<()> {
        classes.weights().check_dim("support features", self.set.embeddings().dim())?;
        self.check_classes(classes)
    }

    /// Checks the classes alone, for features of another width: those before the projection.
    ///
    /// # Errors
    /// [`Error::Data`] if they are others.
    pub fn check_classes(&self, classes: &TextClassifier) -> Result<()> {
        check_same_classes("support set", classes.class_names(), self.set.class_names())
    }

    /// The training images.
    pub fn set(&self) -> &FeatureSet {
        &self.set
    }

    /// The images settings may be chosen with, if any.
    pub fn validation(&self) -> Option<&FeatureSet> {
        self.validation.as_ref()
    }
}

impl FeatureSet {
    /// Draws `shots` images of every class.
    ///
    /// A seed fixes one permutation a class and a draw is its beginning, so that a smaller draw is part of a
    /// larger one and another class does not change it.
    ///
    /// # Errors
    /// [`Error::TooFewShots`] names the first class with fewer images; [`Error::Setting`] if `shots` is 0.
    pub fn shots(&self, shots: usize, seed: u64) -> Result<Support> {
        Support::new(self.select(&self.shot_rows(shots, seed)?))
    }

    /// Draws `shots` images of every class to learn from, and declares all others a test set.
    ///
    /// # Errors
    /// As [`shots`](Self::shots).
    ///
    /// # Examples
    /// ```
    /// use clip_adapter::prelude::*;
    ///
    /// let photos = FeatureFile::synthetic(0)?.split("train")?.clone();
    /// let (support, test) = photos.split(4, 1)?;
    /// assert_eq!(support.set().len() + test.len(), photos.len());
    /// # Ok::<(), clip_adapter::Error>(())
    /// ```
    pub fn split(&self, shots: usize, seed: u64) -> Result<(Support, TestSet)> {
        let drawn = self.shot_rows(shots, seed)?;
        let mut rest = vec![true; self.len()];
        drawn.iter().for_each(|&row| rest[row] = false);
        let rest: Vec<usize> = (0..self.len()).filter(|&row| rest[row]).collect();
        Ok((Support::new(self.select(&drawn))?, self.select(&rest).into_test_set()))
    }

    /// The rows that [`shots`](Self::shots) takes, class by class.
    ///
    /// # Errors
    /// As [`shots`](Self::shots).
    pub fn shot_rows(&self, shots: usize, seed: u64) -> Result<Vec<usize>> {
        if shots == 0 {
            return Err(Error::setting("shots", "1 or more", shots));
        }
        let mut rows_of = vec![Vec::new(); self.class_names().len()];
        for (row, &label) in self.labels().iter().enumerate() {
            rows_of[label].push(row);
        }
        let mut drawn = Vec::with_capacity(rows_of.len() * shots);
        for (class, mut rows) in rows_of.into_iter().enumerate() {
            if rows.len() < shots {
                return Err(Error::TooFewShots {
                    class: self.class_names()[class].clone(),
                    expected: shots,
                    found: rows.len(),
                });
            }
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            random.set_stream(class as u64);
            rows.shuffle(&mut random);
            drawn.extend_from_slice(&rows[..shots]);
        }
        Ok(drawn)
    }
}
