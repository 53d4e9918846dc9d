//! Tables of text: columns under a heading, or Flickr's `photo.jpg#0`, a tab, and the caption.

use std::path::Path;
use std::result::Result as StdResult;

use csv::{ReaderBuilder, StringRecord, Trim};

use super::records::{CAPTION, IMAGE, only};
use super::{Entry, Place, Row, Why};
use crate::error::{Error, Result};

pub(super) fn read(file: &Path, text: &str) -> Result<Vec<Entry>> {
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    if token(first).is_some() {
        return Ok(tokens(text));
    }
    let delimiter = [b'|', b'\t'].into_iter().find(|&byte| first.as_bytes().contains(&byte)).unwrap_or(b',');
    columns(file, text, delimiter)
}

/// `photo.jpg#0`, a tab, and the caption.
fn token(line: &str) -> Option<(&str, &str)> {
    let (name, caption) = line.split_once('\t')?;
    let (image, number) = name.rsplit_once('#')?;
    let counted = !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit());
    (counted && !image.is_empty()).then_some((image, caption))
}

fn tokens(text: &str) -> Vec<Entry> {
    let numbered = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let entry = |(at, line): (usize, &str)| {
        let content = match token(line) {
            Some((image, caption)) => {
                Ok(Row { image: image.to_owned(), captions: vec![caption.to_owned()], split: None })
            }
            None => Err(Why::unreadable("an image, `#`, a number, a tab and a caption", format!("`{line}`"))),
        };
        Entry { place: Place::Line(at as u64 + 1), content }
    };
    numbered.map(entry).collect()
}

/// Where the columns are.
struct Columns {
    all: usize,
    image: usize,
    caption: usize,
    split: Option<usize>,
}

impl Columns {
    fn of(headings: &StringRecord) -> StdResult<Self, Why> {
        let place = |names: &[&str]| -> StdResult<usize, Why> {
            let present: Vec<&str> = headings.iter().filter(|heading| names.contains(heading)).collect();
            let name = only(&present, names)?;
            Ok(headings.iter().position(|heading| heading == name).unwrap_or_default())
        };
        Ok(Self {
            all: headings.len(),
            image: place(&IMAGE)?,
            caption: place(&CAPTION)?,
            split: headings.iter().position(|heading| heading == "split"),
        })
    }
}

fn columns(file: &Path, text: &str, delimiter: u8) -> Result<Vec<Entry>> {
    // What Flickr30k has between bars is never quoted, and holds quotes.
    let quoting = delimiter != b'|';
    let mut reader = ReaderBuilder::new();
    reader.delimiter(delimiter).quoting(quoting).flexible(true).trim(Trim::All);
    let mut reader = reader.from_reader(text.as_bytes());
    let failed = |error: csv::Error| Error::malformed(file, "table", "rows of text", &error).because(error);
    let columns = Columns::of(reader.headers().map_err(failed)?).map_err(|why| {
        let Why::Unreadable { expected, found } = why else {
            return Error::data("heading", "columns", "none");
        };
        Error::malformed(file, "line 1: heading", expected, found)
    })?;
    let (mut entries, mut record) = (Vec::new(), StringRecord::new());
    while reader.read_record(&mut record).map_err(failed)? {
        let line = record.position().map_or(0, csv::Position::line);
        let start = record.position().map_or(0, csv::Position::byte) as usize;
        let end = reader.position().byte() as usize;
        let raw = text.get(start..end).unwrap_or_default().trim_matches(['\r', '\n']);
        let content = match raw.contains('\n') && !closes(raw, delimiter) {
            true => Err(Why::unreadable("a quote that ends where its column does", "one that does not")),
            false => row(&columns, &record),
        };
        // Blank lines before a record belong to no other.
        let skipped = text.get(start..).unwrap_or_default().bytes();
        let skipped = skipped.take_while(|byte| b"\r\n".contains(byte)).filter(|&byte| byte == b'\n').count();
        entries.push(Entry { place: Place::Line(line + skipped as u64), content });
    }
    Ok(entries)
}

fn row(columns: &Columns, record: &StringRecord) -> StdResult<Row, Why> {
    if record.len() != columns.all {
        return Err(Why::unreadable(format!("{} columns", columns.all), record.len()));
    }
    let field = |at: usize| record.get(at).unwrap_or_default().to_owned();
    let split = columns.split.map(field).filter(|split| !split.is_empty());
    Ok(Row { image: field(columns.image), captions: vec![field(columns.caption)], split })
}

/// Whether every quote that begins a column of some lines also ends it. One that is left open would take the lines
/// after it for a part of its column.
fn closes(raw: &str, delimiter: u8) -> bool {
    let bytes = raw.as_bytes();
    let (mut quoted, mut begins, mut at) = (false, true, 0);
    while at < bytes.len() {
        match (bytes[at], quoted) {
            (b'"', true) if bytes.get(at + 1) == Some(&b'"') => at += 1,
            (b'"', true) => match bytes.get(at + 1) {
                Some(&next) if next != delimiter && !b"\r\n".contains(&next) => return false,
                _ => quoted = false,
            },
            (b'"', false) if begins => quoted = true,
            _ => {}
        }
        begins = !quoted && bytes[at] == delimiter;
        at += 1;
    }
    !quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Vec<(String, StdResult<(String, String), String>)> {
        let row = |entry: Entry| {
            let content = match entry.content {
                Ok(Row { image, captions, .. }) => Ok((image, captions.concat())),
                Err(Why::Unreadable { expected, found }) => Err(format!("{expected}, {found}")),
                Err(other) => panic!("{other:?}"),
            };
            (entry.place.to_string(), content)
        };
        read(Path::new("captions"), text).unwrap().into_iter().map(row).collect()
    }

    fn good(line: u64, image: &str, caption: &str) -> (String, StdResult<(String, String), String>) {
        (format!("line {line}"), Ok((image.into(), caption.into())))
    }

    #[test]
    fn flickrs_tables_are_read_as_they_are() {
        let eight = "image,caption\n1.jpg,A dog .\n1.jpg,\"A dog , a \"\"big\"\" one .\"\n2.jpg,A 5\" pipe\n";
        let expected = [
            good(2, "1.jpg", "A dog ."),
            good(3, "1.jpg", "A dog , a \"big\" one ."),
            good(4, "2.jpg", "A 5\" pipe"),
        ];
        assert_eq!(rows(eight), expected);
        // The line that Flickr30k's table is known for, which lacks a bar.
        let thirty = "image_name| comment_number| comment\n1.jpg| 0| \"Hello\" , he says\n2.jpg| 4   A dog runs\n\n3.jpg| 0| A cat\r\n";
        let bad = ("line 3".to_owned(), Err("3 columns, 2".to_owned()));
        assert_eq!(rows(thirty), [good(2, "1.jpg", "\"Hello\" , he says"), bad, good(5, "3.jpg", "A cat")]);
        let token = "1.jpg#0\tA \"dog\" runs .\n1.jpg#1\tA dog , running .\n1.jpg\tno number\n";
        let found = rows(token);
        assert_eq!(found[..2], [good(1, "1.jpg", "A \"dog\" runs ."), good(2, "1.jpg", "A dog , running .")]);
        assert!(found[2].1.as_ref().unwrap_err().ends_with("`1.jpg\tno number`"), "{:?}", found[2]);
        // open_clip's own
        assert_eq!(rows("filepath\ttitle\na/1.jpg\ta cat\n"), [good(2, "a/1.jpg", "a cat")]);
    }

    #[test]
    fn a_quote_that_is_left_open_takes_no_other_line() {
        let open = "image,caption\n1.jpg,\"a cat\n2.jpg,\"a dog\"\n3.jpg,a bird\n";
        let found = rows(open);
        assert!(found[0].1.as_ref().unwrap_err().starts_with("a quote that ends"), "{found:?}");
        let lines = "image,caption\n1.jpg,\"a cat\nasleep\"\n2.jpg,a dog\n";
        assert_eq!(rows(lines), [good(2, "1.jpg", "a cat\nasleep"), good(4, "2.jpg", "a dog")]);
        for (raw, whole) in
            [("a,\"b\nc\"", true), ("a,\"b\"\"\nc\"", true), ("a,\"b\nc", false), ("a,\"b\nc,\"d", false)]
        {
            assert_eq!(closes(raw, b','), whole, "{raw}");
        }
    }

    #[test]
    fn a_table_without_its_columns_is_an_error() {
        for (text, found) in [
            ("", "none of them"),
            ("a.jpg,a cat\n", "none of them"),
            ("image,text,caption\n", "`text` and `caption`"),
            ("image,filename,caption\n", "`image` and `filename`"),
        ] {
            let error = read(Path::new("c.csv"), text).unwrap_err();
            assert!(
                matches!(&error, Error::Malformed { part, found: what, .. } if part == "line 1: heading" && what == found),
                "{text}: {error}"
            );
        }
    }
}
