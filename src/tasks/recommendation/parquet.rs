use std::fmt::Display;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use parquet::basic::{Compression, ConvertedType};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::DataType;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use parquet::schema::types::ColumnDescriptor;

use super::table::{Columns, Row};
use crate::error::{Error, Result};

/// Rows of a Parquet file, one row group after the other.
pub(super) fn read(path: &Path, file: File, rated: bool, each: &mut dyn FnMut(Row<'_>)) -> Result<Columns> {
    let failed = |error: ParquetError| malformed(path, &error).because(error);
    let reader = SerializedFileReader::new(file).map_err(failed)?;
    let schema = reader.metadata().file_metadata().schema_descr_ptr();
    // A column within another is none of ours, whatever it is called.
    let name = |column: &ColumnDescriptor| match column.max_rep_level() == 0 && column.max_def_level() < 2 {
        true => column.path().string(),
        false => String::new(),
    };
    let names: Vec<String> = schema.columns().iter().map(|column| name(column)).collect();
    let columns = Columns::of(path, &names, rated)?;
    let mut before = 0;
    for group in 0..reader.num_row_groups() {
        let group = Group { path, rows: reader.get_row_group(group).map_err(failed)? };
        let (users, items) = (group.names(columns.user)?, group.names(columns.item)?);
        let times = columns.time.map(|at| group.numbers(at)).transpose()?;
        let ratings = columns.rating.map(|at| group.numbers(at)).transpose()?;
        for row in 0..users.len() {
            let mut text = |at: usize| if at == columns.user { &*users[row] } else { &*items[row] };
            let mut number = |at: usize| {
                let of = if columns.time == Some(at) { &times } else { &ratings };
                of.as_ref().and_then(|numbers| numbers[row]).ok_or("null".to_owned())
            };
            let place = || format!("row {}", before + row + 1);
            each(columns.row(&mut text, &mut number).map_err(|fault| fault.error(path, place()))?);
        }
        before += users.len();
    }
    Ok(columns)
}

fn malformed(path: &Path, found: impl Display) -> Error {
    Error::malformed(path, "table", "a whole Parquet file", found)
}

struct Group<'r> {
    path: &'r Path,
    rows: Box<dyn RowGroupReader + 'r>,
}

impl Group<'_> {
    /// Names of users or items: texts or integers. Of none, nothing.
    fn names(&self, at: usize) -> Result<Vec<String>> {
        use ConvertedType::{
            ENUM, INT_8, INT_16, INT_32, INT_64, NONE, UINT_8, UINT_16, UINT_32, UINT_64, UTF8,
        };
        let kind = self.kind(at);
        match (self.column(at)?, kind) {
            (ColumnReader::ByteArrayColumnReader(column), UTF8 | ENUM | NONE) => {
                let texts = self.cells(column)?.into_iter().map(|cell| match cell {
                    None => Ok(String::new()),
                    Some(bytes) => match bytes.as_utf8() {
                        Ok(text) => Ok(text.trim().to_owned()),
                        Err(error) => Err(malformed(self.path, &error).because(error)),
                    },
                });
                texts.collect()
            }
            (ColumnReader::Int32ColumnReader(column), UINT_8 | UINT_16 | UINT_32) => {
                Ok(printed(self.cells(column)?, |value| value as u32))
            }
            (ColumnReader::Int64ColumnReader(column), UINT_64) => {
                Ok(printed(self.cells(column)?, |value| value as u64))
            }
            (ColumnReader::Int32ColumnReader(column), NONE | INT_8 | INT_16 | INT_32) => {
                Ok(printed(self.cells(column)?, |value| value))
            }
            (ColumnReader::Int64ColumnReader(column), NONE | INT_64) => {
                Ok(printed(self.cells(column)?, |value| value))
            }
            _ => Err(self.wrong(at, "texts or integers")),
        }
    }

    /// Times, in whatever unit, or ratings.
    fn numbers(&self, at: usize) -> Result<Vec<Option<f64>>> {
        use ConvertedType::{DECIMAL, UINT_32, UINT_64};
        let kind = self.kind(at);
        match (self.column(at)?, kind) {
            (_, DECIMAL) => Err(self.wrong(at, "numbers")),
            (ColumnReader::Int32ColumnReader(column), UINT_32) => {
                Ok(wide(self.cells(column)?, |value| f64::from(value as u32)))
            }
            (ColumnReader::Int64ColumnReader(column), UINT_64) => {
                Ok(wide(self.cells(column)?, |value| value as u64 as f64))
            }
            (ColumnReader::Int32ColumnReader(column), _) => Ok(wide(self.cells(column)?, f64::from)),
            (ColumnReader::Int64ColumnReader(column), _) => {
                Ok(wide(self.cells(column)?, |value| value as f64))
            }
            (ColumnReader::Int96ColumnReader(column), _) => {
                Ok(wide(self.cells(column)?, |value| value.to_millis() as f64))
            }
            (ColumnReader::FloatColumnReader(column), _) => Ok(wide(self.cells(column)?, f64::from)),
            (ColumnReader::DoubleColumnReader(column), _) => self.cells(column),
            _ => Err(self.wrong(at, "numbers")),
        }
    }

    fn kind(&self, at: usize) -> ConvertedType {
        self.rows.metadata().column(at).column_descr().converted_type()
    }

    fn column(&self, at: usize) -> Result<ColumnReader> {
        let column = self.rows.metadata().column(at);
        let compression = column.compression();
        if !matches!(compression, Compression::UNCOMPRESSED | Compression::SNAPPY) {
            let what = format!("compression of {}", self.path.display());
            return Err(Error::unsupported(what, "none, or Snappy", compression));
        }
        // The reader takes for granted that no place is below 0.
        let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
        if start < 0 || column.compressed_size() < 0 {
            let found = format!("{} bytes at {start}", column.compressed_size());
            return Err(malformed(self.path, found));
        }
        self.rows.get_column_reader(at).map_err(|error| malformed(self.path, &error).because(error))
    }

    /// One cell a row of the group. What the file says of their number is not trusted.
    fn cells<T: DataType>(&self, mut column: ColumnReaderImpl<T>) -> Result<Vec<Option<T::T>>> {
        const STEP: usize = 1 << 16;
        let (mut values, mut defined, mut rows) = (Vec::new(), Vec::new(), 0);
        loop {
            // Where a file contradicts itself the reader panics here and there.
            let step = || column.read_records(STEP, Some(&mut defined), None, &mut values);
            let step = catch_unwind(AssertUnwindSafe(step));
            let step = step.map_err(|_| malformed(self.path, "one that contradicts itself"))?;
            let (read, _, _) = step.map_err(|error| malformed(self.path, &error).because(error))?;
            if read == 0 {
                break;
            }
            rows += read;
        }
        let expected = self.rows.metadata().num_rows();
        if i64::try_from(rows) != Ok(expected) {
            return Err(malformed(self.path, format!("{rows} of {expected} rows of a column")));
        }
        if defined.is_empty() {
            return Ok(values.into_iter().map(Some).collect()); // a column without nulls
        }
        let mut values = values.into_iter();
        Ok(defined.into_iter().map(|defined| if defined > 0 { values.next() } else { None }).collect())
    }

    fn wrong(&self, at: usize, expected: &str) -> Error {
        let column = self.rows.metadata().column(at).column_descr();
        let found = format!("{} as {}", column.physical_type(), column.converted_type());
        Error::malformed(self.path, format!("column `{}`", column.name()), expected, found)
    }
}

fn printed<T, P: Display>(cells: Vec<Option<T>>, print: impl Fn(T) -> P) -> Vec<String> {
    cells.into_iter().map(|cell| cell.map_or_else(String::new, |value| print(value).to_string())).collect()
}

fn wide<T>(cells: Vec<Option<T>>, wide: impl Fn(T) -> f64) -> Vec<Option<f64>> {
    cells.into_iter().map(|cell| cell.map(&wide)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int32Type, Int64Type};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::super::{Histories, LeftOut, Reading};
    use super::*;

    const SCHEMA: &str = "message clicks {
        required int32 Item (INTEGER(32, false));
        optional binary user (UTF8);
        required int64 timestamp (TIMESTAMP(MICROS, true));
        optional double rating;
    }";

    /// Two row groups of the same rows: of nobody, of items beyond the signed numbers, and of a rating or none.
    fn written(path: &Path, schema: &str, users: [Option<&str>; 3], rating: Option<f64>, how: Compression) {
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let properties = Arc::new(WriterProperties::builder().set_compression(how).build());
        let mut writer = SerializedFileWriter::new(File::create(path).unwrap(), schema, properties).unwrap();
        for time in [5, 1] {
            let mut group = writer.next_row_group().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<Int32Type>().write_batch(&[7, -1, 8], None, None).unwrap();
            column.close().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            let texts: Vec<ByteArray> = users.iter().flatten().map(|&user| user.into()).collect();
            let defined = users.map(|user| i16::from(user.is_some()));
            column.typed::<ByteArrayType>().write_batch(&texts, Some(&defined), None).unwrap();
            column.close().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<Int64Type>().write_batch(&[time, time, time - 1], None, None).unwrap();
            column.close().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            let (values, defined) =
                (rating.map_or(vec![], |rating| vec![rating; 3]), [rating.is_some().into(); 3]);
            column.typed::<DoubleType>().write_batch(&values, Some(&defined), None).unwrap();
            column.close().unwrap();
            group.close().unwrap();
        }
        writer.close().unwrap();
    }

    fn read(
        schema: &str,
        users: [Option<&str>; 3],
        rating: Option<f64>,
        how: Compression,
    ) -> Result<(Histories, LeftOut)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clicks.Parquet");
        written(&path, schema, users, rating, how);
        Reading::default().read(&path)
    }

    #[test]
    fn a_parquet_file_is_read_as_a_table_is() {
        let users = [Some("a"), Some(" b"), Some("a")];
        for how in [Compression::UNCOMPRESSED, Compression::SNAPPY] {
            let (histories, left_out) = read(SCHEMA, users, Some(1.5), how).unwrap();
            assert_eq!(
                (histories.users(), histories.items()),
                (&["a", "b"].map(str::to_owned)[..], &["7", "4294967295", "8"].map(str::to_owned)[..])
            );
            assert_eq!((histories.of(0), histories.of(1)), (&[2, 0][..], &[1][..]));
            let expected =
                LeftOut { rows: 6, repeated: 3, single: 1, ratings_unused: true, ..LeftOut::default() };
            assert_eq!(left_out, expected);
        }
    }

    #[test]
    fn every_fault_names_its_row() {
        let (plain, all) = (Compression::UNCOMPRESSED, [Some("a"); 3]);
        let other = |from: &str, to: &str| SCHEMA.replace(from, to);
        for (schema, users, rating, how, sentence) in [
            (
                SCHEMA.to_owned(),
                [Some("a"), None, Some("b")],
                Some(1.0),
                plain,
                "row 2: user: expected a name, found ``",
            ),
            (SCHEMA.to_owned(), all, None, plain, "row 1: rating: expected a finite number, found `null`"),
            (
                SCHEMA.to_owned(),
                all,
                Some(f64::NAN),
                plain,
                "row 1: rating: expected a finite number, found `NaN`",
            ),
            (
                other("user", "name"),
                all,
                Some(1.0),
                plain,
                "heading: expected a column `user`, found `Item,name,timestamp,rating`",
            ),
            (other("timestamp (TIMESTAMP(MICROS, true))", "when"), all, Some(1.0), plain, ""),
            (other("rating", "item2"), all, Some(1.0), plain, ""),
            (
                other("double rating", "double user2").replace("Item", "x").replace("timestamp", "item"),
                all,
                Some(1.0),
                plain,
                "column `item`: expected texts or integers, found INT64 as TIMESTAMP_MICROS",
            ),
        ] {
            match (read(&schema, users, rating, how), sentence) {
                (Ok(_), "") => {}
                (Ok(_), sentence) => panic!("no error: {sentence}"),
                (Err(error), sentence) => {
                    assert!(!sentence.is_empty() && error.to_string().contains(sentence), "{error}")
                }
            }
        }
    }

    /// Any byte of a file may be wrong: that is an error or another table, and no panic.
    #[test]
    fn a_broken_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clicks.parquet");
        written(&path, SCHEMA, [Some("a"), Some("b"), Some("a")], Some(1.0), Compression::SNAPPY);
        let whole = std::fs::read(&path).unwrap();
        let mut errors = 0;
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0xff;
            std::fs::write(&path, bytes).unwrap();
            errors += usize::from(Reading::default().read(&path).is_err());
        }
        assert!(errors > whole.len() / 4, "{errors} of {}", whole.len());
        std::fs::write(&path, &whole[..whole.len() - 9]).unwrap();
        let error = Reading::default().read(&path).unwrap_err();
        assert!(error.to_string().contains("expected a whole Parquet file"), "{error}");
    }
}
