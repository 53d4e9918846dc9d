use serde::{Deserialize, Serialize};

use super::fit::{Guarded, PairSettings};
use super::{FittedPair, PairMethod, Sides};
use crate::error::{Error, Result, not_negative, positive};
use crate::features::Pairs;
use crate::model::Settings;
use crate::train::Run;

/// The linear pair adapter, the recommended one: a full matrix on the features of each side that is held to the
/// identity.
///
/// `f* = normalise(f M_i)` and `t* = normalise(t M_t)`, both `[dim, dim]` and at first the identity, trained with the
/// symmetric contrastive loss of CLIP (Radford et al., 2021, figure 3, <https://arxiv.org/abs/2103.00020>):
///
/// `L = (CE(s t* f*^T) + CE(s f* t*^T)) / 2 + lambda (||M_i - I||_F^2 + ||M_t - I||_F^2)`
///
/// with the logit scale `s`. Texts of the same image, or with the same words, are no wrong answers to each other. It
/// starts exactly at zero-shot. With `sides = text` images stay what they are: an index of them is still good, and it
/// gains nearly as much.
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `sides` | both | both, text or image | whose features are adapted |
/// | `lambda` | 0.3 | 0 or more | pull towards the identity |
/// | `learning_rate` | 0.0001 | above 0 | of Adam, before the cosine; `100 / s` times as much at a logit scale `s` |
/// | `steps` | 300 | 1 or more | steps; at least one epoch is taken |
/// | `batch_size` | 1024 | 2 or more | pairs in a step, at most: all where that many are not there |
/// | `folds` | 5 | 0, or 2 or more | parts of the pairs that are held out in turn: the adapter is kept only if their mean reciprocal rank among all pairs, both directions together, is no lower than zero-shot's; 0 keeps it unseen |
/// | `seed` | 0 | | fixes which images make a fold, and the batches |
///
/// A fit takes as long as `folds + 1` trainings.
///
/// # Examples
/// ```
/// use clip_adapter::{features::PairFile, prelude::*, tasks::retrieval::{self, LinearPair, PairMethod}};
///
/// let (train, test) = PairFile::synthetic(0)?.split(1)?;
/// let before = retrieval::evaluate(&test)?;
/// let model = LinearPair { folds: 2, ..Default::default() }.fit(&train, &Device::flex())?;
/// let after = retrieval::evaluate(&retrieval::adapted_test(&model, &test)?)?;
/// assert!(model.is_kept());
/// assert!(after.text_to_image.r1 > before.text_to_image.r1 + 2.0);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinearPair {
    /// Whose features are adapted.
    pub sides: Sides,
    /// Pull towards the identity.
    pub lambda: f64,
    /// Of Adam, before the cosine.
    pub learning_rate: f64,
    /// Steps; at least one epoch is taken.
    pub steps: usize,
    /// Pairs in a step, at most.
    pub batch_size: usize,
    /// Parts of the pairs that are held out in turn.
    pub folds: usize,
    /// Fixes which images make a fold, and the batches.
    pub seed: u64,
}

impl Default for LinearPair {
    fn default() -> Self {
        Self {
            sides: Sides::Both,
            lambda: 0.3,
            learning_rate: 1e-4,
            steps: 300,
            batch_size: 1024,
            folds: 5,
            seed: 0,
        }
    }
}

impl LinearPair {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first one outside.
    pub fn validate(&self) -> Result<()> {
        not_negative("lambda", self.lambda)?;
        positive("learning_rate", self.learning_rate)?;
        check_counts(self.steps, self.batch_size, self.folds)
    }
}

/// The ranges that pair adapters share.
pub(super) fn check_counts(steps: usize, batch_size: usize, folds: usize) -> Result<()> {
    if steps == 0 {
        return Err(Error::setting("steps", "1 or more", steps));
    }
    if batch_size < 2 {
        return Err(Error::setting("batch_size", "2 or more", batch_size));
    }
    match folds {
        1 => Err(Error::setting("folds", "0, or 2 or more", folds)),
        _ => Ok(()),
    }
}

impl Settings for LinearPair {
    const NAME: &'static str = "linear";
}

impl PairMethod for LinearPair {
    fn fit_with(&self, pairs: &Pairs, run: &mut Run<'_>) -> Result<FittedPair> {
        self.validate()?;
        Guarded::new(PairSettings::Linear(*self), pairs, run.device()).run(run)
    }
}
