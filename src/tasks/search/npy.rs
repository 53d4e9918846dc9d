//! Rows as NumPy, faiss and vector databases read them.

use std::path::Path;

use half::f16;

use super::{Index, Rows};
use crate::archive::write_atomically;
use crate::error::{Error, Result};

/// The number type of a `.npy` file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NpyType {
    /// `<f4`, which faiss takes.
    #[default]
    F32,
    /// `<f2`, half the size.
    F16,
}

/// What a header is filled up to, with the ten bytes in front of it.
const ALIGN: usize = 64;

impl Rows {
    /// Writes the rows as a `.npy` file of format 1.0, `[rows, dim]` in C order: `numpy.load` reads it, and
    /// `index.add(numpy.load(..))` of faiss takes it.
    ///
    /// # Errors
    /// [`Error::Write`] if it cannot be written; what was there is then untouched. [`Error::Read`] if the rows are on
    /// disk and cannot be read.
    ///
    /// # Examples
    /// ```
    /// use clip_adapter::features::Embeddings;
    /// use clip_adapter::tasks::search::{NpyType, Rows};
    ///
    /// let folder = tempfile::tempdir().unwrap();
    /// let path = folder.path().join("rows.npy");
    /// Rows::floats(&Embeddings::new(vec![0.5, 2.0], 2)?).write_npy(&path, NpyType::F32)?;
    /// let bytes = std::fs::read(&path).unwrap();
    /// assert_eq!((bytes.len(), &bytes[..8]), (128 + 8, &b"\x93NUMPY\x01\x00"[..]));
    /// assert_eq!(bytes[128..], [0, 0, 0, 0x3f, 0, 0, 0, 0x40]);
    /// # Ok::<(), clip_adapter::Error>(())
    /// ```
    pub fn write_npy(&self, path: impl AsRef<Path>, dtype: NpyType) -> Result<()> {
        let path = path.as_ref();
        write_atomically(path, |file| {
            let mut put = |bytes: &[u8]| file.write_all(bytes).map_err(|source| Error::write(path, source));
            put(&header(dtype, [self.len(), self.dim()]))?;
            self.each(&mut |values| match dtype {
                NpyType::F32 => put(&values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>()),
                NpyType::F16 => {
                    let halves = values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes());
                    put(&halves.collect::<Vec<_>>())
                }
            })
        })
    }
}

/// Magic, version, length of what follows, and a Python dictionary (numpy.lib.format, version 1.0).
fn header(dtype: NpyType, [rows, dim]: [usize; 2]) -> Vec<u8> {
    let name = match dtype {
        NpyType::F32 => "<f4",
        NpyType::F16 => "<f2",
    };
    let mut text = format!("{{'descr': '{name}', 'fortran_order': False, 'shape': ({rows}, {dim}), }}");
    let length = (10 + text.len() + 1).next_multiple_of(ALIGN);
    text.push_str(&" ".repeat(length - 10 - text.len() - 1));
    text.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((text.len() as u16).to_le_bytes()); // two numbers never fill 65,535 letters
    bytes.extend(text.into_bytes());
    bytes
}
