//! One extraction: what is left to do, the pipeline that does it, and where the results go.

use std::mem;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::folder::ShardFolder;
use super::manifest::Manifest;
use super::options::{Broken, ExtractProgress, Extraction};
use super::pipeline::{Block, Pipeline};
use super::shards::{Rows, Shards, broken};
use crate::backbone::ClipBackbone;
use crate::error::{Error, Result};
use crate::input::ImageSource;

/// What to extract: the shards of one part of a list, by one or several copies of a backbone.
pub(super) struct Job<'a> {
    pipeline: Pipeline<'a>,
    shards: Shards,
    part: Range<usize>, // of the shards
    folder: Option<ShardFolder>,
}

impl<'a> Job<'a> {
    pub fn new(
        clips: &'a [&'a ClipBackbone],
        source: &'a dyn ImageSource,
        options: &Extraction<'_>,
    ) -> Result<Self> {
        options.validate()?;
        let first = same_backbone(clips)?;
        let &Extraction { workers, batch, shard, broken, part, .. } = options;
        let claim = |path: &PathBuf| -> Result<ShardFolder> {
            let manifest = Manifest::new(first, source, batch, shard)?;
            manifest.claim(path)?;
            Ok(ShardFolder::new(path, manifest, source.len()))
        };
        let folder = options.store.as_ref().map(claim).transpose()?;
        let shards = Shards { images: source.len(), size: shard };
        let pipeline = Pipeline { clips, source, workers, batch, broken };
        Ok(Self { pipeline, shards, part: shards.part(part), folder })
    }

    /// The images of this part.
    pub fn images(&self) -> Range<usize> {
        self.shards.images_of(&self.part)
    }

    pub fn dim(&self) -> usize {
        self.pipeline.clips[0].config().embed_dim
    }

    /// Extracts what is not in the store yet, and gives all rows of this part.
    pub fn run(&self, options: &mut Extraction<'_>) -> Result<Rows> {
        let rows = self.fill(options)?;
        let Some(folder) = &self.folder else { return Ok(rows) };
        let mut rows = Rows::default();
        for shard in self.part.clone() {
            rows.append(folder.read(shard)?);
        }
        Ok(rows)
    }

    /// Extracts what is not in the store yet. Gives the rows only where there is no store that keeps them.
    pub fn fill(&self, options: &mut Extraction<'_>) -> Result<Rows> {
        let (pending, stored) = self.look()?;
        let total = self.images().len();
        let shards = self.shards;
        let images = pending.iter().flat_map(move |&shard| shards.range(shard));
        let done = total - images.clone().count();
        let mut collector = Collector {
            job: self,
            options,
            rows: Rows::default(),
            started: Instant::now(),
            found: done,
            progress: ExtractProgress {
                done,
                total,
                skipped: stored,
                images_per_second: 0.0,
                seconds_left: 0.0,
            },
        };
        if !pending.is_empty() {
            self.pipeline.run(images, |block| collector.take(block))?;
        }
        Ok(collector.rows)
    }

    /// The shards of this part that are not in the store, and how many images those that are have skipped.
    fn look(&self) -> Result<(Vec<usize>, usize)> {
        let Some(folder) = &self.folder else { return Ok((self.part.clone().collect(), 0)) };
        let (mut pending, mut skipped) = (Vec::new(), 0);
        for shard in self.part.clone() {
            if !folder.has(shard) {
                pending.push(shard);
                continue;
            }
            let left_out = folder.skipped(shard)?;
            match left_out.first() {
                Some((image, reason)) if self.pipeline.broken == Broken::Fail => {
                    return Err(broken(&self.pipeline.source.key(*image), reason));
                }
                _ => skipped += left_out.len(),
            }
        }
        Ok((pending, skipped))
    }

    fn store(&self) -> Option<&Path> {
        self.folder.as_ref().map(ShardFolder::path)
    }
}

/// The first of some copies of one backbone.
fn same_backbone<'a>(clips: &[&'a ClipBackbone]) -> Result<&'a ClipBackbone> {
    let Some((&first, others)) = clips.split_first() else {
        return Err(Error::data("backbones", "at least one", "none"));
    };
    if let Some(other) = others.iter().find(|other| other.identity() != first.identity()) {
        return Err(Error::fingerprint("backbones", first.identity(), other.identity()));
    }
    match others.iter().find(|other| other.precision() != first.precision()) {
        None => Ok(first),
        Some(other) => {
            Err(Error::fingerprint("precisions of the backbones", first.precision(), other.precision()))
        }
    }
}

/// Takes batches in order, keeps shards as they become whole, and reports.
struct Collector<'j, 'o, 'c> {
    job: &'j Job<'j>,
    options: &'o mut Extraction<'c>,
    rows: Rows, // of the shard that is not whole yet, or all where there is no store
    started: Instant,
    found: usize, // images that were in the store
    progress: ExtractProgress,
}

impl Collector<'_, '_, '_> {
    fn take(&mut self, block: Block) -> Result<()> {
        let Block { images, rows } = block;
        for (image, reason) in &rows.skipped {
            let key = self.job.pipeline.source.key(*image);
            self.options.report_skip(&key, &broken(&key, reason));
        }
        self.progress.done += images.len();
        self.progress.skipped += rows.skipped.len();
        self.rows.append(rows);
        let shard = images.start / self.job.shards.size;
        if let Some(folder) = &self.job.folder
            && images.end == self.job.shards.range(shard).end
        {
            folder.write(shard, &mem::take(&mut self.rows))?;
        }
        self.report()
    }

    fn report(&mut self) -> Result<()> {
        let now = &mut self.progress;
        let seconds = self.started.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
        now.images_per_second = (now.done - self.found) as f64 / seconds;
        now.seconds_left = (now.total - now.done) as f64 / now.images_per_second;
        match self.options.report(now) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::ExtractionCancelled {
                done: now.done,
                total: now.total,
                store: self.job.store().map(Path::to_owned),
            }),
        }
    }
}
