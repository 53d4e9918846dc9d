//! Settings of [`Nnn`] found on training pairs alone.

use super::Nnn;
use crate::error::Result;
use crate::features::Pairs;

/// What is tried; of settings that do equally well the first.
const PARTS: [f64; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];
const NEIGHBOURS: [usize; 3] = [4, 16, 64];

/// Images that halves have to have, for their few queries to say anything.
const LEAST: usize = 32;

impl Nnn {
    /// `a` of 0 to 1 and `k` of 4, 16 and 64, by training pairs alone: one half is the bank, the other queries and
    /// gallery, and the other way round. What counts is the mean reciprocal rank, both directions together. Halves are
    /// taken as the pairs stand, which a draw has shuffled. Below 64 images it is the default, unseen.
    ///
    /// # Errors
    /// None in practice: what could fail was checked when the pairs were made.
    ///
    /// # Examples
    /// ```
    /// use clip_adapter::{features::PairFile, tasks::retrieval::Nnn};
    ///
    /// let (train, _) = PairFile::synthetic(0)?.split(1)?;
    /// assert!(Nnn::chosen(&train)?.a > 0.0);
    /// assert_eq!(Nnn::chosen(&train.draw(40, 1)?)?, Nnn::default());
    /// # Ok::<(), clip_adapter::Error>(())
    /// ```
    pub fn chosen(train: &Pairs) -> Result<Self> {
        let rows: Vec<usize> = (0..train.len()).collect();
        let (first, second) = rows.split_at(rows.len() / 2);
        if first.len() < LEAST {
            return Ok(Self::default());
        }
        let (first, second) = (train.select(first), train.select(second));
        // Images are the smaller bank of the two.
        let most = first.len();
        let mut best = (f64::NEG_INFINITY, Self::default());
        for a in PARTS {
            for k in NEIGHBOURS.into_iter().filter(|&k| k <= most) {
                let nnn = Self { a, k: Some(k) };
                let mut sum = 0.0;
                for (bank, asked) in [(&first, &second), (&second, &first)] {
                    let report = nnn.report(bank, asked)?;
                    sum += report.text_to_image.mrr + report.image_to_text.mrr;
                }
                if sum > best.0 {
                    best = (sum, nnn);
                }
            }
        }
        Ok(best.1)
    }
}
