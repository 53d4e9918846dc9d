//! From files and sentences to what the towers take: pixels and token ids, exactly as the reference makes them.

mod augment;
mod captions;
mod clean;
mod decode;
mod frames;
mod image_input;
mod preprocess;
mod prompt_sets;
mod prompts;
mod questions;
mod resample;
mod source;
mod texts;
mod tokenizer;

pub use augment::{Augment, View};
pub use captions::{CaptionedImages, LeftOut, Why, left_out_lines};
pub use decode::decode;
pub use frames::{FFMPEG_TIMEOUT, Frame, Frames, Sampling, VIDEO_ENDINGS, Video};
pub use image_input::{ImageBytes, ImageInput};
pub use preprocess::{CropRounding, Preprocess, ResizeMode};
pub use prompts::Prompts;
pub use questions::{Question, QuestionList, YES_NO};
pub use resample::Resampling;
pub use source::{ImageFolder, ImageList, ImageSource, readable};
pub use texts::read_texts;
pub use tokenizer::{Tokenized, Tokenizer};

pub(crate) use questions::check as check_questions;
pub(crate) use tokenizer::{Cleaning, EndOfText};
