//! The files of a store: one a shard, each written whole or not at all.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::manifest::Manifest;
use super::shards::{Rows, Shards, Skipped};
use crate::archive::{Archive, ArchiveWriter};
use crate::error::{Error, Result};

/// The format that a shard declares in its metadata.
const FORMAT: &str = "clip-shard/1";

/// A folder with a manifest and some of the shards of a list.
#[derive(Debug)]
pub(super) struct ShardFolder {
    path: PathBuf,
    manifest: Manifest,
    shards: Shards,
}

impl ShardFolder {
    /// A folder whose manifest is this one, for a list of so many images.
    pub fn new(path: &Path, manifest: Manifest, images: usize) -> Self {
        let shards = Shards { images, size: manifest.shard };
        Self { path: path.into(), manifest, shards }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn has(&self, shard: usize) -> bool {
        self.shard_path(shard).exists()
    }

    pub fn write(&self, shard: usize, rows: &Rows) -> Result<()> {
        let dim = self.manifest.dim;
        let mut archive = ArchiveWriter::new(FORMAT);
        archive.text("manifest", json!(self.manifest));
        archive.text("shard", shard);
        archive.text("skipped", json!(rows.skipped));
        archive.floats("rows", &[rows.values.len() / dim, dim], &rows.values);
        archive.write(&self.shard_path(shard))
    }

    /// The images of a shard that were left out, which its header says. All but the values is checked: that it is this
    /// shard, of these features, and whole.
    pub fn skipped(&self, shard: usize) -> Result<Vec<Skipped>> {
        Ok(self.open(shard)?.1)
    }

    /// Reads a shard.
    pub fn read(&self, shard: usize) -> Result<Rows> {
        let (archive, skipped) = self.open(shard)?;
        let (values, [_, _]) = archive.floats("rows")?;
        Ok(Rows { values, skipped })
    }

    fn open(&self, shard: usize) -> Result<(Archive, Vec<Skipped>)> {
        let archive = Archive::open(&self.shard_path(shard))?;
        archive.require_format(FORMAT)?;
        self.manifest.check(&archive.json("manifest")?)?;
        let found: usize = archive.json("shard")?;
        if found != shard {
            return Err(archive.malformed("metadata `shard`", shard, found));
        }
        let images = self.shards.range(shard);
        let skipped: Vec<Skipped> = archive.json("skipped")?;
        let ordered = skipped.is_sorted_by(|(before, _), (after, _)| before < after);
        if !ordered || skipped.iter().any(|(image, _)| !images.contains(image)) {
            let expected = format!("images of {images:?} in order");
            return Err(archive.malformed("metadata `skipped`", expected, json!(skipped)));
        }
        let found: [usize; 2] = archive.shape_of("rows")?;
        let expected = [images.len() - skipped.len(), self.manifest.dim];
        if found != expected {
            return Err(archive.malformed("rows", format!("{expected:?}"), format!("{found:?}")));
        }
        Ok((archive, skipped))
    }

    fn shard_path(&self, shard: usize) -> PathBuf {
        self.path.join(format!("shard-{shard:06}.safetensors"))
    }
}

/// The shards of a list, each in exactly one of these folders.
pub(super) fn locate(folders: &[ShardFolder], shards: Shards) -> Result<Vec<usize>> {
    let holders = |shard| -> Vec<usize> { (0..folders.len()).filter(|&at| folders[at].has(shard)).collect() };
    const NAMED: usize = 16;
    let (mut places, mut missing) = (Vec::new(), Vec::new());
    for shard in 0..shards.count() {
        if missing.len() == NAMED {
            missing.push("..".to_owned()); // a damaged manifest can ask for any number
            break;
        }
        match holders(shard)[..] {
            [place] => places.push(place),
            [] => missing.push(shard.to_string()),
            [first, second, ..] => {
                let found = [first, second].map(|at| folders[at].path.display().to_string()).join(" and in ");
                return Err(Error::data(format!("shard {shard} of the store"), "in one folder", found));
            }
        }
    }
    if missing.is_empty() {
        return Ok(places);
    }
    let names: Vec<String> = folders.iter().map(|folder| folder.path.display().to_string()).collect();
    let expected = format!("{} shards", shards.count());
    let least = if missing.len() > NAMED { "at least " } else { "" };
    let found = format!("{least}{} missing: {}", missing.len().min(NAMED), missing.join(", "));
    Err(Error::data(format!("store {}", names.join(", ")), expected, found))
}
