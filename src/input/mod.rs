//! From files and sentences to what the towers take: pixels and token ids, exactly as the reference makes them.

mod folder;
mod image;
mod jpeg;
mod resample;
mod tokenizer;

pub use folder::ImageFolder;
pub use image::{CropRounding, Preprocess};
pub use resample::Resampling;
pub use tokenizer::{Tokenized, Tokenizer};

pub(crate) use tokenizer::EndOfText;
