//! Finding images by texts and texts by images, and teaching it pairs: small adapters on frozen features, a correction
//! for hubs, composed queries.
//!
//! Pairs come from a [`PairFile`](crate::features::PairFile). What adapts is a [`FeatureMap`](crate::model::FeatureMap), and
//! [`adapted`] gives the same pairs in its features: everything else, [`evaluate`] and [`Nnn`] too, then works on those.
//!
//! ```
//! use clip_adapter::{features::PairFile, prelude::*, tasks::retrieval::{self, LinearPair, Nnn, PairMethod}};
//!
//! let (train, test) = PairFile::synthetic(0)?.split(1)?;
//! let model = LinearPair { folds: 2, ..Default::default() }.fit(&train, &Device::flex())?;
//! let (train, adapted) = (retrieval::adapted(&model, &train)?, retrieval::adapted_test(&model, &test)?);
//! let (before, after) = (retrieval::evaluate(&test)?, Nnn::default().evaluate(&train, &adapted)?);
//! assert!(after.rsum > before.rsum + 10.0);
//! # Ok::<(), clip_adapter::Error>(())
//! ```

mod batches;
mod choose;
mod clip_adapter_pair;
mod fit;
mod fitted;
mod hubs;
mod linear;
mod net;
mod queries;
mod scoring;
mod transductive;

pub use clip_adapter_pair::ClipAdapterPair;
pub use fit::{HeldOut, PairSettings};
pub use fitted::FittedPair;
pub use hubs::{CorrectedGallery, Nnn, QbNorm};
pub use linear::LinearPair;
pub use queries::{composed, evaluate_images};
pub use scoring::{adapted, adapted_images, adapted_test, adapted_texts, evaluate};
pub use transductive::{DualSoftmax, Transductive};

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::features::Pairs;
use crate::model::Settings;
use crate::train::Run;

/// Whose features a pair adapter changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sides {
    /// Those of images and texts.
    #[default]
    Both,
    /// Those of texts alone: an index of images stays good.
    Text,
    /// Those of images alone.
    Image,
}

/// A way to adapt the features of pairs: a plain struct of settings whose defaults need no tuning, and one `fit`.
///
/// What is learned from are [`Pairs`]; a [`TestPairs`](crate::features::TestPairs) does not fit in.
pub trait PairMethod: Settings + Default {
    /// Learns from pairs.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) for a setting out of range,
    /// [`Error::Cancelled`](crate::Error::Cancelled) if the callback stops it,
    /// [`Error::Diverged`](crate::Error::Diverged) if the loss is no longer finite,
    /// [`Error::Execution`](crate::Error::Execution) if the device fails.
    fn fit_with(&self, pairs: &Pairs, run: &mut Run<'_>) -> Result<FittedPair>;

    /// Learns from pairs, silently.
    ///
    /// # Errors
    /// As [`fit_with`](Self::fit_with).
    fn fit(&self, pairs: &Pairs, device: &Device) -> Result<FittedPair> {
        self.fit_with(pairs, &mut Run::new(device))
    }
}
