//! The CLIP and the icons that are shipped with the crate, for the examples that run on them unless others are given.

use std::path::{Path, PathBuf};

use clap::Args;
use clip_adapter::{Prompts, Result};

// Which CLIP, how it is asked, and of what. No doc comment: clap would take it for what the whole command does.
#[derive(Args)]
pub struct Task {
    /// A CLIP in the layout of Hugging Face or open_clip; the pocket model where none is given
    #[arg(long, value_name = "DIR")]
    backbone: Option<PathBuf>,
    /// A named set of prompts such as imagenet-80, or a file: a JSON array (.json) or one a line, each with {} where
    /// the class name goes
    #[arg(long, value_name = "NAME|FILE")]
    prompts: Option<String>,
    /// One sub-folder a class; icons of a kind that the pocket model never saw where none is given
    #[arg(long, value_name = "FOLDER")]
    images: Option<PathBuf>,
}

impl Task {
    /// The checkpoint.
    pub fn folder(&self) -> PathBuf {
        self.backbone.clone().unwrap_or_else(|| path("model"))
    }

    /// The prompts given, or else those that the pocket model was trained with, or else the usual one.
    pub fn prompts(&self) -> Result<Prompts> {
        match (&self.prompts, &self.backbone) {
            (Some(prompts), _) => Prompts::find(prompts),
            (None, None) => Prompts::read(path("prompts.txt")),
            (None, Some(_)) => Ok(Prompts::default()),
        }
    }

    /// What is learned from.
    pub fn images(&self) -> PathBuf {
        self.images.clone().unwrap_or_else(|| path("images/icon-line"))
    }

    /// Whether they are those that are shipped, for which there are others in another style.
    pub fn has_shipped_images(&self) -> bool {
        self.images.is_none()
    }
}

/// A file or folder beside the pocket model.
pub fn path(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/pocket").join(part)
}
