//! Pictures of unusual kinds, damaged ones among them, beside what Pillow 13 makes of them
//! (`tests/golden/export_pictures.py`). Where this crate differs on purpose, the guide's page `pictures` says why.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use base64::{Engine, engine::general_purpose::STANDARD};
use clip_adapter::input;
use serde_json::Value;

/// What Pillow reads, and this crate refuses.
const REFUSED: [&str; 8] = [
    "jpeg ids alike",
    "jpeg two restart markers lost",
    "jpeg without its end",
    "tiff Lab",
    "tiff bits in the other order",
    "tiff grey, no numbers",
    "tiff luma and chroma",
    "tiff palette, too short",
];

/// What Pillow reads otherwise: it takes each byte of such a plane for a level.
const OTHERWISE: [&str; 1] = ["tiff colour, 16 bits in planes"];

#[test]
fn pictures_are_what_pillow_makes_of_them() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pictures.json");
    let pictures: Vec<Value> = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    assert_eq!(pictures.len(), 158);
    let bytes = |text: &Value| STANDARD.decode(text.as_str().unwrap()).unwrap();
    let mut seen: HashMap<String, Value> = HashMap::new();
    let mut faults = Vec::new();
    for picture in &pictures {
        let name = picture["name"].as_str().unwrap();
        let mut levels = picture["levels"].clone();
        if let Some(other) = levels.as_str() {
            levels = seen[other].clone();
        }
        seen.insert(name.to_owned(), levels.clone());
        let close = picture["close"].as_u64().unwrap_or(0) as u8;
        let fault = match (input::decode(&bytes(&picture["file"]), name), levels.is_null()) {
            (Err(error), _) if error.to_string().lines().count() > 1 => format!("a long message: {error}"),
            (Err(_), true) => continue,
            (Err(error), false) if REFUSED.contains(&name) => match error.to_string().contains(name) {
                true => continue,
                false => format!("refused without its name: {error}"),
            },
            (Err(error), false) => format!("refused: {error}"),
            (Ok(_), true) => "read, and Pillow refuses it".to_owned(),
            (Ok(image), false) => {
                let size = (levels[0].as_u64().unwrap() as u32, levels[1].as_u64().unwrap() as u32);
                let expected = bytes(&levels[2]);
                let apart = image.as_raw().iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max();
                match image.dimensions() == size && apart <= Some(close) {
                    true if REFUSED.contains(&name) || OTHERWISE.contains(&name) => "as Pillow by now".into(),
                    true => continue,
                    false if OTHERWISE.contains(&name) => continue,
                    false => {
                        format!("{:?} and {apart:?} levels apart, Pillow has {size:?}", image.dimensions())
                    }
                }
            }
        };
        faults.push(format!("{name}: {fault}"));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The 16 bits in planes that Pillow misreads are those of the same picture with its samples together.
#[test]
fn planes_of_sixteen_bits_are_the_picture() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pictures.json");
    let pictures: Vec<Value> = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let decoded = |name: &str| {
        let file = pictures.iter().find(|picture| picture["name"] == name).unwrap()["file"].as_str().unwrap();
        input::decode(&STANDARD.decode(file).unwrap(), name).unwrap()
    };
    assert_eq!(decoded("tiff colour, 16 bits in planes"), decoded("tiff colour, 16 bits"));
}
