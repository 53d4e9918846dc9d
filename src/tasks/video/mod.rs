//! Videos as what a frozen CLIP says about their frames.
//!
//! | What | Sees the order | Learns |
//! | --- | --- | --- |
//! | [`Pooling::Mean`] | no | nothing |
//! | [`Dct`] | yes | nothing: a video becomes a wider row |
//! | [`TemporalTransformer`] | yes | a small transformer, which starts at the mean |
//! | [`Scoring`] | no | nothing: a frame's weight is how well it fits a query |
//!
//! After pooling a video is a row like an image's, and every method of the crate takes it. What CLIP knows of single
//! pictures it knows here too, and no more: an action that no single frame shows is told by the order alone.

mod fitted;
mod pooling;
mod scoring;
mod transformer;

pub use fitted::FittedTemporalTransformer;
pub use pooling::{Dct, Pooling};
pub use scoring::{Moment, Scoring, VideoRetrieval};
pub use transformer::TemporalTransformer;
