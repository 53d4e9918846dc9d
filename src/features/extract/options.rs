use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
    thread,
};

use crate::{Error, Result, backbone::IMAGE_BATCH};

/// Images in one file of a store, where nothing else is asked for.
const SHARD: usize = 1024;

/// What an image that cannot be decoded does to an extraction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Broken {
    /// It ends the extraction with the error that names it.
    #[default]
    Fail,
    /// It is reported and left out.
    Skip,
}

/// What an extraction reports after each batch.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ExtractProgress {
    /// Images dealt with, those found in the store and those skipped included.
    pub done: usize,
    /// Images there are in this part of the list.
    pub total: usize,
    /// Images left out because they could not be decoded.
    pub skipped: usize,
    /// Images dealt with per second since the start, those found in the store not counted.
    pub images_per_second: f64,
    /// Seconds left at this rate.
    pub seconds_left: f64,
}

type OnProgress<'a> = Box<dyn FnMut(&ExtractProgress) -> ControlFlow<()> + 'a>;
type OnSkip<'a> = Box<dyn FnMut(&Path, &Error) + 'a>;

/// How images become features: on how many threads, what a broken one does, where the work is kept.
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `workers` | the cores | 1 or more | threads that decode and resize while the model runs; no effect on the result |
/// | `batch` | 32 | 1 or more | images encoded at once; other batches may give other last bits |
/// | `on_broken` | fail | | whether an image that cannot be decoded ends the extraction |
/// | `store` | none | | folder that keeps finished shards |
/// | `shard` | 1024 | a multiple of `batch` | images in one file of the store: what a killed process loses at most |
/// | `part` | 1 of 1 | 1..=n of n | which part of the list to extract, in whole shards |
///
/// Decoded images wait in a queue of two batches a device, so that memory does not grow with the number of images.
///
/// # Examples
/// ```no_run
/// use std::ops::ControlFlow;
/// use burn::tensor::Device;
/// use clip_adapter::{ClipBackbone, features::{Broken, ExtractOptions}, input::ImageFolder};
///
/// let clip = ClipBackbone::from_pretrained("path/to/clip-vit-base-patch32", &Device::flex())?;
/// let photos = ImageFolder::open("photos/train")?;
/// let options = ExtractOptions::default().store("photos.store").on_broken(Broken::Skip).on_progress(|now| {
///     println!("{} of {}, {:.0} images/s", now.done, now.total, now.images_per_second);
///     ControlFlow::Continue(())
/// });
/// let train = clip.extract(&photos, options)?;
/// println!("{} images, {} skipped", train.features.len(), train.skipped.len());
/// # Ok::<(), clip_adapter::Error>(())
/// ```
pub struct ExtractOptions<'a> {
    pub(super) workers: usize,
    pub(super) batch: usize,
    pub(super) shard: usize,
    pub(super) broken: Broken,
    pub(super) store: Option<PathBuf>,
    pub(super) part: (usize, usize),
    progress: Option<OnProgress<'a>>,
    skip: Option<OnSkip<'a>>,
}

impl Default for ExtractOptions<'_> {
    fn default() -> Self {
        Self {
            workers: thread::available_parallelism().map_or(1, usize::from),
            batch: IMAGE_BATCH,
            shard: SHARD,
            broken: Broken::Fail,
            store: None,
            part: (1, 1),
            progress: None,
            skip: None,
        }
    }
}

impl<'a> ExtractOptions<'a> {
    /// Decodes and resizes on this many threads.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Encodes this many images at once.
    pub fn batch(mut self, images: usize) -> Self {
        self.batch = images;
        self
    }

    /// Keeps finished features in this folder, in files of [`shard`](Self::shard) images, and goes on from what is
    /// there. A store of another backbone or another list of images is refused.
    pub fn store(mut self, folder: impl AsRef<Path>) -> Self {
        self.store = Some(folder.as_ref().to_owned());
        self
    }

    /// Puts this many images into one file of the store.
    pub fn shard(mut self, images: usize) -> Self {
        self.shard = images;
        self
    }

    /// Decides what an image that cannot be decoded does.
    pub fn on_broken(mut self, broken: Broken) -> Self {
        self.broken = broken;
        self
    }

    /// Extracts the `index`-th of `count` parts of the list only, counted from 1: one task of a cluster's array job.
    /// A part is whole shards, so that parts can share a store; [`merge`](super::merge) then puts them together.
    /// With fewer shards than parts, some parts are empty.
    pub fn part(mut self, index: usize, count: usize) -> Self {
        self.part = (index, count);
        self
    }

    /// Calls back after every batch, on the calling thread. [`ControlFlow::Break`] ends the extraction with
    /// [`Error::ExtractionCancelled`]; finished shards stay in the store.
    pub fn on_progress(mut self, callback: impl FnMut(&ExtractProgress) -> ControlFlow<()> + 'a) -> Self {
        self.progress = Some(Box::new(callback));
        self
    }

    /// Calls back for every image that is skipped, on the calling thread.
    pub fn on_skip(mut self, callback: impl FnMut(&Path, &Error) + 'a) -> Self {
        self.skip = Some(Box::new(callback));
        self
    }

    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first one outside.
    pub fn validate(&self) -> Result<()> {
        if self.workers == 0 {
            return Err(Error::setting("workers", "1 or more", 0));
        }
        if self.batch == 0 {
            return Err(Error::setting("batch", "1 or more images", 0));
        }
        if self.shard == 0 || !self.shard.is_multiple_of(self.batch) {
            return Err(Error::setting("shard", format!("a multiple of {} images", self.batch), self.shard));
        }
        let (index, count) = self.part;
        if index == 0 || index > count {
            return Err(Error::setting(
                "part",
                format!("1..={count} of {count}"),
                format!("{index}/{count}"),
            ));
        }
        Ok(())
    }

    pub(super) fn report(&mut self, progress: &ExtractProgress) -> ControlFlow<()> {
        match &mut self.progress {
            Some(callback) => callback(progress),
            None => ControlFlow::Continue(()),
        }
    }

    pub(super) fn report_skip(&mut self, file: &Path, error: &Error) {
        if let Some(callback) = &mut self.skip {
            callback(file, error);
        }
    }
}
