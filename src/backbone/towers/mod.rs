//! What the towers do.

mod flex;
mod language;
mod packed;
mod resnet;
mod text;
mod transformer;
mod vision;
mod vit;

pub use transformer::TowerActivation;
pub use vision::VisualProjection;

pub(super) use flex::Lanes;
pub(crate) use flex::is_flex;
pub(super) use language::{Language, TextTower};
pub(super) use packed::Form;
pub(super) use text::TextTransformer;
pub(super) use vision::{Tower, Vision};
pub(super) use vit::VisionTransformer;
