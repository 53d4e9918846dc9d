//! From folders of images to features: decoding and resizing on worker threads while the model runs, on one device
//! or several, in parts on a cluster, kept in a store that an interrupted run goes on from.

mod folder;
mod job;
mod manifest;
mod options;
mod pipeline;
mod shards;
mod store;

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

pub use options::{Broken, ExtractOptions, ExtractProgress};
pub use store::{Store, merge};

use super::{Embeddings, FeatureSet};
use crate::{ClipBackbone, Error, Result, input::ImageFolder};
use job::Job;
use shards::{Rows, kept, name_skipped};

/// What an extraction found.
#[derive(Debug)]
pub struct Extracted<F = FeatureSet> {
    /// The features, one row a file: with labels where the files came from a folder with classes.
    pub features: F,
    /// The files that the rows are of.
    pub files: Vec<PathBuf>,
    /// The files that were left out, each with what was wrong with it.
    pub skipped: Vec<(PathBuf, Error)>,
}

impl Extracted<Embeddings> {
    /// Names the rows of consecutive files of a list. Not normalised.
    fn of_files(files: &[PathBuf], images: Range<usize>, rows: Rows, dim: usize) -> Result<Self> {
        Ok(Self {
            files: kept(images, &rows.skipped).into_iter().map(|image| files[image].clone()).collect(),
            skipped: name_skipped(files, &rows.skipped),
            features: Embeddings::new(rows.values, dim)?,
        })
    }
}

impl Extracted<FeatureSet> {
    /// Normalises and labels the rows of consecutive images of a folder.
    fn of_images(folder: &ImageFolder, images: Range<usize>, rows: Rows, dim: usize) -> Result<Self> {
        let labels = kept(images.clone(), &rows.skipped);
        let labels = labels.into_iter().map(|image| folder.labels()[image]).collect();
        let Extracted { features, files, skipped } = Extracted::of_files(folder.files(), images, rows, dim)?;
        let features = FeatureSet::new(features.into_normalised(), labels, folder.class_names())?;
        Ok(Self { features, files, skipped })
    }
}

impl ClipBackbone {
    /// Features of a folder of labelled images, each row of unit length, in the folder's order.
    ///
    /// The bits depend on the images, the weights, the device and the batch: not on the number of workers, nor on
    /// whether the run was interrupted.
    ///
    /// # Errors
    /// [`Error::Setting`] for an option out of range; [`Error::Image`] or [`Error::Read`] with the file at fault, of
    /// which the first is skipped where [`Broken::Skip`] says so; [`Error::Data`] if an embedding is not finite or a
    /// class has no name of its own; [`Error::Execution`] if the device fails; [`Error::ExtractionCancelled`] if a
    /// callback says so. With a store: [`Error::Fingerprint`] if it is of another backbone or list of images,
    /// [`Error::Malformed`] if a file of it is damaged, [`Error::Write`] if it cannot be written.
    pub fn extract(&self, images: &ImageFolder, options: ExtractOptions<'_>) -> Result<Extracted> {
        extract_on(&[self], images, options)
    }

    /// Embeddings of a list of images, not normalised, in the list's order: the bits of
    /// [`encode_images`](Self::encode_images) where no image is skipped, decoded on worker threads.
    ///
    /// # Errors
    /// As [`extract`](Self::extract).
    pub fn extract_files(
        &self,
        files: &[impl AsRef<Path>],
        mut options: ExtractOptions<'_>,
    ) -> Result<Extracted<Embeddings>> {
        let files: Vec<PathBuf> = files.iter().map(|file| file.as_ref().to_owned()).collect();
        let clips = [self];
        let job = Job::new(&clips, &files, &options)?;
        let rows = job.run(&mut options)?;
        Extracted::of_files(&files, job.images(), rows, job.dim())
    }
}

/// As [`ClipBackbone::extract`], on several devices side by side: each copy of the backbone takes the next batch.
/// The rows stay in order; where the devices differ in their last bits, so do the rows.
///
/// # Errors
/// As [`ClipBackbone::extract`]; [`Error::Fingerprint`] if the backbones are not copies of one.
pub fn extract_on(
    clips: &[&ClipBackbone],
    images: &ImageFolder,
    mut options: ExtractOptions<'_>,
) -> Result<Extracted> {
    let job = Job::new(clips, images.files(), &options)?;
    let rows = job.run(&mut options)?;
    Extracted::of_images(images, job.images(), rows, job.dim())
}

/// Fills the options' store and keeps nothing in memory: for more images than fit, and for the tasks of a cluster's
/// array job. [`Store`] and [`merge`] then read it.
///
/// # Errors
/// As [`extract_on`]; [`Error::Setting`] if the options name no store.
pub fn fill_store(
    clips: &[&ClipBackbone],
    images: &ImageFolder,
    mut options: ExtractOptions<'_>,
) -> Result<()> {
    if options.store.is_none() {
        return Err(Error::setting("store", "a folder", "none"));
    }
    Job::new(clips, images.files(), &options)?.fill(&mut options)?;
    Ok(())
}
