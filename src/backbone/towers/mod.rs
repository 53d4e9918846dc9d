//! What the towers do.

mod flex;
mod resnet;
mod text;
mod transformer;
mod vision;
mod vit;

pub use transformer::TowerActivation;
pub use vision::VisualProjection;

pub(super) use flex::Lanes;
pub(crate) use flex::is_flex;
pub(super) use text::TextTransformer;
pub(super) use transformer::BlockShape;
pub(super) use vision::{Tower, Vision};
pub(super) use vit::VisionTransformer;
