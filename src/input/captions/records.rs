//! Records: an object a line, or an array of objects.

use std::path::Path;

use serde_json::{Map, Value};

use super::{Entry, Place, Row, Why};
use crate::error::{Error, Result};

/// What the image is called in records and headings, and what the caption.
pub(super) const IMAGE: [&str; 5] = ["file_name", "image", "image_name", "filename", "filepath"];
pub(super) const CAPTION: [&str; 5] = ["text", "caption", "captions", "comment", "title"];

/// An object a line; blank lines are none.
pub(super) fn lines(text: &str) -> Vec<Entry> {
    let numbered = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let entry = |(at, line): (usize, &str)| {
        let content = serde_json::from_str(line)
            .map_err(|error| Why::unreadable("a JSON object", error))
            .and_then(|value| row(&value));
        Entry { place: Place::Line(at as u64 + 1), content }
    };
    numbered.map(entry).collect()
}

/// The array of a whole file.
pub(super) fn array(file: &Path, text: &str) -> Result<Vec<Entry>> {
    let values: Vec<Value> = serde_json::from_str(text).map_err(|error| {
        Error::malformed(file, "JSON", "an array of objects with an image and a caption", &error)
            .because(error)
    })?;
    let entry = |(at, value)| Entry { place: Place::Entry("", at), content: row(value) };
    Ok(values.iter().enumerate().map(entry).collect())
}

fn row(value: &Value) -> std::result::Result<Row, Why> {
    let Value::Object(fields) = value else {
        return Err(Why::unreadable("an object with an image and a caption", value));
    };
    let (image, name) = the_one(fields, &IMAGE)?;
    let Value::String(image) = image else {
        return Err(Why::unreadable(format!("a file's name as `{name}`"), image));
    };
    let (captions, name) = the_one(fields, &CAPTION)?;
    let texts = match captions {
        Value::Array(captions) => captions.iter().collect(),
        caption => vec![caption],
    };
    let text = |caption: &Value| match caption {
        Value::String(caption) => Ok(caption.clone()),
        Value::Null => Ok(String::new()),
        other => Err(Why::unreadable(format!("text as `{name}`"), other)),
    };
    let captions = texts.into_iter().map(text).collect::<std::result::Result<_, _>>()?;
    let split = fields.get("split").and_then(Value::as_str).map(str::to_owned);
    Ok(Row { image: image.clone(), captions, split })
}

/// The field of one of these names, of which there is one.
fn the_one<'a>(
    fields: &'a Map<String, Value>,
    names: &[&'static str],
) -> std::result::Result<(&'a Value, &'static str), Why> {
    let present: Vec<&str> = names.iter().copied().filter(|name| fields.contains_key(*name)).collect();
    let name = only(&present, names)?;
    let at = names.iter().position(|known| *known == name).unwrap_or_default();
    Ok((&fields[name], names[at]))
}

/// The only name that is present, of those known.
pub(super) fn only<'a>(present: &[&'a str], known: &[&str]) -> std::result::Result<&'a str, Why> {
    let expected = || format!("one of `{}`", known.join("`, `"));
    match present {
        [name] => Ok(name),
        [] => Err(Why::unreadable(expected(), "none of them")),
        several => Err(Why::unreadable(expected(), format!("`{}`", several.join("` and `")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whys(text: &str) -> Vec<String> {
        let why = |entry: Entry| match entry.content {
            Err(Why::Unreadable { expected, found }) => {
                format!("{}: {expected}: {found}", entry.place)
            }
            other => panic!("{other:?}"),
        };
        lines(text).into_iter().map(why).collect()
    }

    #[test]
    fn every_name_that_the_field_uses_is_known() {
        for image in IMAGE {
            for caption in CAPTION {
                let line =
                    format!(r#"{{"{image}": "a.jpg", "{caption}": "a cat", "split": "val", "id": 3}}"#);
                let [Entry { place: Place::Line(1), content: Ok(row) }] = &lines(&line)[..] else { panic!() };
                let expected =
                    Row { image: "a.jpg".into(), captions: vec!["a cat".into()], split: Some("val".into()) };
                assert_eq!(*row, expected);
            }
        }
        let several = lines("\n{\"image\": \"a\", \"captions\": [\"b\", null, \"c\"]}\n");
        let [Entry { place: Place::Line(2), content: Ok(row) }] = &several[..] else { panic!() };
        assert_eq!(row.captions, ["b", "", "c"]);
    }

    #[test]
    fn a_line_that_is_wrong_says_how() {
        let text = [
            "{\"image\": \"a\"",
            "[]",
            "{\"caption\": \"b\"}",
            "{\"image\": {\"bytes\": 1}, \"text\": \"b\"}",
            "{\"image\": \"a\", \"text\": \"b\", \"title\": \"c\"}",
            "{\"image\": \"a\", \"text\": [\"b\", 3]}",
        ];
        let found = whys(&text.join("\n"));
        let expected = [
            "line 1: a JSON object: EOF",
            "line 2: an object with an image and a caption: []",
            "line 3: one of `file_name`, `image`, `image_name`, `filename`, `filepath`: none of them",
            "line 4: a file's name as `image`: {\"bytes\":1}",
            "line 5: one of `text`, `caption`, `captions`, `comment`, `title`: `text` and `title`",
            "line 6: text as `text`: 3",
        ];
        assert_eq!(found.len(), expected.len());
        found.iter().zip(expected).for_each(|(found, start)| assert!(found.starts_with(start), "{found}"));
    }
}
