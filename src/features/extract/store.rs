use std::path::{Path, PathBuf};

use super::{
    Extracted,
    folder::{ShardFolder, locate},
    manifest::{Manifest, list_digest},
    shards::{Rows, Shards, Skipped, kept, name_skipped},
};
use crate::{Error, FeatureFile, Result, archive::PutFloats, features::Embeddings, input::ImageFolder};

/// The features of a folder of images on disk, complete and checked, of which one shard at a time is in memory.
///
/// A store is a folder with a `manifest.json` and one safetensors file for every shard of
/// [`ExtractOptions::shard`](super::ExtractOptions::shard) images. The manifest names what the features are of: the
/// backbone's identity, and the list of images with each one's path below the folder that holds them all, its
/// length in bytes and the time of its last change. Every shard repeats it, and nothing of another manifest is
/// ever used. A file is written whole or not at all; a killed process leaves at most a temporary `.tmp*` file.
///
/// # Examples
/// Write a feature file of any number of images in constant memory:
/// ```no_run
/// use burn::tensor::Device;
/// use clip_adapter::{ClipBackbone, FeatureFile, Prompts, input::ImageFolder};
/// use clip_adapter::features::{ExtractOptions, Store, fill_store};
///
/// let clip = ClipBackbone::from_pretrained("path/to/clip-vit-base-patch32", &Device::flex())?;
/// let photos = ImageFolder::open("photos")?;
/// fill_store(&[&clip], &photos, ExtractOptions::default().store("photos.store"))?;
/// let store = Store::open(&["photos.store"], clip.identity(), &photos)?;
/// let classes = clip.text_classifier(photos.class_names(), &Prompts::default())?;
/// FeatureFile::new("photos", classes).write_with("photos.safetensors", &[("train", &store)])?;
/// # Ok::<(), clip_adapter::Error>(())
/// ```
pub struct Store<'a> {
    images: &'a ImageFolder,
    folders: Vec<ShardFolder>,
    places: Vec<usize>, // the folder of each shard
    dim: usize,
    skipped: Vec<Skipped>,
}

impl<'a> Store<'a> {
    /// Opens a store that holds the features of all of `images`, in one folder or, where every part of a cluster's
    /// job had its own, in several. `backbone` is [`ClipBackbone::identity`](crate::ClipBackbone::identity).
    ///
    /// # Errors
    /// [`Error::Fingerprint`] with both sides if a folder is of another backbone or list; [`Error::Data`] with the
    /// shards that are missing or in two folders; [`Error::Read`] or [`Error::Malformed`] for a damaged file.
    pub fn open(folders: &[impl AsRef<Path>], backbone: &str, images: &'a ImageFolder) -> Result<Self> {
        let Some(first) = folders.first() else {
            return Err(Error::data("stores", "at least one folder", "none"));
        };
        let expected = Manifest {
            backbone: backbone.to_owned(),
            images: list_digest(images.files())?,
            ..Manifest::read(first.as_ref())?
        };
        let folders = folders
            .iter()
            .map(|folder| {
                expected.check(&Manifest::read(folder.as_ref())?)?;
                Ok(ShardFolder::new(folder.as_ref(), expected.clone(), images.files().len()))
            })
            .collect::<Result<Vec<_>>>()?;
        let shards = Shards { images: images.files().len(), size: expected.shard };
        let places = locate(&folders, shards)?;
        let mut store = Self { images, folders, places, dim: expected.dim, skipped: Vec::new() };
        for shard in 0..store.places.len() {
            let rows = store.read(shard)?;
            store.skipped.extend(rows.skipped);
        }
        Ok(store)
    }

    /// The number of images that have features.
    pub fn len(&self) -> usize {
        self.images.files().len() - self.skipped.len()
    }

    /// Whether no image has.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The images that were left out, each with what was wrong with it.
    pub fn skipped(&self) -> Vec<(PathBuf, Error)> {
        name_skipped(self.images.files(), &self.skipped)
    }

    /// All features in memory: what [`ClipBackbone::extract`](crate::ClipBackbone::extract) gives.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn load(&self) -> Result<Extracted> {
        let mut rows = Rows::default();
        for shard in 0..self.places.len() {
            rows.append(self.read(shard)?);
        }
        Extracted::of_images(self.images, 0..self.images.files().len(), rows, self.dim)
    }

    fn labels(&self) -> Vec<usize> {
        let kept = kept(0..self.images.files().len(), &self.skipped);
        kept.into_iter().map(|image| self.images.labels()[image]).collect()
    }

    fn read(&self, shard: usize) -> Result<Rows> {
        self.folders[self.places[shard]].read(shard)
    }

    /// Hands over all normalised features, a shard at a time.
    fn each(&self, put: &mut PutFloats<'_>) -> Result<()> {
        for shard in 0..self.places.len() {
            let rows = Embeddings::new(self.read(shard)?.values, self.dim)?;
            put(rows.into_normalised().values())?;
        }
        Ok(())
    }
}

/// Joins the parts that the tasks of a cluster's array job extracted, into what a single run gives.
///
/// `stores` is the folder that the tasks shared, or the folder of each.
///
/// # Errors
/// As [`Store::open`].
pub fn merge(stores: &[impl AsRef<Path>], backbone: &str, images: &ImageFolder) -> Result<Extracted> {
    Store::open(stores, backbone, images)?.load()
}

impl FeatureFile {
    /// As [`write`](Self::write), with further splits straight out of stores, of which one shard at a time is read.
    /// The bytes are those of the file that holds the same splits in memory.
    ///
    /// # Errors
    /// As [`write`](Self::write), [`with_split`](Self::with_split) and [`Store::open`].
    pub fn write_with(&self, path: impl AsRef<Path>, splits: &[(&str, &Store<'_>)]) -> Result<()> {
        let mut archive = self.archive()?;
        for &(name, store) in splits {
            self.check_split(name, store.dim, store.images.class_names())?;
            let shape = [store.len(), store.dim];
            archive.floats_from(format!("{name}.features"), &shape, move |put| store.each(put));
            archive.indices(format!("{name}.labels"), &store.labels());
        }
        archive.write(path.as_ref())
    }
}
