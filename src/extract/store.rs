use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::Extracted;
use super::folder::{ShardFolder, locate};
use super::manifest::Manifest;
use super::shards::{Rows, Shards, Skipped, kept, name_skipped};
use crate::archive::PutFloats;
use crate::error::{Error, Result};
use crate::features::{Embeddings, FeatureFile};
use crate::input::{ImageSource, readable};

/// The features of a list of images on disk, complete and checked, of which one shard at a time is in memory.
///
/// A store is a folder with a `manifest.json` and one safetensors file for every shard of
/// [`Extraction::shard`](super::Extraction::shard) images. The manifest names what the features are of: the backbone's
/// identity, and that of the list of images ([`ImageSource::identity`]). Every shard repeats it, and nothing of another
/// manifest is ever used. A file is written whole or not at all; a killed process leaves at most a temporary
/// `.clip-adapter-*` file.
///
/// # Examples
/// Write a feature file of any number of images in constant memory:
/// ```no_run
/// use clip_adapter::{extract::Store, input::ImageFolder, prelude::*};
///
/// let clip = ClipBackbone::from_pretrained("path/to/clip-vit-base-patch32", &Device::flex())?;
/// let photos = ImageFolder::open("photos")?;
/// clip.extract().store("photos.store").fill(&photos)?;
/// let store = Store::open(&["photos.store"], clip.identity())?;
/// let classes = clip.text_classifier(photos.class_names(), &Prompts::default())?;
/// FeatureFile::new("photos", classes).write_with("photos.safetensors", &[("train", &store, &photos)])?;
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug)]
pub struct Store {
    folders: Vec<ShardFolder>,
    places: Vec<usize>, // the folder of each shard
    manifest: Manifest,
    images: usize,
    skipped: Vec<Skipped>,
}

impl Store {
    /// Opens a store of `backbone`'s features, [`ClipBackbone::identity`](crate::ClipBackbone::identity): one folder
    /// or, where every part of a cluster's job had its own, several. The headers of all shards are read and checked,
    /// and no values.
    ///
    /// # Errors
    /// [`Error::Fingerprint`] with both sides if a folder is of another backbone or list; [`Error::Data`] with the
    /// shards that are missing or in two folders; [`Error::Read`] or [`Error::Malformed`] for a damaged file.
    pub fn open(folders: &[impl AsRef<Path>], backbone: &str) -> Result<Self> {
        let Some(first) = folders.first() else {
            return Err(Error::data("stores", "at least one folder", "none"));
        };
        let manifest = Manifest { backbone: backbone.to_owned(), ..Manifest::read(first.as_ref())? };
        let images = manifest.count(first.as_ref())?;
        let folders = folders
            .iter()
            .map(|folder| {
                manifest.check(&Manifest::read(folder.as_ref())?)?;
                Ok(ShardFolder::new(folder.as_ref(), manifest.clone(), images))
            })
            .collect::<Result<Vec<_>>>()?;
        let places = locate(&folders, Shards { images, size: manifest.shard })?;
        let skipped = |(shard, &place): (usize, &usize)| folders[place].skipped(shard);
        let found: Vec<Result<Vec<Skipped>>> = places.par_iter().enumerate().map(skipped).collect();
        let skipped = found.into_iter().collect::<Result<Vec<_>>>()?.concat(); // the first error, whoever was first
        Ok(Self { folders, places, manifest, images, skipped })
    }

    /// The number of images that have features.
    pub fn len(&self) -> usize {
        self.images - self.skipped.len()
    }

    /// Whether no image has.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The width of a feature.
    pub fn dim(&self) -> usize {
        self.manifest.dim
    }

    /// The images that were left out, each with what was wrong with it.
    ///
    /// # Errors
    /// [`Error::Fingerprint`] if the store is of another list than `source`.
    pub fn skipped(&self, source: &dyn ImageSource) -> Result<Vec<(PathBuf, Error)>> {
        self.check(source)?;
        Ok(name_skipped(source, &self.skipped))
    }

    /// All features in memory: what [`Extraction::run`](super::Extraction::run) gives.
    ///
    /// # Errors
    /// As [`open`](Self::open); [`Error::Fingerprint`] if the store is of another list than `source`.
    pub fn load(&self, source: &dyn ImageSource) -> Result<Extracted> {
        self.check(source)?;
        let mut rows = Rows::default();
        for shard in 0..self.places.len() {
            rows.append(self.read(shard)?);
        }
        Extracted::of(source, 0..self.images, rows, self.dim())
    }

    fn check(&self, source: &dyn ImageSource) -> Result<()> {
        self.manifest.of(source)?.check(&self.manifest)
    }

    /// The number of images of each class of `source` that have features.
    ///
    /// # Errors
    /// [`Error::Fingerprint`] if the store is of another list than `source`; [`Error::Data`] for an image without a
    /// class.
    pub fn class_counts(&self, source: &dyn ImageSource) -> Result<Vec<usize>> {
        self.check(source)?;
        let mut counts = vec![0; source.class_names().len()];
        self.labels(source, source.class_names())?.into_iter().for_each(|label| counts[label] += 1);
        Ok(counts)
    }

    /// One class index a row, among these names.
    fn labels(&self, source: &dyn ImageSource, class_names: &[String]) -> Result<Vec<usize>> {
        let place = |name: &String| class_names.iter().position(|known| known == name);
        let places: Vec<Option<usize>> = match source.class_names() == class_names {
            true => (0..class_names.len()).map(Some).collect(),
            false => source.class_names().iter().map(place).collect(),
        };
        let label = |image: usize| {
            let label = source.label(image);
            label.and_then(|label| *places.get(label)?).ok_or_else(|| {
                let found = match label.and_then(|label| source.class_names().get(label)) {
                    Some(name) => format!("`{name}`"),
                    None => "none".into(),
                };
                Error::data(readable(source.key(image).as_ref()), "a class of the file", found)
            })
        };
        kept(0..self.images, &self.skipped).into_iter().map(label).collect()
    }

    fn read(&self, shard: usize) -> Result<Rows> {
        self.folders[self.places[shard]].read(shard)
    }

    /// Hands over all normalised features, a shard at a time.
    fn each(&self, put: &mut PutFloats<'_>) -> Result<()> {
        for shard in 0..self.places.len() {
            let rows = Embeddings::new(self.read(shard)?.values, self.dim())?;
            put(rows.into_normalised().values())?;
        }
        Ok(())
    }
}

impl FeatureFile {
    /// As [`write`](Self::write), with further splits straight out of stores, of which one shard at a time is read: the
    /// name of each, its store, and the images that the store is of. The bytes are those of the file that holds the
    /// same splits in memory. A class of the images that the file does not have is left out if none of its images has
    /// features.
    ///
    /// # Errors
    /// As [`write`](Self::write), [`with_split`](Self::with_split) and [`Store::load`].
    pub fn write_with(
        &self,
        path: impl AsRef<Path>,
        splits: &[(&str, &Store, &dyn ImageSource)],
    ) -> Result<()> {
        let mut archive = self.archive()?;
        for &(name, store, source) in splits {
            store.check(source)?;
            let names = self.classifier().class_names();
            let mut known = source.class_names().to_vec();
            known.retain(|name| names.contains(name));
            let all_known = known == names;
            self.check_split(name, store.dim(), if all_known { names } else { source.class_names() })?;
            let shape = [store.len(), store.dim()];
            archive.floats_from(format!("{name}.features"), &shape, move |put| store.each(put));
            archive.indices(format!("{name}.labels"), &store.labels(source, names)?);
        }
        archive.write(path.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;
    use std::{env, fs};

    use super::*;

    /// Rows in a shard, and numbers in a row: those of CLIP ViT-B/32.
    const ROWS: usize = 1024;
    const DIM: usize = 512;

    /// A store of made-up rows, and its file of one shard.
    fn filled(folder: &Path, shards: usize) -> Vec<PathBuf> {
        let manifest = Manifest {
            format: "clip-store/1".into(),
            backbone: "made up".into(),
            precision: crate::backbone::Precision::F32,
            images: format!("{} images of nothing", shards * ROWS),
            dim: DIM,
            batch: 32,
            shard: ROWS,
        };
        manifest.claim(folder).unwrap();
        let shard_folder = ShardFolder::new(folder, manifest, shards * ROWS);
        let rows = Rows { values: (0..ROWS * DIM).map(|at| (at % 97) as f32).collect(), skipped: Vec::new() };
        (0..shards).for_each(|shard| shard_folder.write(shard, &rows).unwrap());
        (0..shards).map(|shard| folder.join(format!("shard-{shard:06}.safetensors"))).collect()
    }

    /// `CLIP_ADAPTER_SHARDS=1000` measures what is promised of 2 GB; without, a twentieth is held to a looser bound.
    #[test]
    fn opening_reads_headers_only() {
        let folder = tempfile::tempdir().unwrap();
        let (shards, least) = match env::var("CLIP_ADAPTER_SHARDS") {
            Ok(shards) => (shards.parse().unwrap(), 50.0),
            Err(_) => (50, 4.0),
        };
        let paths = filled(folder.path(), shards);
        let open = || Store::open(&[folder.path()], "made up").unwrap();
        let timed = || {
            let start = Instant::now();
            open();
            start.elapsed().as_secs_f64()
        };
        let opened = (0..5).map(|_| timed()).fold(f64::INFINITY, f64::min); // other tests run beside this one
        let store = open();
        assert_eq!(store.len(), shards * ROWS);
        let start = Instant::now();
        let sum: f64 = (0..shards).map(|shard| f64::from(store.read(shard).unwrap().values[1])).sum();
        let read = start.elapsed().as_secs_f64();
        assert_eq!(sum, shards as f64);
        println!("{shards} shards: opened in {opened:.4} s, read in {read:.4} s, {:.0} times", read / opened);
        assert!(read > least * opened, "opened in {opened} s, read in {read} s");

        // A value that is damaged is found by who reads it.
        let mut bytes = fs::read(&paths[1]).unwrap();
        let last = bytes.len() - 4;
        bytes[last..].copy_from_slice(&f32::NAN.to_le_bytes());
        fs::write(&paths[1], bytes).unwrap();
        let store = open();
        assert!(store.each(&mut |_| Ok(())).is_err());
    }
}
