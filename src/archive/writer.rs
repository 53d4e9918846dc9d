//! Safetensors files whose bytes depend on their content alone.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::path::Path;

use half::f16;
use safetensors::Dtype;
use serde_json::json;

use super::write_atomically;
use crate::error::{Error, Result};

/// Values turned into bytes at once.
const FLOATS_AT_ONCE: usize = 1 << 14;

/// Takes the next values of a tensor that is written piece by piece.
pub(crate) type PutFloats<'a> = dyn FnMut(&[f32]) -> Result<()> + 'a;

type Fill<'a> = Box<dyn FnOnce(&mut PutFloats<'_>) -> Result<()> + 'a>;

/// A tensor of a file to be.
#[derive(Debug)]
struct Entry<'a> {
    dtype: Dtype,
    shape: Vec<usize>,
    content: Content<'a>,
}

enum Content<'a> {
    Bytes(Vec<u8>),
    /// Hands over as many f32 as the shape asks for, when the file is written.
    Floats(Fill<'a>),
}

impl fmt::Debug for Content<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bytes(_) => "bytes",
            Self::Floats(_) => "floats to come",
        })
    }
}

impl Entry<'_> {
    fn len(&self) -> usize {
        match &self.content {
            Content::Bytes(bytes) => bytes.len(),
            Content::Floats(_) => 4 * self.shape.iter().product::<usize>(),
        }
    }
}

/// A safetensors file to be: add tensors and metadata, then [`write`](Self::write) it.
#[derive(Debug, Default)]
pub(crate) struct ArchiveWriter<'a> {
    tensors: BTreeMap<String, Entry<'a>>,
    metadata: BTreeMap<String, String>,
}

impl<'a> ArchiveWriter<'a> {
    pub fn new(format: &str) -> Self {
        let mut writer = Self::default();
        writer.text("format", format);
        writer
    }

    /// Whether there is metadata of this key already.
    pub fn has_text(&self, key: &str) -> bool {
        self.metadata.contains_key(key)
    }

    pub fn text(&mut self, key: impl Into<String>, value: impl ToString) {
        self.metadata.insert(key.into(), value.to_string());
    }

    pub fn floats(&mut self, name: impl Into<String>, shape: &[usize], values: &[f32]) {
        self.add(name, Dtype::F32, shape, Content::Bytes(float_bytes(values)));
    }

    /// A tensor that is too large to be held: `fill` hands over its values while the file is written.
    pub fn floats_from(
        &mut self,
        name: impl Into<String>,
        shape: &[usize],
        fill: impl FnOnce(&mut PutFloats<'_>) -> Result<()> + 'a,
    ) {
        self.add(name, Dtype::F32, shape, Content::Floats(Box::new(fill)));
    }

    /// Floats rounded to 16 bits.
    pub fn halves(&mut self, name: impl Into<String>, shape: &[usize], values: &[f32]) {
        let bytes = values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect();
        self.add(name, Dtype::F16, shape, Content::Bytes(bytes));
    }

    pub fn indices(&mut self, name: impl Into<String>, values: &[usize]) {
        let bytes = values.iter().flat_map(|&value| (value as i64).to_le_bytes()).collect();
        self.add(name, Dtype::I64, &[values.len()], Content::Bytes(bytes));
    }

    pub fn bytes(&mut self, name: impl Into<String>, bytes: Vec<u8>) {
        self.add(name, Dtype::U8, &[bytes.len()], Content::Bytes(bytes));
    }

    fn add(&mut self, name: impl Into<String>, dtype: Dtype, shape: &[usize], content: Content<'a>) {
        self.tensors.insert(name.into(), Entry { dtype, shape: shape.to_vec(), content });
    }

    /// Writes the file, whole or not at all.
    pub fn write(self, path: &Path) -> Result<()> {
        write_atomically(path, |file| self.write_to(file, path))
    }

    /// The file's bytes.
    pub fn into_bytes(self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.write_to(&mut bytes, Path::new("memory"))?;
        Ok(bytes)
    }

    fn write_to(self, file: &mut dyn Write, path: &Path) -> Result<()> {
        let failed = |source: io::Error| Error::write(path, source);
        // Wide types first, as the format's own writer does, so that every value is aligned.
        let mut tensors: Vec<_> = self.tensors.into_iter().collect();
        tensors.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.dtype));
        let header = header(&tensors, &self.metadata).map_err(|error| failed(error.into()))?;
        file.write_all(&(header.len() as u64).to_le_bytes()).map_err(failed)?;
        file.write_all(&header).map_err(failed)?;
        for (name, entry) in tensors {
            let expected = entry.len();
            let mut written = 0;
            let mut put = |bytes: &[u8]| {
                written += bytes.len();
                file.write_all(bytes).map_err(failed)
            };
            match entry.content {
                Content::Bytes(bytes) => put(&bytes)?,
                Content::Floats(fill) => fill(&mut |values: &[f32]| {
                    values.chunks(FLOATS_AT_ONCE).try_for_each(|values| put(&float_bytes(values)))
                })?,
            }
            if written != expected {
                let reason = format!("{name}: {written} bytes where {expected} were promised");
                return Err(failed(io::Error::other(reason)));
            }
        }
        Ok(())
    }
}

fn float_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// The JSON in front of the tensors, its keys in order: the format's own writer takes them from a hash map, and
/// the same content would give other bytes each time.
fn header(
    tensors: &[(String, Entry<'_>)],
    metadata: &BTreeMap<String, String>,
) -> serde_json::Result<Vec<u8>> {
    let mut header = BTreeMap::from([("__metadata__", json!(metadata))]);
    let mut start = 0;
    for (name, entry) in tensors {
        let end = start + entry.len();
        let place = json!({ "data_offsets": [start, end], "dtype": entry.dtype, "shape": entry.shape });
        header.insert(name.as_str(), place);
        start = end;
    }
    let mut bytes = serde_json::to_vec(&header)?;
    bytes.resize(bytes.len().next_multiple_of(8), b' ');
    Ok(bytes)
}
