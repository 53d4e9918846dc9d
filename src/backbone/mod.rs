//! CLIP: an image tower, a text tower and their projections, read from public checkpoint layouts and frozen, or
//! training as a whole.

mod checkpoint;
mod clip;
mod config;
mod patches;
mod precision;
mod quantised;
mod samples;
mod towers;
mod trainable;

#[cfg(feature = "hub")]
pub use checkpoint::Hub;
pub use checkpoint::{CheckpointLayout, Preset};
pub use clip::ClipBackbone;
pub use config::{BackboneConfig, TextConfig, VisionConfig, VisionKind};
pub use precision::Precision;
pub use towers::{TowerActivation, VisualProjection};
pub use trainable::TrainableClip;

pub(crate) use clip::IMAGE_BATCH;
pub(crate) use towers::is_flex;
