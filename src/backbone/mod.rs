//! CLIP: an image tower, a text tower and their projections, read from public checkpoint layouts and frozen, or
//! training as a whole.

mod checkpoint;
mod clip;
mod config;
mod describe;
mod flex;
#[cfg(feature = "hub")]
mod hub;
mod initial;
mod location;
mod precision;
mod presets;
mod resnet;
mod text;
mod trainable;
mod transformer;
mod vision;
mod vit;
mod weights;

pub use clip::ClipBackbone;
pub use config::{BackboneConfig, TextConfig, VisionConfig, VisionKind};
#[cfg(feature = "hub")]
pub use hub::Hub;
pub use precision::Precision;
pub use presets::{CheckpointLayout, Preset};
pub use trainable::TrainableClip;
pub use transformer::TowerActivation;
pub use vision::VisualProjection;

pub(crate) use clip::IMAGE_BATCH;
