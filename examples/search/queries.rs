//! What the page asks, and what is found.

use clip_adapter::{
    ClipBackbone, Error, Result,
    features::Embeddings,
    input::ImageBytes,
    tasks::search::{Hit, Index, PhotoIndex},
    tasks::taste::{Gallery, Taste},
};
use serde::Deserialize;
use serde_json::{Value, json};

/// Thumbs that one request may bring, and pictures that it may ask for.
const MOST: usize = 1000;

/// Letters of a sentence; the model reads far fewer.
const MAX_LETTERS: usize = 2000;

/// Images of the index that stand for all of them where there are more.
const SAMPLE: usize = 4096;

/// A search: by a sentence, by a picture's embedding, by a picture of the index, by a sentence and one of these, by
/// thumbs alone, or by nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Query {
    pub text: String,
    pub embedding: Option<Vec<f32>>,
    pub row: Option<usize>,
    pub like: Vec<usize>,
    pub dislike: Vec<usize>,
    pub top: Option<usize>,
}

/// What is searched.
#[derive(Debug)]
pub struct Library {
    pub clip: ClipBackbone,
    pub index: PhotoIndex,
    gallery: Option<Gallery>,
}

impl Library {
    pub fn new(clip: ClipBackbone, index: PhotoIndex) -> Result<Self> {
        let step = index.len().div_ceil(SAMPLE).max(1);
        let rows: Vec<usize> = (0..index.len()).step_by(step).collect();
        let sample = rows_of(&index, &rows)?;
        // Without two pictures that differ there is nothing to learn, and only thumbs find out.
        let gallery = Gallery::new(&sample, clip.identity()).ok();
        Ok(Self { clip, index, gallery })
    }

    /// The embedding of a picture that is searched with.
    pub fn look(&self, bytes: &[u8]) -> Result<Value> {
        let image = self.clip.encode_images(&[ImageBytes { name: "picture", bytes }])?.normalised();
        Ok(json!({ "embedding": image.row(0) }))
    }

    pub fn search(&self, query: &Query, usual: usize) -> Result<Value> {
        let top = query.top.unwrap_or(usual);
        if top == 0 || top > MOST {
            return Err(Error::setting("top", format!("1..={MOST}"), top));
        }
        self.check_rows("like", &query.like)?;
        self.check_rows("dislike", &query.dislike)?;
        let taught = !query.like.is_empty() || !query.dislike.is_empty();
        let asked = self.embedding(query)?;
        let hits = match (&asked, taught) {
            (None, false) => (0..self.index.len().min(top)).map(|row| Hit { row, score: 0.0 }).collect(),
            (Some(asked), false) => self.index.search(asked, top)?.remove(0),
            (_, true) => self.index.search(&self.taught(query, asked.as_ref())?, top)?.remove(0),
        };
        let scored = asked.is_some() || taught;
        let picture = |hit: &Hit| {
            let item = &self.index.items()[hit.row];
            let score = scored.then_some(hit.score);
            json!({ "row": hit.row, "path": item.path, "score": score, "version": item.digest })
        };
        let results: Vec<Value> = hits.iter().map(picture).collect();
        Ok(json!({ "results": results, "of": self.index.len(), "taught": taught }))
    }

    /// What was asked for, without the thumbs.
    pub fn embedding(&self, query: &Query) -> Result<Option<Embeddings>> {
        let picture = match (&query.embedding, query.row) {
            (Some(_), Some(_)) => return Err(Error::data("search", "one picture", "two")),
            (Some(values), None) => {
                let picture = Embeddings::new(values.clone(), self.clip.config().embed_dim)?;
                if picture.rows() != 1 {
                    return Err(Error::data("embedding", "one row", picture.rows()));
                }
                Some(picture.normalised())
            }
            (None, Some(row)) => {
                self.check_rows("row", &[row])?;
                Some(rows_of(&self.index, &[row])?)
            }
            (None, None) => None,
        };
        let letters = query.text.chars().count();
        if letters > MAX_LETTERS {
            return Err(Error::setting("text", format!("at most {MAX_LETTERS} letters"), letters));
        }
        let text = match query.text.trim() {
            "" => None,
            text => Some(self.clip.encode_texts(&[text])?.normalised()),
        };
        match (picture, text) {
            (Some(picture), Some(text)) => {
                let sum = picture.values().iter().zip(text.values()).map(|(f, t)| f + t).collect();
                Ok(Some(Embeddings::new(sum, picture.dim())?.normalised()))
            }
            (picture, text) => Ok(picture.or(text)),
        }
    }

    /// The same with the thumbs; a taste alone where nothing else was asked for.
    fn taught(&self, query: &Query, asked: Option<&Embeddings>) -> Result<Embeddings> {
        let Some(gallery) = &self.gallery else {
            return Err(Error::data("pictures to choose among", "two that differ", self.index.len()));
        };
        let [liked, disliked] = [&query.like, &query.dislike].map(|rows| rows_of(&self.index, rows));
        let (liked, disliked) = (liked?, disliked?);
        match asked {
            Some(asked) => {
                let taste = Taste::search().fit(gallery, &liked, &disliked, Some(asked))?;
                taste.query(gallery, asked)
            }
            None => Taste::default().fit(gallery, &liked, &disliked, None)?.direction(),
        }
    }

    pub fn check_rows(&self, what: &str, rows: &[usize]) -> Result<()> {
        if rows.len() > MOST {
            return Err(Error::setting(what, format!("at most {MOST} pictures"), rows.len()));
        }
        match rows.iter().find(|&&row| row >= self.index.len()) {
            None => Ok(()),
            Some(row) => Err(Error::setting(what, format!("pictures below {}", self.index.len()), row)),
        }
    }
}

fn rows_of(index: &PhotoIndex, rows: &[usize]) -> Result<Embeddings> {
    let mut values = Vec::with_capacity(rows.len() * index.dim());
    for &row in rows {
        values.extend(index.embedding(row)?);
    }
    Embeddings::new(values, index.dim())
}
