//! What the JSON files beside a checkpoint's weights say, in each public layout.
//!
//! What they say is done as the reference does it, or refused: a file never has an effect there that it does not have
//! here, or none. So every key is known, by one of these modules or as one of those that change nothing.

mod hugging_face;
mod keys;
mod open_clip;
mod processor;
mod section;
mod tokenizer;

use std::path::Path;

use super::CheckpointLayout;
use crate::backbone::BackboneConfig;
use crate::error::{Error, Result};
use crate::input::{Preprocess, ResizeMode};

/// What a file of weights is called in the layout of open_clip: as it writes it, and as the hub converts it.
pub(super) const OPEN_CLIP_WEIGHTS: [&str; 2] =
    ["open_clip_model.safetensors", "open_clip_pytorch_model.safetensors"];

/// How images are prepared: the file of all versions of transformers up to 4, and the one that 5 writes.
pub(super) const PROCESSOR_FILES: [&str; 2] = ["preprocessor_config.json", "processor_config.json"];

/// Everything a checkpoint's JSON files say.
pub(in crate::backbone) struct Description {
    pub layout: CheckpointLayout,
    pub config: BackboneConfig,
    pub preprocess: Preprocess,
    /// The padding token; none where padding is id 0.
    pub pad: Option<String>,
}

pub(in crate::backbone) fn describe(folder: &Path) -> Result<Description> {
    let has = |file: &str| folder.join(file).exists();
    // Some repositories hold both layouts' configurations, and safetensors of one.
    let weights = OPEN_CLIP_WEIGHTS.into_iter().any(has);
    let description = if has(open_clip::CONFIG) && (weights || !has("config.json")) {
        open_clip::read(folder)?
    } else {
        hugging_face::read(folder)?
    };
    let Description { config, preprocess, .. } = &description;
    config.validate()?;
    preprocess.validate()?;
    if preprocess.crop != config.vision.image_size {
        let squashed = preprocess.resize_mode == ResizeMode::Squash && preprocess.resize == preprocess.crop;
        let name = if squashed { "size" } else { "crop_size" };
        let expected = format!("the image tower's {} pixels", config.vision.image_size);
        return Err(Error::setting(name, expected, preprocess.crop));
    }
    Ok(description)
}
