//! What the files of a checkpoint say, where they are, and how one is written.

mod describe;
#[cfg(feature = "hub")]
mod hub;
mod initial;
mod location;
mod names;
mod presets;
mod quantised;
mod weights;
mod write;

#[cfg(feature = "hub")]
pub use hub::Hub;
pub use names::CheckpointLayout;
pub use presets::Preset;

pub(super) use describe::{Description, describe};
pub(super) use initial::Initial;
pub(super) use location::{locate, weight_files};
pub(super) use names::BlockNames;
pub(super) use quantised::{Origin, Quantised};
pub(super) use weights::Weights;
pub(super) use write::Checkpoint;
