//! What a build has finished, beside the index until that is written: a process that is killed loses a part at most.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use half::f16;
use serde_json::json;

use crate::archive::{Archive, ArchiveWriter};
use crate::error::{Error, Result};
use crate::features::Embeddings;
use crate::fingerprint::require_backbone;

/// The format that a part declares in its metadata.
const FORMAT: &str = "clip-index-part/1";

/// A content, by its digest, and what was wrong with it if it is no image.
pub(super) type Content = (String, Option<String>);

/// Contents that were encoded, in files of one part each.
#[derive(Debug)]
pub(super) struct Work {
    folder: PathBuf,
    backbone: String,
    dim: usize,
    parts: usize,
    found: HashMap<String, std::result::Result<Vec<f16>, String>>,
}

impl Work {
    /// Takes in what an earlier run has left beside the index at `path`.
    ///
    /// # Errors
    /// [`Error::Fingerprint`] if that is of another backbone; [`Error::Malformed`] or [`Error::Read`] if it is damaged.
    pub fn open(path: &Path, backbone: &str, dim: usize) -> Result<Self> {
        let mut name = OsString::from(path.as_os_str());
        name.push(".work");
        let mut work =
            Self { folder: name.into(), backbone: backbone.into(), dim, parts: 0, found: HashMap::new() };
        while work.part(work.parts).exists() {
            work.read(&work.part(work.parts))?;
            work.parts += 1;
        }
        Ok(work)
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn has(&self, digest: &str) -> bool {
        self.found.contains_key(digest)
    }

    /// The unit row of a content, or what is wrong with it; none if it was not encoded.
    pub fn get(&self, digest: &str) -> Option<std::result::Result<&[f16], &str>> {
        Some(self.found.get(digest)?.as_ref().map(Vec::as_slice).map_err(String::as_str))
    }

    /// Keeps some contents, and the embedding of each that is an image.
    pub fn keep(&mut self, contents: &[Content], rows: Embeddings) -> Result<()> {
        let rows = rows.into_normalised();
        fs::create_dir_all(&self.folder).map_err(|source| Error::write(&self.folder, source))?;
        let path = self.part(self.parts);
        let mut archive = ArchiveWriter::new(FORMAT);
        archive.text("backbone", &self.backbone);
        archive.text("contents", json!(contents));
        archive.halves("rows", &[rows.rows(), self.dim], rows.values());
        archive.write(&path)?;
        self.parts += 1;
        self.read(&path) // so that what is used is what is kept
    }

    /// Removes the parts, which the index holds now.
    pub fn remove(self) -> Result<()> {
        for part in (0..self.parts).rev() {
            let path = self.part(part);
            fs::remove_file(&path).map_err(|source| Error::write(&path, source))?;
        }
        match fs::remove_dir(&self.folder) {
            // A file that is not ours is none of our business.
            Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(|source| Error::write(&self.folder, source)),
        }
    }

    fn part(&self, part: usize) -> PathBuf {
        self.folder.join(format!("part-{part:06}.safetensors"))
    }

    fn read(&mut self, path: &Path) -> Result<()> {
        let archive = Archive::open(path)?;
        archive.require_format(FORMAT)?;
        require_backbone("backbones of the unfinished index", &self.backbone, archive.text("backbone")?)?;
        let contents: Vec<Content> = archive.json("contents")?;
        let (values, [rows, dim]) = archive.floats("rows")?;
        let images = contents.iter().filter(|(_, broken)| broken.is_none()).count();
        if [rows, dim] != [images, self.dim] {
            let expected = format!("[{images}, {}]", self.dim);
            return Err(archive.malformed("rows", expected, format!("[{rows}, {dim}]")));
        }
        let values = Embeddings::new(values, dim).map_err(|error| archive.locate("rows", error))?;
        let mut row = 0;
        for (digest, broken) in contents {
            let found = match broken {
                Some(reason) => Err(reason),
                None => {
                    row += 1;
                    Ok(values.row(row - 1).iter().map(|&value| f16::from_f32(value)).collect())
                }
            };
            self.found.insert(digest, found);
        }
        Ok(())
    }
}
