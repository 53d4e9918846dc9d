use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use super::listing::list;
use super::work::Work;
use super::{Changes, Item, LeftOut, PhotoIndex};
use crate::backbone::ClipBackbone;
use crate::error::{Error, Result};
use crate::extract::{Broken, ExtractProgress};
use crate::input::{ImageList, readable};
use crate::tasks::search::{Index, Rows};

/// Images in one part of the work, where nothing else is asked for.
const SHARD: usize = 1024;

type OnProgress<'a> = Box<dyn FnMut(&ExtractProgress) -> ControlFlow<()> + 'a>;

/// Builds an index of a folder of images, or brings one up to date.
///
/// An image is known by its content: only a content that the index does not have is encoded, whatever was moved,
/// copied or touched. A file is read again only if its length or its time of change is another; so a file that is
/// replaced by one of the same length with the same time stays what it was. What cannot be decoded is left out, with
/// the reason, and tried again in the next run.
///
/// What is finished is kept in a folder beside the index, `{path}.work`, until the index is written. A run that was
/// killed goes on from there, and ends in the same bytes as one that was not.
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `shard` | 1024 | 1 or more | images after which what is finished is kept: what a killed process loses at most |
/// | `workers` | the cores | 1 or more | threads that decode and resize while the model runs; no effect on the result |
///
/// # Examples
/// ```no_run
/// use clip_adapter::{prelude::*, tasks::search::Indexer};
///
/// let clip = ClipBackbone::from_pretrained("path/to/clip-vit-base-patch32", &Device::flex())?;
/// let (index, changes) = Indexer::new(&clip).run("photos", "photos.index")?;
/// println!("{} added, {} removed, {} encoded", changes.added.len(), changes.removed.len(), changes.encoded);
/// for found in index.search_text(&clip, "a red bicycle in the rain", 10)? {
///     println!("{:.3} {}", found.score, found.path);
/// }
/// # Ok::<(), clip_adapter::Error>(())
/// ```
pub struct Indexer<'a> {
    clip: &'a ClipBackbone,
    shard: usize,
    workers: Option<usize>,
    progress: Option<OnProgress<'a>>,
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
        Self { clip, shard: SHARD, workers: None, progress: None }
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
    /// work with [`Error::ExtractionCancelled`]; whole shards are kept beside the index for the next run.
    pub fn on_progress(mut self, callback: impl FnMut(&ExtractProgress) -> ControlFlow<()> + 'a) -> Self {
        self.progress = Some(Box::new(callback));
        self
    }

    /// Builds the index at `path` of all images in a folder and its sub-folders, or brings the one there up to date.
    ///
    /// # Errors
    /// [`Error::Data`] if the folder has no image, or none that can be read, so that a disk that is not there never
    /// empties an index; or if the index is that of a feature file. [`Error::Fingerprint`] if the index, or what is
    /// unfinished beside it, is of another backbone; [`Error::Malformed`] if it is damaged. [`Error::Read`] if a folder
    /// cannot be listed; [`Error::Write`]; [`Error::Setting`] for a setting out of range; [`Error::ExtractionCancelled`]
    /// if the callback says so.
    pub fn run(mut self, images: impl AsRef<Path>, path: impl AsRef<Path>) -> Result<(PhotoIndex, Changes)> {
        let (root, path) = (images.as_ref(), path.as_ref());
        if self.shard == 0 {
            return Err(Error::setting("shard", "1 or more images", 0));
        }
        let before = self.before(path)?;
        let known = |name: &str| Some(&before.items()[before.row_of(name)?]);
        let (listed, mut left_out) = list(root, known)?;
        let mut work = Work::open(path, self.clip.identity(), before.dim())?;
        let rows_before = before.contents();
        let is_known = |digest: &str| rows_before.contains_key(digest);
        let encoded = self.encode(root, &listed, is_known, &mut work)?;
        let mut items = Vec::with_capacity(listed.len());
        for item in listed {
            match work.get(&item.digest) {
                Some(Err(reason)) if !is_known(&item.digest) => {
                    left_out.push(LeftOut { path: item.path, reason: reason.to_owned() });
                }
                _ => items.push(item),
            }
        }
        left_out.sort_by(|a, b| a.path.cmp(&b.path));
        if let ([], [first, ..]) = (&items[..], &left_out[..]) {
            let found = format!("none in {}: {}: {}", left_out.len(), first.path, first.reason);
            return Err(Error::data(readable(root), "an image that can be read", found));
        }
        let changes = Changes { encoded, left_out, ..Changes::between(before.items(), &items) };
        let rows = gather(&items, &before, &rows_before, &work)?;
        let is_new = !path.exists() || items != before.items() || changes.left_out != before.left_out();
        let index = PhotoIndex::new(self.clip.identity(), items, changes.left_out.clone(), rows);
        if is_new {
            index.write(path)?;
        }
        work.remove()?;
        Ok((index, changes))
    }

    /// The index that is there, or an empty one.
    fn before(&self, path: &Path) -> Result<PhotoIndex> {
        if !path.exists() {
            let rows = Rows::from_halves(Vec::new(), self.clip.config().embed_dim)?;
            return Ok(PhotoIndex::new(self.clip.identity(), Vec::new(), Vec::new(), rows));
        }
        let before = PhotoIndex::open_on_disk(path, self.clip.identity())?;
        match before.items().iter().find(|item| item.digest.is_empty()) {
            None => Ok(before),
            Some(_) => Err(Error::data(readable(path), "an index of a folder", "one of a feature file")),
        }
    }

    /// Encodes what is not known yet, each content once, and keeps it. Gives the number of images that were encoded.
    fn encode(
        &mut self,
        root: &Path,
        items: &[Item],
        is_known: impl Fn(&str) -> bool,
        work: &mut Work,
    ) -> Result<usize> {
        let mut seen = HashSet::new();
        let pending: Vec<&Item> = items
            .iter()
            .filter(|item| !is_known(&item.digest) && seen.insert(item.digest.as_str()))
            .collect();
        let started = Instant::now();
        let mut now = Counts { total: pending.len(), ..Counts::default() };
        // The same parts whether or not some are finished, so that an interrupted run ends in the same bytes.
        for part in pending.chunks(self.shard) {
            let missing: Vec<&Item> = part.iter().copied().filter(|item| !work.has(&item.digest)).collect();
            now.found += part.len() - missing.len();
            if missing.is_empty() {
                continue;
            }
            let mut extraction = self.clip.extract().on_broken(Broken::Skip);
            if let Some(workers) = self.workers {
                extraction = extraction.workers(workers);
            }
            if let Some(callback) = &mut self.progress {
                extraction = extraction.on_progress(|part| callback(&now.with(part, started)));
            }
            let files = ImageList::new(missing.iter().map(|item| root.join(&item.path)));
            let extracted = extraction.run(&files).map_err(|error| match error {
                Error::ExtractionCancelled { .. } => Error::ExtractionCancelled {
                    done: now.found + now.encoded + now.broken,
                    total: now.total,
                    store: Some(work.folder().to_owned()),
                },
                other => other,
            })?;
            let broken: HashMap<&Path, String> =
                (extracted.skipped.iter()).map(|(file, error)| (file.as_path(), reason_of(error))).collect();
            let contents: Vec<_> = missing
                .iter()
                .map(|item| (item.digest.clone(), broken.get(root.join(&item.path).as_path()).cloned()))
                .collect();
            now.broken += broken.len();
            now.encoded += missing.len() - broken.len();
            work.keep(&contents, extracted.embeddings)?;
        }
        Ok(now.encoded)
    }
}

/// What is done so far.
#[derive(Debug, Default)]
struct Counts {
    total: usize,
    found: usize,
    encoded: usize,
    broken: usize,
}

impl Counts {
    /// What is done in all, where this is done of the part that is worked on.
    fn with(&self, part: &ExtractProgress, started: Instant) -> ExtractProgress {
        let worked = self.encoded + self.broken + part.done;
        let done = self.found + worked;
        let rate = worked as f64 / started.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
        ExtractProgress {
            done,
            total: self.total,
            skipped: self.broken + part.skipped,
            images_per_second: rate,
            seconds_left: (self.total - done) as f64 / rate,
        }
    }
}

/// What is wrong with an image, without its path, which another machine has elsewhere.
fn reason_of(error: &Error) -> String {
    match error {
        Error::Image { reason, .. } => reason.clone(),
        other => other.to_string(),
    }
}

/// A row for each image: that of the index before, or that of the work.
fn gather(
    items: &[Item],
    before: &PhotoIndex,
    rows_before: &HashMap<&str, usize>,
    work: &Work,
) -> Result<Rows> {
    let dim = before.dim();
    let mut values = Vec::with_capacity(items.len() * dim);
    for item in items {
        match (rows_before.get(item.digest.as_str()), work.get(&item.digest)) {
            (Some(&row), _) => values.extend(before.rows().read(row..row + 1)?),
            (None, Some(Ok(row))) => values.extend_from_slice(row),
            (None, _) => {
                let lost = io::Error::other("it has changed while it was read");
                return Err(Error::read(&item.path, lost));
            }
        }
    }
    Rows::from_halves(values, dim)
}
