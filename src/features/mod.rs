//! What a frozen CLIP says about images and classes: embeddings with labels, their extraction from folders of
//! images, the text classifier, few-shot draws, and the file that holds them.

mod classifier;
mod embeddings;
mod extract;
mod file;
mod set;
mod shots;
mod similarity;
mod synthetic;

pub use classifier::TextClassifier;
pub use embeddings::Embeddings;
pub use extract::{Broken, ExtractOptions, ExtractProgress, Extracted, Store, extract_on, fill_store, merge};
pub use file::{FORMAT, FeatureFile};
pub use set::{FeatureSet, TestSet};
pub use shots::Support;
pub use similarity::{contrastive_logits, normalise};

pub(crate) use similarity::{normalise_slope, norms};
