use serde::Serialize;

use super::PhotoIndex;
use crate::backbone::ClipBackbone;
use crate::error::{Error, Result};
use crate::features::Embeddings;
use crate::fingerprint::require_backbone;
use crate::input::ImageInput;
use crate::tasks::retrieval::composed;
use crate::tasks::search::{Hit, Index};

/// An image that was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Found {
    /// Its row.
    pub row: usize,
    /// Its path relative to the folder.
    pub path: String,
    /// Its cosine with the query.
    pub score: f32,
}

/// The longest pull of a text on an image.
const MAX_WEIGHT: f32 = 100.0;

impl PhotoIndex {
    /// The `k` images that fit a sentence best, best first.
    ///
    /// # Errors
    /// [`Error::Fingerprint`] if the index is of another backbone; as [`ClipBackbone::encode_texts`].
    pub fn search_text(&self, clip: &ClipBackbone, text: &str, k: usize) -> Result<Vec<Found>> {
        self.find(clip, clip.encode_texts(&[text])?, k)
    }

    /// The `k` images that are most like another, best first.
    ///
    /// # Errors
    /// [`Error::Fingerprint`] if the index is of another backbone; as [`ClipBackbone::encode_images`].
    pub fn search_image(
        &self,
        clip: &ClipBackbone,
        image: &(impl ImageInput + ?Sized),
        k: usize,
    ) -> Result<Vec<Found>> {
        self.find(clip, clip.encode_images(&[image])?, k)
    }

    /// The `k` images that are most like another with what a text adds to it, "but red": `q = unit(f + w t)`.
    ///
    /// `f` and `t` have unit length; `weight` 0 is [`search_image`](Self::search_image), and 1 is usual.
    ///
    /// # Errors
    /// As [`search_text`](Self::search_text) and [`search_image`](Self::search_image); [`Error::Setting`] if `weight` is
    /// not within 0..=100.
    pub fn search_composed(
        &self,
        clip: &ClipBackbone,
        image: &(impl ImageInput + ?Sized),
        text: &str,
        weight: f32,
        k: usize,
    ) -> Result<Vec<Found>> {
        if !(0.0..=MAX_WEIGHT).contains(&weight) {
            return Err(Error::setting("weight", format!("0..={MAX_WEIGHT}"), weight));
        }
        let (image, text) = (clip.encode_images(&[image])?, clip.encode_texts(&[text])?);
        self.find(clip, composed(&image, &text, f64::from(weight))?, k)
    }

    /// The `k` images that are most like one of the index, best first; that one is left out.
    ///
    /// # Errors
    /// [`Error::Data`] if there is no such row.
    pub fn search_row(&self, row: usize, k: usize) -> Result<Vec<Found>> {
        let query = Embeddings::new(self.embedding(row)?, self.dim())?;
        let hits = self.search(&query, k.saturating_add(1))?.remove(0);
        Ok(hits.into_iter().filter(|hit| hit.row != row).take(k).map(|hit| self.found(hit)).collect())
    }

    fn find(&self, clip: &ClipBackbone, query: Embeddings, k: usize) -> Result<Vec<Found>> {
        require_backbone("backbones of the index", clip.identity(), self.backbone())?;
        let hits = self.search(&query.into_normalised(), k)?.remove(0);
        Ok(hits.into_iter().map(|hit| self.found(hit)).collect())
    }

    fn found(&self, hit: Hit) -> Found {
        Found { row: hit.row, path: self.items()[hit.row].path.clone(), score: hit.score }
    }
}
