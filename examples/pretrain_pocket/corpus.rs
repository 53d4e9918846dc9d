//! What corpus.py prepared: names, keywords and groups of emoji, and pictures of them in several styles.

use std::{collections::BTreeMap, fs, path::Path};

use clip_adapter::{Error, Result};
use image::RgbaImage;
use serde::Deserialize;

/// What is known about an emoji in words.
#[derive(Debug, Deserialize)]
pub struct Emoji {
    pub name: String,
    pub keywords: Vec<String>,
    pub subgroup: String,
}

/// One art style: a picture of each emoji that it has.
pub struct Style {
    pub name: String,
    pub pictures: Vec<Option<RgbaImage>>,
}

/// Emoji in words and pictures.
pub struct Corpus {
    pub emoji: Vec<Emoji>,
    pub styles: Vec<Style>,
}

impl Corpus {
    /// Reads all pictures of these styles.
    pub fn open(folder: &Path, styles: &[&str]) -> Result<Self> {
        let path = folder.join("captions.json");
        let text = fs::read_to_string(&path).map_err(|source| Error::read(&path, source))?;
        let entries: BTreeMap<String, Emoji> = serde_json::from_str(&text).map_err(|error| {
            Error::malformed(&path, "JSON", "captions by code points", &error).because(error)
        })?;
        let codes: Vec<&String> = entries.keys().collect();
        let styles = styles.iter().map(|name| style(folder, name, &codes)).collect::<Result<_>>()?;
        Ok(Self { emoji: entries.into_values().collect(), styles })
    }

    /// One picture, where the style has it.
    pub fn picture(&self, style: usize, emoji: usize) -> Option<&RgbaImage> {
        self.styles[style].pictures[emoji].as_ref()
    }
}

fn style(folder: &Path, name: &str, codes: &[&String]) -> Result<Style> {
    let folder = folder.join(name);
    let pictures: Vec<Option<RgbaImage>> = codes
        .iter()
        .map(|code| {
            let path = folder.join(format!("{code}.png"));
            if !path.exists() {
                return Ok(None);
            }
            let image = image::open(&path).map_err(|error| Error::image(&path, error))?;
            Ok(Some(image.into_rgba8()))
        })
        .collect::<Result<_>>()?;
    if pictures.iter().all(Option::is_none) {
        let expected = format!("pictures in {}", folder.display());
        return Err(Error::data(format!("style `{name}`"), expected, "none"));
    }
    Ok(Style { name: name.to_owned(), pictures })
}
