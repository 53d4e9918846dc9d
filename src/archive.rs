//! Safetensors files as this crate reads and writes them: typed errors that name the file and the tensor,
//! bytes that depend on the content alone, and writes that happen whole or not at all.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use half::{bf16, f16};
use safetensors::{
    Dtype, SafeTensors,
    tensor::{TensorView, serialize},
};

use crate::{Error, Result};

/// The bytes of a safetensors file and the path they came from, which every error names.
pub(crate) struct Archive {
    path: PathBuf,
    bytes: Vec<u8>,
    metadata: BTreeMap<String, String>,
}

impl Archive {
    /// Reads the file and checks its header.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(|source| Error::Read { path: path.into(), source })?;
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| Error::Malformed {
            path: path.into(),
            part: "header".into(),
            expected: "a whole safetensors file".into(),
            found: error.to_string(),
        })?;
        let metadata = header.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
        Ok(Self { path: path.into(), bytes, metadata })
    }

    /// An error about `part` of this file.
    pub fn malformed(&self, part: impl ToString, expected: impl ToString, found: impl ToString) -> Error {
        Error::Malformed {
            path: self.path.clone(),
            part: part.to_string(),
            expected: expected.to_string(),
            found: found.to_string(),
        }
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
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.tensors().names().into_iter().map(str::to_owned).collect();
        names.sort();
        names
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
        let view = self.view(name)?;
        let values = decode_floats(view.dtype(), view.data())
            .ok_or_else(|| self.malformed(name, "f32, f16 or bf16", format!("{:?}", view.dtype())))?;
        Ok((values, view.shape().to_vec()))
    }

    /// A tensor of plain bytes.
    pub fn bytes(&self, name: &str) -> Result<Vec<u8>> {
        Ok(self.view(name)?.data().to_vec())
    }

    /// A vector of indices: an i64 tensor in which nothing is negative.
    pub fn indices(&self, name: &str) -> Result<Vec<usize>> {
        let view = self.view(name)?;
        let [_] = self.shape(name, view.shape())?;
        if view.dtype() != Dtype::I64 {
            return Err(self.malformed(name, "i64", format!("{:?}", view.dtype())));
        }
        let (values, _) = view.data().as_chunks();
        (values.iter().enumerate())
            .map(|(row, &bytes)| {
                let value = i64::from_le_bytes(bytes);
                usize::try_from(value).map_err(|_| {
                    self.malformed(format!("row {row} of `{name}`"), "an index of 0 or more", value)
                })
            })
            .collect()
    }

    fn shape<const D: usize>(&self, name: &str, shape: &[usize]) -> Result<[usize; D]> {
        shape.try_into().map_err(|_| self.malformed(name, format!("{D} axes"), format!("shape {shape:?}")))
    }

    fn view(&self, name: &str) -> Result<TensorView<'_>> {
        self.tensors()
            .tensor(name)
            .map_err(|_| self.malformed(format!("tensor `{name}`"), "to be there", "none"))
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).expect("the header was checked when the file was read")
    }
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

/// A matrix `[rows, columns]` as `[columns, rows]`. On the host: a transposed view on the device would be
/// multiplied along another path, and give other last bits.
pub(crate) fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..rows * columns).map(|index| values[index % rows * columns + index / rows]).collect()
}

/// A safetensors file to be: add tensors and metadata, then [`write`](Self::write) it.
#[derive(Default)]
pub(crate) struct ArchiveWriter {
    tensors: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
    metadata: HashMap<String, String>,
}

impl ArchiveWriter {
    pub fn new(format: &str) -> Self {
        let mut writer = Self::default();
        writer.text("format", format);
        writer
    }

    pub fn text(&mut self, key: &str, value: impl ToString) {
        self.metadata.insert(key.to_owned(), value.to_string());
    }

    pub fn floats(&mut self, name: impl Into<String>, shape: &[usize], values: &[f32]) {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensors.insert(name.into(), (Dtype::F32, shape.to_vec(), bytes));
    }

    pub fn indices(&mut self, name: impl Into<String>, values: &[usize]) {
        let bytes = values.iter().flat_map(|&value| (value as i64).to_le_bytes()).collect();
        self.tensors.insert(name.into(), (Dtype::I64, vec![values.len()], bytes));
    }

    pub fn bytes(&mut self, name: impl Into<String>, bytes: Vec<u8>) {
        self.tensors.insert(name.into(), (Dtype::U8, vec![bytes.len()], bytes));
    }

    /// Writes the file, whole or not at all.
    pub fn write(self, path: &Path) -> Result<()> {
        let failed = |error: String| Error::Write { path: path.into(), source: io::Error::other(error) };
        let mut views = Vec::with_capacity(self.tensors.len());
        for (name, (dtype, shape, bytes)) in &self.tensors {
            let view = TensorView::new(*dtype, shape.clone(), bytes)
                .map_err(|error| failed(format!("{name}: {error}")))?;
            views.push((name, view));
        }
        let mut bytes = serialize(views, Some(self.metadata)).map_err(|error| failed(error.to_string()))?;
        sort_header(&mut bytes).map_err(|error| failed(error.to_string()))?;
        write_atomically(path, &bytes)
    }
}

/// Puts the header's keys in order. The format's own writer takes them from a hash map, and the same
/// content would give other bytes each time.
fn sort_header(file: &mut [u8]) -> serde_json::Result<()> {
    let (length, rest) = file.split_at_mut(8);
    let length = u64::from_le_bytes(length.try_into().expect("eight bytes")) as usize;
    let header = &mut rest[..length];
    let sorted: BTreeMap<String, serde_json::Value> = serde_json::from_slice(header)?;
    let sorted = serde_json::to_vec(&sorted)?;
    header.fill(b' ');
    header[..sorted.len()].copy_from_slice(&sorted);
    Ok(())
}

/// Writes to a temporary file beside `path` and renames it, so that a reader never sees half a file and a
/// failure leaves what was there.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        {
            // Temporary files are private by default; this one becomes the user's ordinary file.
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        let mut file = builder.tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|source: io::Error| Error::Write { path: path.into(), source })
}
