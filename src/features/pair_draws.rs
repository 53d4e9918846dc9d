use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::Pairs;
use crate::error::{Error, Result};

impl Pairs {
    /// Draws `images` images, each with all of its texts. A smaller draw by the same seed is part of a larger one.
    ///
    /// # Errors
    /// [`Error::Setting`] if there are fewer, or `images` is 0.
    pub fn draw(&self, images: usize, seed: u64) -> Result<Self> {
        if images == 0 || images > self.len() {
            return Err(Error::setting("pairs", format!("1 to {} images", self.len()), images));
        }
        Ok(self.select(&self.shuffled(seed)[..images]))
    }

    /// Draws `train` images to learn from, each with all of its texts, and declares all others a test set.
    ///
    /// # Errors
    /// [`Error::Setting`] if that leaves no image on one of the two sides.
    ///
    /// # Examples
    /// ```
    /// use clip_adapter::features::PairFile;
    ///
    /// let pairs = PairFile::synthetic(0)?.pairs().clone();
    /// let (train, test) = pairs.split(100, 1)?;
    /// assert_eq!((train.len(), test.len()), (100, pairs.len() - 100));
    /// # Ok::<(), clip_adapter::Error>(())
    /// ```
    pub fn split(&self, train: usize, seed: u64) -> Result<(Self, TestPairs)> {
        let (train, test) = self.split_rows(train, seed)?;
        Ok((self.select(&train), TestPairs(self.select(&test))))
    }

    pub(super) fn split_rows(&self, train: usize, seed: u64) -> Result<(Vec<usize>, Vec<usize>)> {
        if train == 0 || train >= self.len() {
            return Err(Error::setting("train", format!("1 to {} images", self.len() - 1), train));
        }
        let rows = self.shuffled(seed);
        Ok((rows[..train].to_vec(), rows[train..].to_vec()))
    }

    fn shuffled(&self, seed: u64) -> Vec<usize> {
        let mut rows: Vec<usize> = (0..self.len()).collect();
        rows.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        rows
    }

    /// Declares these pairs a test set, which no `fit` takes.
    pub fn into_test_pairs(self) -> TestPairs {
        TestPairs(self)
    }
}

/// Pairs that are scored and nothing else: no `fit` takes them.
///
/// # Examples
/// ```compile_fail
/// use clip_adapter::{features::PairFile, prelude::*, tasks::retrieval::{LinearPair, PairMethod}};
///
/// let (train, test) = PairFile::synthetic(0)?.split(1)?;
/// LinearPair::default().fit(&test, &Device::flex())?; // expected `&Pairs`, found `&TestPairs`
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct TestPairs(Pairs);

impl TestPairs {
    /// The number of images.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no image, which no pairs are.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is scored.
    pub(crate) fn pairs(&self) -> &Pairs {
        &self.0
    }
}
