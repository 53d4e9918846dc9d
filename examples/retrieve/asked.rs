//! One question to an index that was made before, by a sentence or a picture, with or without an adapter.

use std::path::{Path, PathBuf};

use clap::Args;
use clip_adapter::{
    ClipBackbone, Error, Fingerprint, Result,
    burn::tensor::Device,
    model::Open,
    tasks::{
        retrieval::{FittedPair, adapted_images, adapted_texts, composed},
        search::{Index, PhotoIndex},
    },
};
use serde_json::{Value, json};

use crate::cli::pocket;

// What is asked of which index. No doc comment: clap would take it for what the whole command does.
#[derive(Args)]
pub struct Question {
    /// Asks an index that the example `index` made, in place of scoring pairs
    #[arg(long, value_name = "FILE", requires = "query", conflicts_with_all = ["pairs", "images", "method", "train_pairs"])]
    index: Option<PathBuf>,
    /// What to look for: a picture's file, or else a sentence
    #[arg(long, value_name = "TEXT|IMAGE", requires = "index")]
    query: Option<String>,
    /// What a sentence adds to a query that is a picture: "but red"
    #[arg(long, value_name = "TEXT", requires = "query")]
    text: Option<String>,
    /// How much that sentence counts beside the picture
    #[arg(long, value_name = "W", default_value_t = 1.0, requires = "text")]
    weight: f64,
    /// An adapter that --save wrote, of texts alone (sides=text): the index of the pictures is then still good
    #[arg(long, value_name = "FILE", requires = "index")]
    adapter: Option<PathBuf>,
    /// Pictures to find
    #[arg(long, value_name = "K", default_value_t = 10, requires = "index")]
    top: usize,
}

impl Question {
    /// Answers it, if there is one: prints the best, and gives them as JSON.
    pub fn answer(&self, backbone: Option<&PathBuf>, device: &Device) -> Result<Option<Value>> {
        let (Some(path), Some(query)) = (&self.index, &self.query) else { return Ok(None) };
        let clip = ClipBackbone::from_pretrained(
            backbone.cloned().unwrap_or_else(|| pocket::path("model")),
            device,
        )?;
        let index = PhotoIndex::open(path, clip.identity())?;
        let adapter = self.adapter.as_ref().map(|path| open(path, &clip, device)).transpose()?;
        let texts = |text: &str| {
            let text = clip.encode_texts(&[text])?;
            adapter.as_ref().map_or_else(|| Ok(text.normalised()), |model| adapted_texts(model, &text))
        };
        let is_picture = Path::new(query).is_file();
        let pictures = || {
            let picture = clip.encode_images(&[Path::new(query)])?;
            adapter.as_ref().map_or_else(|| Ok(picture.normalised()), |model| adapted_images(model, &picture))
        };
        let asked = match (&self.text, is_picture) {
            (Some(text), true) => composed(&pictures()?, &texts(text)?, self.weight)?,
            (Some(_), false) => {
                return Err(Error::data("query with a text", "a picture's file", format!("`{query}`")));
            }
            (None, true) => pictures()?,
            (None, false) => texts(query)?,
        };
        let mut found = Vec::new();
        for hit in index.search(&asked, self.top)?.remove(0) {
            let picture = &index.items()[hit.row].path;
            println!("{:.4}  {picture}", hit.score);
            found.push(json!({ "path": picture, "score": hit.score }));
        }
        let kind = if is_picture { "image" } else { "text" };
        Ok(Some(json!({ "index": path, "query": query, "kind": kind, "text": self.text, "found": found })))
    }
}

/// An adapter of texts alone: one that changes pictures belongs to another index than this.
fn open(path: &Path, clip: &ClipBackbone, device: &Device) -> Result<FittedPair> {
    let model = FittedPair::load(path, &Fingerprint::of_backbone(clip.identity()), device)?;
    match model.changes_images() {
        false => Ok(model),
        true => Err(Error::data(
            path.display().to_string(),
            "an adapter of texts alone (sides=text)",
            "one of pictures",
        )),
    }
}
