//! From files and sentences to what the towers take: pixels and token ids, exactly as the reference makes them.

mod augment;
mod folder;
mod image;
mod jpeg;
mod prompt_sets;
mod prompts;
mod resample;
mod texts;
mod tokenizer;

pub use augment::{Augment, View};
pub use folder::ImageFolder;
pub use image::{CropRounding, Preprocess};
pub use prompts::Prompts;
pub use resample::Resampling;
pub use texts::read_texts;
pub use tokenizer::{Tokenized, Tokenizer};

pub(crate) use tokenizer::EndOfText;
