//! What is learned before the few examples come: a CLIP of one's own, by contrast between pictures and captions.

mod contrastive;
mod lanes;

pub use contrastive::{Contrastive, ContrastiveBatch, ContrastiveLosses};
pub use lanes::Lanes;
