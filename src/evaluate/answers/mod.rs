//! Whether an answer to a question is right: the accuracy of VQA, and what makes two spellings one answer.
//!
//! Pure functions of texts. The protocol: a question has ten human answers, and an answer that three of them gave is
//! right (Antol et al., 2015, section 4, <https://arxiv.org/abs/1505.00468>).

mod accuracy;
mod contractions;
mod normalise;

pub use accuracy::{exact_match, vqa_accuracy};
pub use normalise::Normalise;
