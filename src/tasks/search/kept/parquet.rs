use std::io::{self, Write};
use std::mem;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use parquet::data_type::{ByteArray, ByteArrayType, FloatType};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::PhotoIndex;
use crate::archive::write_atomically;
use crate::error::{Error, Result};
use crate::tasks::search::Index;

/// Rows of one row group: 16 MB of 512 f32.
const GROUP: usize = 8192;

/// A path and its embedding, as every reader of Parquet takes a list.
const SCHEMA: &str = "message index {
    required binary path (UTF8);
    required group embedding (LIST) { repeated group list { required float element; } }
}";

/// What the writer has written and the file has not yet, which may be of another thread's.
#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl PhotoIndex {
    /// Writes a Parquet file of two columns, `path` (string) and `embedding` (list of f32), which vector databases and
    /// data frames read. Not compressed: embeddings hardly are.
    ///
    /// # Errors
    /// [`Error::Write`] if it cannot be written; what was there is then untouched. [`Error::Read`] if the rows are on
    /// disk and cannot be read.
    pub fn write_parquet(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let failed = |error: ParquetError| Error::write(path, io::Error::other(error));
        write_atomically(path, |file| {
            let buffer = Buffer::default();
            let mut drain = || {
                let bytes = mem::take(&mut *buffer.0.lock().unwrap_or_else(PoisonError::into_inner));
                file.write_all(&bytes).map_err(|source| Error::write(path, source))
            };
            let schema = Arc::new(parse_message_type(SCHEMA).map_err(failed)?);
            let properties = WriterProperties::builder()
                .set_dictionary_enabled(false)
                .set_statistics_enabled(EnabledStatistics::None)
                .build();
            let mut writer =
                SerializedFileWriter::new(buffer.clone(), schema, Arc::new(properties)).map_err(failed)?;
            let mut values = Vec::new();
            for first in (0..self.len()).step_by(GROUP) {
                let rows = first..(first + GROUP).min(self.len());
                let names: Vec<ByteArray> =
                    self.items()[rows.clone()].iter().map(|item| item.path.as_str().into()).collect();
                self.rows().fill(rows, &mut values)?;
                // A value begins a row, or goes on with its list.
                let repeated: Vec<i16> =
                    (0..values.len()).map(|at| i16::from(at % self.dim() != 0)).collect();
                let defined = vec![1; values.len()];
                let mut group = writer.next_row_group().map_err(failed)?;
                if let Some(mut column) = group.next_column().map_err(failed)? {
                    column.typed::<ByteArrayType>().write_batch(&names, None, None).map_err(failed)?;
                    column.close().map_err(failed)?;
                }
                if let Some(mut column) = group.next_column().map_err(failed)? {
                    let floats = column.typed::<FloatType>();
                    floats.write_batch(&values, Some(&defined), Some(&repeated)).map_err(failed)?;
                    column.close().map_err(failed)?;
                }
                group.close().map_err(failed)?;
                drain()?;
            }
            writer.close().map_err(failed)?;
            drain()
        })
    }
}
