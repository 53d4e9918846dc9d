//! Writing a checkpoint in eight bits beside the files of the one that it comes from.
//!
//! | Tensor | Type | Meaning |
//! | --- | --- | --- |
//! | `NAME` | i8 | levels of a matrix, a row for each output or token |
//! | `NAME.scales` | f32 | what a row of levels is multiplied with |
//! | all others | f32 | as they are |
//!
//! The metadata `clip_adapter.weights` keeps the digest of the weights that were quantised.

use std::fs;
use std::path::{Path, PathBuf};

use super::describe::{OPEN_CLIP_WEIGHTS, PROCESSOR_FILES};
use super::weights::LEVEL_SCALES;
use super::{CheckpointLayout, Weights};
use crate::archive::{ArchiveWriter, write_atomically};
use crate::error::{Error, Result};
use crate::numerics::transposed;

/// The key of the metadata that names the weights before they were quantised.
pub(super) const ORIGIN: &str = "clip_adapter.weights";

/// Where a checkpoint came from.
#[derive(Debug, Clone)]
pub(in crate::backbone) struct Origin {
    pub folder: PathBuf,
    pub layout: CheckpointLayout,
    /// Of all its tensors.
    pub digest: String,
}

/// The tensors of a checkpoint in eight bits to be.
pub(in crate::backbone) struct Quantised {
    archive: ArchiveWriter<'static>,
    pub layout: CheckpointLayout,
}

impl Quantised {
    pub fn new(origin: &Origin) -> Self {
        let mut archive = ArchiveWriter::new("pt");
        archive.text(ORIGIN, &origin.digest);
        Self { archive, layout: origin.layout }
    }

    pub fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        self.archive.floats(name, shape, values);
    }

    /// A matrix `[inputs, outputs]` as a file of this layout has its projections.
    pub fn projection(&mut self, name: &str, matrix: &[f32], outputs: usize) {
        let inputs = matrix.len() / outputs;
        match self.layout {
            CheckpointLayout::HuggingFace => {
                self.archive.floats(name, &[outputs, inputs], &transposed(matrix, inputs, outputs));
            }
            CheckpointLayout::OpenClip => self.archive.floats(name, &[inputs, outputs], matrix),
        }
    }

    /// Levels of this shape, with a scale for each of its rows.
    pub fn levels(&mut self, name: &str, shape: &[usize], levels: &[i8], scales: &[f32]) {
        self.archive.levels(name, shape, levels);
        self.archive.floats(format!("{name}{LEVEL_SCALES}"), &[scales.len()], scales);
    }

    /// Writes the weights, and copies what stands beside those that they come from.
    pub fn write(self, origin: &Origin, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).map_err(|source| Error::write(folder, source))?;
        let config = match self.layout {
            CheckpointLayout::HuggingFace => "config.json",
            CheckpointLayout::OpenClip => "open_clip_config.json",
        };
        let may_be = [PROCESSOR_FILES[0], PROCESSOR_FILES[1], "tokenizer_config.json"];
        let beside = may_be.into_iter().filter(|file| origin.folder.join(file).exists());
        for file in ["tokenizer.json", config].into_iter().chain(beside) {
            let (from, to) = (origin.folder.join(file), folder.join(file));
            let bytes = fs::read(&from).map_err(|source| Error::read(&from, source))?;
            write_atomically(&to, |file| file.write_all(&bytes).map_err(|source| Error::write(&to, source)))?;
        }
        self.archive.write(&folder.join(match self.layout {
            CheckpointLayout::HuggingFace => "model.safetensors",
            CheckpointLayout::OpenClip => OPEN_CLIP_WEIGHTS[0],
        }))
    }
}

impl Weights {
    /// Whether some of it has eight bits.
    pub fn has_levels(&self) -> bool {
        self.names().any(|name| name.ends_with(LEVEL_SCALES))
    }
}
