//! Safetensors files as this crate reads and writes them: typed errors that name the file and the tensor,
//! bytes that depend on the content alone, and writes that happen whole or not at all.

use std::{
    collections::BTreeMap,
    fs, io,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::json;

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

/// Values turned into bytes at once.
const FLOATS_AT_ONCE: usize = 1 << 14;

/// Takes the next values of a tensor that is written piece by piece.
pub(crate) type PutFloats<'a> = dyn FnMut(&[f32]) -> Result<()> + 'a;

type Fill<'a> = Box<dyn FnOnce(&mut PutFloats<'_>) -> Result<()> + 'a>;

/// A tensor of a file to be.
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

impl Entry<'_> {
    fn len(&self) -> usize {
        match &self.content {
            Content::Bytes(bytes) => bytes.len(),
            Content::Floats(_) => 4 * self.shape.iter().product::<usize>(),
        }
    }
}

/// A safetensors file to be: add tensors and metadata, then [`write`](Self::write) it.
#[derive(Default)]
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

    pub fn text(&mut self, key: &str, value: impl ToString) {
        self.metadata.insert(key.to_owned(), value.to_string());
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
        let failed = |source: io::Error| Error::Write { path: path.into(), source };
        // Wide types first, as the format's own writer does, so that every value is aligned.
        let mut tensors: Vec<_> = self.tensors.into_iter().collect();
        tensors.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.dtype));
        let header = header(&tensors, &self.metadata).map_err(|error| failed(error.into()))?;
        write_atomically(path, |file| {
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
        })
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

/// Writes to a temporary file beside `path` and renames it, so that a reader never sees half a file and a
/// failure leaves what was there.
pub(crate) fn write_atomically(
    path: &Path,
    content: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<()> {
    let failed = |source: io::Error| Error::Write { path: path.into(), source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        // Temporary files are private by default; this one becomes the user's ordinary file.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(folder).map_err(failed)?;
    let mut buffer = BufWriter::new(file.as_file_mut());
    content(&mut buffer)?;
    buffer.flush().map_err(failed)?;
    drop(buffer);
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}
