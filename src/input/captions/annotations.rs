//! Annotations as COCO and Karpathy's splits have them: one object with a list of images.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::{Entry, Place, Row, Why};
use crate::error::{Error, Result};

#[derive(Deserialize)]
struct Whole {
    images: Vec<Image>,
    annotations: Option<Vec<Annotation>>,
}

/// What both have of an image.
#[derive(Deserialize)]
struct Image {
    id: Option<Value>,
    file_name: Option<String>,
    filename: Option<String>,
    filepath: Option<String>,
    sentences: Option<Vec<Sentence>>,
    split: Option<String>,
}

#[derive(Deserialize)]
struct Sentence {
    raw: Option<String>,
}

#[derive(Deserialize)]
struct Annotation {
    image_id: Option<Value>,
    caption: Option<String>,
}

pub(super) fn read(file: &Path, text: &str) -> Result<Vec<Entry>> {
    let whole: Whole = serde_json::from_str(text).map_err(|error| {
        let expected = "an object with `images`, as COCO's and Karpathy's captions have it";
        Error::malformed(file, "JSON", expected, &error).because(error)
    })?;
    match whole.annotations {
        Some(annotations) => coco(file, &whole.images, annotations),
        None => karpathy(file, whole.images),
    }
}

fn missing(file: &Path, list: &'static str, at: usize, field: &str) -> Error {
    Error::malformed(file, Place::Entry(list, at), format!("`{field}`"), "none")
}

fn coco(file: &Path, images: &[Image], annotations: Vec<Annotation>) -> Result<Vec<Entry>> {
    let mut names = HashMap::new();
    for (at, image) in images.iter().enumerate() {
        let id = image.id.as_ref().ok_or_else(|| missing(file, "images", at, "id"))?;
        let name = image.file_name.as_ref().ok_or_else(|| missing(file, "images", at, "file_name"))?;
        if let Some(other) = names.insert(id.to_string(), name).filter(|other| *other != name) {
            let found = format!("`{name}` and `{other}`");
            return Err(Error::malformed(file, Place::Entry("images", at), format!("one image {id}"), found));
        }
    }
    let entry = |(at, annotation): (usize, Annotation)| {
        let id = annotation.image_id.ok_or_else(|| missing(file, "annotations", at, "image_id"))?;
        let caption = annotation.caption.ok_or_else(|| missing(file, "annotations", at, "caption"))?;
        let content = match names.get(&id.to_string()) {
            Some(&name) => Ok(Row { image: name.clone(), captions: vec![caption], split: None }),
            None => Err(Why::NoImage),
        };
        Ok(Entry { place: Place::Entry("annotations", at), content })
    };
    annotations.into_iter().enumerate().map(entry).collect()
}

fn karpathy(file: &Path, images: Vec<Image>) -> Result<Vec<Entry>> {
    let entry = |(at, image): (usize, Image)| {
        let name = image.filename.ok_or_else(|| missing(file, "images", at, "filename"))?;
        let name = match image.filepath {
            Some(folder) if !folder.is_empty() => format!("{folder}/{name}"),
            _ => name,
        };
        let sentences = image.sentences.ok_or_else(|| missing(file, "images", at, "sentences"))?;
        let raw =
            |sentence: Sentence| sentence.raw.ok_or_else(|| missing(file, "images", at, "sentences[].raw"));
        let captions = sentences.into_iter().map(raw).collect::<Result<_>>()?;
        Ok(Entry {
            place: Place::Entry("images", at),
            content: Ok(Row { image: name, captions, split: image.split }),
        })
    };
    images.into_iter().enumerate().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(image: &str, captions: &[&str], split: Option<&str>) -> Row {
        let captions = captions.iter().map(|caption| (*caption).to_owned()).collect();
        Row { image: image.into(), captions, split: split.map(str::to_owned) }
    }

    #[test]
    fn coco_and_karpathy_are_told_apart() {
        let coco = r#"{"info": {}, "images": [{"id": 7, "file_name": "7.jpg", "license": 1}],
            "annotations": [{"image_id": 7, "id": 1, "caption": "A cat."}, {"image_id": 8, "caption": "A dog."}]}"#;
        let entries = read(Path::new("c.json"), coco).unwrap();
        assert_eq!(entries[0].content, Ok(row("7.jpg", &["A cat."], None)));
        assert_eq!(
            (entries[1].place.to_string(), &entries[1].content),
            ("annotations[1]".into(), &Err(Why::NoImage))
        );
        let karpathy = r#"{"dataset": "coco", "images": [
            {"filepath": "val2014", "filename": "7.jpg", "split": "restval", "sentids": [0], "imgid": 0,
             "sentences": [{"raw": "A cat.", "tokens": ["a", "cat"]}, {"raw": "It sleeps."}]},
            {"filename": "8.jpg", "split": "test", "sentences": []}]}"#;
        let entries = read(Path::new("k.json"), karpathy).unwrap();
        assert_eq!(entries[0].content, Ok(row("val2014/7.jpg", &["A cat.", "It sleeps."], Some("restval"))));
        assert_eq!(entries[1].content, Ok(row("8.jpg", &[], Some("test"))));
    }

    #[test]
    fn a_field_that_is_missing_is_named() {
        for (text, part, expected) in [
            ("{\"a\": 1}", "JSON", "an object with `images`, as COCO's and Karpathy's captions have it"),
            ("{\"images\": [", "JSON", "an object with `images`, as COCO's and Karpathy's captions have it"),
            (r#"{"images": [{"id": 1}], "annotations": []}"#, "images[0]", "`file_name`"),
            (r#"{"images": [{"file_name": "a"}], "annotations": []}"#, "images[0]", "`id`"),
            (
                r#"{"images": [], "annotations": [{"image_id": 3, "bbox": []}]}"#,
                "annotations[0]",
                "`caption`",
            ),
            (r#"{"images": [{"filename": "a", "sentences": [{}]}]}"#, "images[0]", "`sentences[].raw`"),
            (r#"{"images": [{"filename": "a"}]}"#, "images[0]", "`sentences`"),
            (
                r#"{"images": [{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}], "annotations": []}"#,
                "images[1]",
                "one image 1",
            ),
        ] {
            let error = read(Path::new("c.json"), text).map(|entries| entries.len()).unwrap_err();
            assert!(
                matches!(&error, Error::Malformed { part: p, expected: e, .. } if p == part && e == expected),
                "{text}: {error}"
            );
        }
    }
}
