//! Safetensors files whose bytes depend on their content alone.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::path::Path;

use half::f16;
use safetensors::Dtype;
use serde_json::json;

use super::reader::MAX_HEADER;
use super::write_atomically;
use crate::error::{Error, Result};

/// The key of the header that is no tensor.
const METADATA: &str = "__metadata__";

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
            Content::Floats(_) => {
                let width = if self.dtype == Dtype::F16 { 2 } else { 4 };
                width * self.shape.iter().product::<usize>()
            }
        }
    }
}

/// A safetensors file to be: add tensors and metadata, then [`write`](Self::write) it. What cannot be read back, a name
/// given twice or a value that is no number, is an error then.
#[derive(Debug, Default)]
pub(crate) struct ArchiveWriter<'a> {
    tensors: BTreeMap<String, Entry<'a>>,
    metadata: BTreeMap<String, String>,
    fault: Option<Error>,
}

impl<'a> ArchiveWriter<'a> {
    pub fn new(format: &str) -> Self {
        let mut writer = Self::default();
        writer.text("format", format);
        writer
    }

    /// The metadata of this key, if there is any yet.
    pub fn get_text(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    pub fn text(&mut self, key: impl Into<String>, value: impl ToString) {
        let key = key.into();
        if self.metadata.contains_key(&key) {
            self.fail(Error::data(format!("metadata `{key}`"), "a key of its own", "the same again"));
        }
        self.metadata.insert(key, value.to_string());
    }

    /// Notes what makes the file impossible; the first such error is what writing ends with.
    pub fn fail(&mut self, error: Error) {
        self.fault.get_or_insert(error);
    }

    pub fn floats(&mut self, name: impl Into<String>, shape: &[usize], values: &[f32]) {
        let name = name.into();
        if let Err(error) = check_finite(&name, values) {
            self.fail(error);
        }
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
        let name = name.into();
        if let Err(error) = check_finite(&name, values) {
            self.fail(error);
        }
        let halves: Vec<f16> = values.iter().map(|&value| f16::from_f32(value)).collect();
        if let Some(at) = halves.iter().position(|half| !half.is_finite()) {
            let expected = format!("values of at most {} in 16 bits", f16::MAX);
            self.fail(Error::data(&name, expected, values[at]));
        }
        let bytes = halves.into_iter().flat_map(f16::to_le_bytes).collect();
        self.add(name, Dtype::F16, shape, Content::Bytes(bytes));
    }

    /// As [`floats_from`](Self::floats_from), of values that are rounded to 16 bits and within their range.
    pub fn halves_from(
        &mut self,
        name: impl Into<String>,
        shape: &[usize],
        fill: impl FnOnce(&mut PutFloats<'_>) -> Result<()> + 'a,
    ) {
        self.add(name, Dtype::F16, shape, Content::Floats(Box::new(fill)));
    }

    pub fn indices(&mut self, name: impl Into<String>, values: &[usize]) {
        let bytes = values.iter().flat_map(|&value| (value as i64).to_le_bytes()).collect();
        self.add(name, Dtype::I64, &[values.len()], Content::Bytes(bytes));
    }

    /// Whole numbers of eight bits.
    pub fn levels(&mut self, name: impl Into<String>, shape: &[usize], values: &[i8]) {
        let bytes = values.iter().map(|value| value.cast_unsigned()).collect();
        self.add(name, Dtype::I8, shape, Content::Bytes(bytes));
    }

    pub fn bytes(&mut self, name: impl Into<String>, bytes: Vec<u8>) {
        self.add(name, Dtype::U8, &[bytes.len()], Content::Bytes(bytes));
    }

    fn add(&mut self, name: impl Into<String>, dtype: Dtype, shape: &[usize], content: Content<'a>) {
        let name = name.into();
        if self.tensors.contains_key(&name) || name == METADATA {
            self.fail(Error::data(format!("tensor `{name}`"), "a name of its own", "the same again"));
        }
        self.tensors.insert(name, Entry { dtype, shape: shape.to_vec(), content });
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
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        // Wide types first, as the format's own writer does, so that every value is aligned.
        let mut tensors: Vec<_> = self.tensors.into_iter().collect();
        tensors.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.dtype));
        let header = header(&tensors, &self.metadata).map_err(|error| failed(error.into()))?;
        if header.len() as u64 > MAX_HEADER {
            let expected = format!("at most {MAX_HEADER} bytes");
            return Err(Error::data("names and metadata of a file", expected, header.len()));
        }
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
                    check_finite(&name, values)?;
                    let bytes = if entry.dtype == Dtype::F16 { half_bytes } else { float_bytes };
                    values.chunks(FLOATS_AT_ONCE).try_for_each(|values| put(&bytes(values)))
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

fn check_finite(name: &str, values: &[f32]) -> Result<()> {
    match values.iter().find(|value| !value.is_finite()) {
        Some(value) => Err(Error::data(name, "finite values", value)),
        None => Ok(()),
    }
}

fn float_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn half_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect()
}

/// The JSON in front of the tensors, its keys in order: the format's own writer takes them from a hash map, and
/// the same content would give other bytes each time.
fn header(
    tensors: &[(String, Entry<'_>)],
    metadata: &BTreeMap<String, String>,
) -> serde_json::Result<Vec<u8>> {
    let mut header = BTreeMap::from([(METADATA, json!(metadata))]);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_read_back_is_not_written() {
        let written = |fill: &dyn Fn(&mut ArchiveWriter<'_>)| -> Result<usize> {
            let mut archive = ArchiveWriter::new("a format");
            fill(&mut archive);
            archive.into_bytes().map(|bytes| bytes.len())
        };
        written(&|archive| archive.floats("a", &[2], &[1.0, 2.0])).unwrap();
        type Fill<'a> = &'a dyn Fn(&mut ArchiveWriter<'_>);
        let faults: [(&str, Fill<'_>); 7] = [
            ("tensor `a`", &|archive| (0..2).for_each(|_| archive.floats("a", &[1], &[1.0]))),
            ("tensor `__metadata__`", &|archive| archive.indices("__metadata__", &[1])),
            ("metadata `format`", &|archive| archive.text("format", "another")),
            ("a", &|archive| archive.floats("a", &[1], &[f32::NAN])),
            ("a", &|archive| archive.floats_from("a", &[1], |put: &mut PutFloats<'_>| put(&[f32::INFINITY]))),
            ("a", &|archive| archive.halves("a", &[1], &[1e6])),
            ("names and metadata of a file", &|archive| archive.text("a", "b".repeat(10_000_000))),
        ];
        for (what, fault) in faults {
            let error = written(fault).unwrap_err();
            assert!(matches!(&error, Error::Data { what: found, .. } if found == what), "{what}: {error}");
        }
    }
}
