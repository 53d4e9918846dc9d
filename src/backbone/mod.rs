//! The frozen CLIP: an image tower, a text tower and their projections, read from public checkpoint layouts.

mod clip;
mod config;
mod describe;
mod flex;
mod precision;
#[cfg(feature = "hub")]
mod hub;
mod location;
mod presets;
mod resnet;
mod text;
mod transformer;
mod vit;
mod weights;

pub use clip::ClipBackbone;
pub use config::{BackboneConfig, TextConfig, VisionConfig, VisionKind};
pub use precision::Precision;
#[cfg(feature = "hub")]
pub use hub::Hub;
pub use presets::{CheckpointLayout, Preset};
pub use transformer::TowerActivation;

pub(crate) use clip::IMAGE_BATCH;
