use std::fmt;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::thread;

use super::Extracted;
use super::job::Job;
use crate::backbone::{ClipBackbone, IMAGE_BATCH};
use crate::error::{Error, Result};
use crate::input::ImageSource;

/// Images in one file of a store, where nothing else is asked for.
const SHARD: usize = 1024;

/// What an image that cannot be decoded does to an extraction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
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
/// [`ClipBackbone::extract`] begins one.
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
/// Decoded images wait in a queue of two batches a device, so that memory does not grow with the number of images. The
/// bits depend on the images, the weights, the device and the batch: not on the number of workers, nor on whether the
/// run was interrupted.
///
/// # Examples
/// ```no_run
/// use std::ops::ControlFlow;
/// use clip_adapter::{extract::Broken, input::ImageFolder, prelude::*};
///
/// let clip = ClipBackbone::from_pretrained("path/to/clip-vit-base-patch32", &Device::flex())?;
/// let photos = ImageFolder::open("photos/train")?;
/// let extraction = clip.extract().store("photos.store").on_broken(Broken::Skip).on_progress(|now| {
///     println!("{} of {}, {:.0} images/s", now.done, now.total, now.images_per_second);
///     ControlFlow::Continue(())
/// });
/// let train = extraction.run(&photos)?;
/// println!("{} images, {} skipped", train.keys.len(), train.skipped.len());
/// let shots = train.labelled()?.shots(16, 1)?;
/// # Ok::<(), clip_adapter::Error>(())
/// ```
pub struct Extraction<'a> {
    clips: Vec<&'a ClipBackbone>,
    pub(super) workers: usize,
    pub(super) batch: usize,
    pub(super) shard: usize,
    pub(super) broken: Broken,
    pub(super) store: Option<PathBuf>,
    pub(super) part: (usize, usize),
    progress: Option<OnProgress<'a>>,
    skip: Option<OnSkip<'a>>,
}

impl fmt::Debug for Extraction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extraction")
            .field("devices", &self.clips.len())
            .field("workers", &self.workers)
            .field("batch", &self.batch)
            .field("on_broken", &self.broken)
            .field("store", &self.store)
            .field("shard", &self.shard)
            .field("part", &self.part)
            .finish_non_exhaustive()
    }
}

impl ClipBackbone {
    /// Begins the extraction of features from any source of images: choose how, and then [`run`](Extraction::run) it.
    pub fn extract(&self) -> Extraction<'_> {
        Extraction {
            clips: vec![self],
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

impl<'a> Extraction<'a> {
    /// Works on further devices side by side, on each with a copy of the backbone: each takes the next batch. The rows
    /// stay in order; where the devices differ in their last bits, so do the rows.
    pub fn also_on(mut self, copies: impl IntoIterator<Item = &'a ClipBackbone>) -> Self {
        self.clips.extend(copies);
        self
    }

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
    /// A part is whole shards, so that parts can share a store, which [`Store`](super::Store) then reads as one.
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

    /// Extracts, and gives everything in memory: in the source's order, not normalised, and the bits of
    /// [`encode_images`](ClipBackbone::encode_images) where no image is skipped.
    ///
    /// # Errors
    /// [`Error::Setting`] for an option out of range; [`Error::Image`] or [`Error::Read`] with the image at fault, of
    /// which the first is skipped where [`Broken::Skip`] says so; [`Error::Data`] if an embedding is not finite;
    /// [`Error::Execution`] if the device fails; [`Error::ExtractionCancelled`] if a callback says so;
    /// [`Error::Fingerprint`] if the backbones are not copies of one. With a store: [`Error::Fingerprint`] if it is of
    /// another backbone or list of images, [`Error::Malformed`] if a file of it is damaged, [`Error::Write`] if it
    /// cannot be written.
    pub fn run(mut self, source: &dyn ImageSource) -> Result<Extracted> {
        let clips = self.clips.clone();
        let job = Job::new(&clips, source, &self)?;
        let rows = job.run(&mut self)?;
        Extracted::of(source, job.images(), rows, job.dim())
    }

    /// Fills the store and keeps nothing in memory: for more images than fit, and for the tasks of a cluster's array
    /// job. [`Store`](super::Store) then reads it.
    ///
    /// # Errors
    /// As [`run`](Self::run); [`Error::Setting`] if no store was named.
    pub fn fill(mut self, source: &dyn ImageSource) -> Result<()> {
        if self.store.is_none() {
            return Err(Error::setting("store", "a folder", "none"));
        }
        let clips = self.clips.clone();
        Job::new(&clips, source, &self)?.fill(&mut self)?;
        Ok(())
    }

    pub(super) fn report(&mut self, progress: &ExtractProgress) -> ControlFlow<()> {
        match &mut self.progress {
            Some(callback) => callback(progress),
            None => ControlFlow::Continue(()),
        }
    }

    pub(super) fn report_skip(&mut self, key: &Path, error: &Error) {
        if let Some(callback) = &mut self.skip {
            callback(key, error);
        }
    }
}
