//! What a frozen CLIP says about images and classes: embeddings with labels, the text classifier, few-shot draws, pairs
//! of images and texts, frames of videos, and the files that hold them.

mod classifier;
mod embeddings;
mod file;
mod frame_file;
mod frames;
mod pair_draws;
mod pair_file;
mod pairs;
mod set;
mod shots;
mod similarity;
mod synthetic;

pub use classifier::TextClassifier;
pub use embeddings::Embeddings;
pub use file::{FORMAT, FeatureFile};
pub use frame_file::{FRAME_FORMAT, FrameFile};
pub use frames::FrameSet;
pub use pair_draws::TestPairs;
pub use pair_file::{PAIR_FORMAT, PairFile};
pub use pairs::Pairs;
pub use set::{FeatureSet, TestSet};
pub use shots::Support;
pub use similarity::{contrastive_logits, normalise};

pub(crate) use classifier::check_scale;
pub(crate) use set::check_same_classes;
pub(crate) use similarity::{normalise_slope, norms};
