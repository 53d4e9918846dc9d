use serde::{Deserialize, Serialize};

use super::fit::{Guarded, PairSettings};
use super::linear::check_counts;
use super::{FittedPair, PairMethod, Sides};
use crate::error::{Error, Result, positive};
use crate::features::Pairs;
use crate::model::Settings;
use crate::train::Run;

/// CLIP-Adapter on both sides of pairs: a bottleneck whose outcome is added to the feature.
///
/// `f* = normalise(f + W2 ReLU(W1 f))`, the same for texts, trained as [`LinearPair`](super::LinearPair) is and without
/// its pull. Unlike the authors' (Gao et al., 2021, <https://arxiv.org/abs/2110.04544>), made for classes, it has no ReLU
/// at the end, and `W2` starts at zero, so that it starts exactly at zero-shot: with theirs it ends at or below that on
/// pairs.
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `sides` | both | both, text or image | whose features are adapted |
/// | `reduction` | 4 | 1 to the width | the hidden layer has `dim / reduction` units |
/// | `learning_rate` | 0.0003 | above 0 | of Adam, before the cosine; `100 / s` times as much at a logit scale `s` |
/// | `steps` | 300 | 1 or more | steps; at least one epoch is taken |
/// | `batch_size` | 1024 | 2 or more | pairs in a step, at most |
/// | `folds` | 5 | 0, or 2 or more | as a linear pair adapter's: it is kept only if held-out pairs are found no worse |
/// | `seed` | 0 | | fixes `W1`, which images make a fold, and the batches |
///
/// # Examples
/// ```
/// use clip_adapter::{features::PairFile, prelude::*, tasks::retrieval::{ClipAdapterPair, PairMethod}};
///
/// let (train, _) = PairFile::synthetic(0)?.split(1)?;
/// let model = ClipAdapterPair { steps: 20, folds: 2, ..Default::default() }.fit(&train, &Device::flex())?;
/// assert_eq!(model.kind(), "pair-adapter");
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClipAdapterPair {
    /// Whose features are adapted.
    pub sides: Sides,
    /// The hidden layer has `dim / reduction` units.
    pub reduction: usize,
    /// Of Adam, before the cosine.
    pub learning_rate: f64,
    /// Steps; at least one epoch is taken.
    pub steps: usize,
    /// Pairs in a step, at most.
    pub batch_size: usize,
    /// Parts of the pairs that are held out in turn.
    pub folds: usize,
    /// Fixes `W1`, which images make a fold, and the batches.
    pub seed: u64,
}

impl Default for ClipAdapterPair {
    fn default() -> Self {
        Self {
            sides: Sides::Both,
            reduction: 4,
            learning_rate: 3e-4,
            steps: 300,
            batch_size: 1024,
            folds: 5,
            seed: 0,
        }
    }
}

impl ClipAdapterPair {
    /// Checks every setting against its range, for features of this width.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first one outside.
    pub fn validate(&self, dim: usize) -> Result<()> {
        if !(1..=dim).contains(&self.reduction) {
            return Err(Error::setting("reduction", format!("1..={dim}"), self.reduction));
        }
        positive("learning_rate", self.learning_rate)?;
        check_counts(self.steps, self.batch_size, self.folds)
    }
}

impl Settings for ClipAdapterPair {
    const NAME: &'static str = "clip-adapter";
}

impl PairMethod for ClipAdapterPair {
    fn fit_with(&self, pairs: &Pairs, run: &mut Run<'_>) -> Result<FittedPair> {
        self.validate(pairs.dim())?;
        Guarded::new(PairSettings::ClipAdapter(*self), pairs, run.device()).run(run)
    }
}
