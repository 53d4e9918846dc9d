//! One reader of safetensors files: it keeps the header and reads a tensor when it is asked for.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    ops::Range,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use half::{bf16, f16};
use safetensors::{Dtype, tensor::Metadata};

use crate::error::{Error, Result};

/// The largest header a file may declare: ten times that of the largest public CLIP.
pub(super) const MAX_HEADER: u64 = 10_000_000;

/// Bytes in front of the header, which hold its length.
const LENGTH: u64 = 8;

/// A safetensors file: its header in memory, its tensors where they are. Every error names the file.
#[derive(Debug)]
pub(crate) struct Archive {
    path: PathBuf,
    content: Content,
    tensors: BTreeMap<String, Place>,
    metadata: BTreeMap<String, String>,
}

#[derive(Debug)]
enum Content {
    File(Mutex<File>),
    Memory(Vec<u8>),
}

/// Where one tensor is.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    start: u64,
    bytes: usize,
}

impl Archive {
    /// Opens a file, reads its header and checks that all tensors are there.
    pub fn open(path: &Path) -> Result<Self> {
        let read = |source| Error::read(path, source);
        let mut file = File::open(path).map_err(read)?;
        let size = file.metadata().map_err(read)?.len();
        let (tensors, metadata) = header(path, &mut file, size)?;
        Ok(Self { path: path.into(), content: Content::File(Mutex::new(file)), tensors, metadata })
    }

    /// The same of bytes in memory, which are called `path`.
    pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Self> {
        let (tensors, metadata) = header(path, &mut bytes.as_slice(), bytes.len() as u64)?;
        Ok(Self { path: path.into(), content: Content::Memory(bytes), tensors, metadata })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// An error about `part` of this file.
    pub fn malformed(&self, part: impl ToString, expected: impl ToString, found: impl ToString) -> Error {
        Error::malformed(&self.path, part, expected, found)
    }

    /// Puts this file's name and `part` in front of an error about values in memory.
    pub fn locate(&self, part: impl ToString, error: Error) -> Error {
        match error {
            Error::Data { what, expected, found } => {
                self.malformed(format!("{}: {what}", part.to_string()), expected, found)
            }
            Error::Dim { what, expected, found } => self.malformed(
                format!("{}: {what}", part.to_string()),
                format!("{expected} dimensions"),
                found,
            ),
            Error::Setting { name, expected, found } => {
                self.malformed(format!("{}: {name}", part.to_string()), expected, found)
            }
            other => other,
        }
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// All metadata, by key.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Where a tensor is, if there is one of this name.
    pub fn place(&self, name: &str) -> Option<&Place> {
        self.tensors.get(name)
    }

    /// A metadata value that must be there.
    pub fn text(&self, key: &str) -> Result<&str> {
        match self.metadata.get(key) {
            Some(value) => Ok(value),
            None => Err(self.malformed(format!("metadata `{key}`"), "a value", "none")),
        }
    }

    /// A metadata value that holds JSON.
    pub fn json<T: serde::de::DeserializeOwned>(&self, key: &str) -> Result<T> {
        let text = self.text(key)?;
        serde_json::from_str(text)
            .map_err(|error| self.malformed(format!("metadata `{key}`"), "valid JSON", error))
    }

    /// Refuses a file whose `format` is not the one wanted.
    pub fn require_format(&self, format: &str) -> Result<()> {
        match self.metadata.get("format") {
            Some(found) if found == format => Ok(()),
            found => Err(self.malformed(
                "metadata `format`",
                format!("`{format}`"),
                found.map_or("none".into(), |found| format!("`{found}`")),
            )),
        }
    }

    /// A tensor of any float type as `f32`, with its shape, which must have `D` axes.
    pub fn floats<const D: usize>(&self, name: &str) -> Result<(Vec<f32>, [usize; D])> {
        let (values, shape) = self.floats_of_any_shape(name)?;
        Ok((values, self.shape(name, &shape)?))
    }

    /// A tensor of any float type as `f32`, with its shape.
    pub fn floats_of_any_shape(&self, name: &str) -> Result<(Vec<f32>, Vec<usize>)> {
        let place = self.tensor(name)?;
        let values = decode_floats(place.dtype, &self.read(place)?)
            .ok_or_else(|| self.malformed(name, "f32, f16 or bf16", format!("{:?}", place.dtype)))?;
        Ok((values, place.shape.clone()))
    }

    /// A tensor's bytes, of whatever type.
    pub fn bytes(&self, name: &str) -> Result<Vec<u8>> {
        self.read(self.tensor(name)?)
    }

    /// A vector of indices: an i64 tensor in which nothing is negative.
    pub fn indices(&self, name: &str) -> Result<Vec<usize>> {
        let place = self.tensor(name)?;
        let [_] = self.shape(name, &place.shape)?;
        if place.dtype != Dtype::I64 {
            return Err(self.malformed(name, "i64", format!("{:?}", place.dtype)));
        }
        let bytes = self.read(place)?;
        let (values, _) = bytes.as_chunks();
        (values.iter().enumerate())
            .map(|(row, &bytes)| {
                let value = i64::from_le_bytes(bytes);
                usize::try_from(value).map_err(|_| {
                    self.malformed(format!("row {row} of `{name}`"), "an index of 0 or more", value)
                })
            })
            .collect()
    }

    /// The shape of a tensor that must have `D` axes.
    pub fn shape_of<const D: usize>(&self, name: &str) -> Result<[usize; D]> {
        self.shape(name, &self.tensor(name)?.shape)
    }

    fn shape<const D: usize>(&self, name: &str, shape: &[usize]) -> Result<[usize; D]> {
        shape.try_into().map_err(|_| self.malformed(name, format!("{D} axes"), format!("shape {shape:?}")))
    }

    fn tensor(&self, name: &str) -> Result<&Place> {
        self.place(name).ok_or_else(|| self.malformed(format!("tensor `{name}`"), "to be there", "none"))
    }

    /// The bytes at a place.
    pub fn read(&self, place: &Place) -> Result<Vec<u8>> {
        self.read_part(place, 0..place.bytes)
    }

    /// Some of the bytes at a place.
    pub fn read_part(&self, place: &Place, part: Range<usize>) -> Result<Vec<u8>> {
        let start = place.start + part.start as u64;
        match &self.content {
            Content::Memory(bytes) => Ok(bytes[start as usize..][..part.len()].to_vec()),
            Content::File(file) => {
                let mut bytes = vec![0; part.len()];
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                let read: io::Result<()> =
                    file.seek(SeekFrom::Start(start)).and_then(|_| file.read_exact(&mut bytes));
                read.map_err(|source| Error::read(&self.path, source))?;
                Ok(bytes)
            }
        }
    }
}

type Header = (BTreeMap<String, Place>, BTreeMap<String, String>);

/// Reads the header of a file of `size` bytes.
fn header(path: &Path, content: &mut dyn Read, size: u64) -> Result<Header> {
    let malformed = |expected: &str, found: String| Error::malformed(path, "header", expected, found);
    let mut length = [0; LENGTH as usize];
    content
        .read_exact(&mut length)
        .map_err(|_| malformed("a whole safetensors file", format!("{size} bytes")))?;
    if let Some(found) = stand_in(&length) {
        return Err(malformed("a safetensors file", found.into()));
    }
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER || length + LENGTH > size {
        return Err(malformed(
            "a whole safetensors file, whose header fits into it",
            format!("{length} bytes of header in {size}"),
        ));
    }
    let mut header = vec![0; length as usize];
    content.read_exact(&mut header).map_err(|source| Error::read(path, source))?;
    let header: Metadata = serde_json::from_slice(&header)
        .map_err(|error| malformed("a whole safetensors file, whose header is JSON", error.to_string()))?;
    let (expected, found) = (size - LENGTH - length, header.data_len() as u64);
    if found != expected {
        return Err(malformed(
            &format!("a whole safetensors file of {expected} bytes of tensors"),
            found.to_string(),
        ));
    }
    let place = |(name, info): (String, &safetensors::tensor::TensorInfo)| {
        let (start, end) = info.data_offsets;
        let (bytes, start) = (end - start, LENGTH + length + start as u64);
        (name, Place { dtype: info.dtype, shape: info.shape.clone(), start, bytes })
    };
    let tensors = header.tensors().into_iter().map(place).collect();
    let metadata = header.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone()));
    Ok((tensors, metadata.collect()))
}

/// Little-endian floats of any of the three types as `f32`; none of another type.
pub(crate) fn decode_floats(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    match dtype {
        Dtype::F32 => Some(bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect()),
        Dtype::F16 => Some(bytes.as_chunks().0.iter().map(|&b| f16::from_le_bytes(b).to_f32()).collect()),
        Dtype::BF16 => Some(bytes.as_chunks().0.iter().map(|&b| bf16::from_le_bytes(b).to_f32()).collect()),
        _ => None,
    }
}

/// What stands where a file should be, by its first bytes: a download that was none. None if it may be the file.
pub(crate) fn stand_in(start: &[u8]) -> Option<&'static str> {
    const POINTER: &[u8] = b"version https://git-lfs.github.com/";
    let start = start.trim_ascii_start();
    if start.len() >= LENGTH as usize && start.starts_with(&POINTER[..start.len().min(POINTER.len())]) {
        Some("a Git LFS pointer: `git lfs pull` fetches the file itself")
    } else if start.starts_with(b"<!") || start.starts_with(b"<html") || start.starts_with(b"<HTML") {
        Some("a web page: the download was refused or has moved")
    } else {
        None
    }
}
