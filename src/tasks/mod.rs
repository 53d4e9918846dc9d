//! The same parts put to other uses than fitting a method to shots.

pub mod generation;
mod predictor;
mod prototypes;
pub mod questions;
pub mod recommendation;
pub mod retrieval;
pub mod search;
pub mod taste;
pub mod unlabelled;
pub mod video;

pub use predictor::Predictor;

use std::path::Path;

use burn::tensor::Device;

use crate::error::Result;
use crate::fingerprint::Fingerprint;
use crate::model::{Classifier, Saved};
use crate::train::Registry;

/// What [`Registry::builtin`] knows, and what the tasks save.
pub fn registry() -> Registry {
    Registry::builtin()
        .with_model::<unlabelled::FittedTransClip>()
        .with_model::<unlabelled::FittedDomainAdapter>()
        .with_model::<unlabelled::FittedDistributionNormalisation>()
        .with_model::<questions::FittedAnswerClassifier>()
        .with_model::<questions::FittedStatements>()
        .with_model::<video::FittedTemporalTransformer>()
}

/// Opens a file of whatever this crate saves, for features that `expected` names.
///
/// # Errors
/// As [`Saved::open`] and [`Registry::load`].
pub fn load(path: impl AsRef<Path>, expected: &Fingerprint, device: &Device) -> Result<Box<dyn Classifier>> {
    registry().load(&Saved::open(path)?, expected, device)
}
