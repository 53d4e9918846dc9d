use std::collections::{BTreeMap, BTreeSet};

use crate::backbone::ClipBackbone;
use crate::error::{Error, Result};
use crate::features::{Embeddings, Pairs};
use crate::fingerprint::require_backbone;

/// Sentences and the images that were liked for them: thumbs as pairs, from which an adapter learns a person's words.
///
/// # Examples
/// ```
/// use clip_adapter::tasks::taste::Lessons;
///
/// let mut lessons = Lessons::new(2, 100.0, "tiny");
/// lessons.like("my bike", &[0.6, 0.8], "bike.jpg", &[1.0, 0.0])?;
/// lessons.like("a bicycle", &[0.8, 0.6], "bike.jpg", &[1.0, 0.0])?;
/// lessons.like("my bike", &[0.6, 0.8], "bike.jpg", &[1.0, 0.0])?; // is known already
/// let pairs = lessons.pairs()?;
/// assert_eq!((pairs.len(), pairs.captions().unwrap().len()), (1, 2));
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Lessons {
    dim: usize,
    logit_scale: f64,
    backbone: String,
    images: BTreeMap<String, Vec<f32>>,
    texts: BTreeMap<String, Vec<f32>>,
    likes: BTreeSet<(String, String)>, // of an image's name and a text
}

impl Lessons {
    /// Begins without any, for features of this width and backbone.
    pub fn new(dim: usize, logit_scale: f64, backbone: impl Into<String>) -> Self {
        Self {
            dim,
            logit_scale,
            backbone: backbone.into(),
            images: BTreeMap::new(),
            texts: BTreeMap::new(),
            likes: BTreeSet::new(),
        }
    }

    /// The same, for features of this CLIP.
    pub fn of(clip: &ClipBackbone) -> Self {
        Self::new(clip.config().embed_dim, clip.logit_scale(), clip.identity())
    }

    /// Takes a sentence and an image that was liked for it, with their features.
    ///
    /// # Errors
    /// [`Error::Dim`] if features have another width.
    pub fn like(&mut self, text: &str, text_row: &[f32], image: &str, image_row: &[f32]) -> Result<()> {
        for (what, row) in [("text features", text_row), ("image features", image_row)] {
            if row.len() != self.dim {
                return Err(Error::Dim { what: what.into(), expected: self.dim, found: row.len() });
            }
        }
        self.texts.entry(text.to_owned()).or_insert_with(|| text_row.to_vec());
        self.images.entry(image.to_owned()).or_insert_with(|| image_row.to_vec());
        self.likes.insert((image.to_owned(), text.to_owned()));
        Ok(())
    }

    /// Takes pairs that were learned from before, such as those of a file.
    ///
    /// # Errors
    /// [`Error::Fingerprint`] if they are of another backbone; [`Error::Dim`] if they have another width;
    /// [`Error::Data`] if their images or texts have no names.
    pub fn add(&mut self, pairs: &Pairs) -> Result<()> {
        require_backbone("backbones of lessons", &self.backbone, pairs.backbone())?;
        let (Some(names), Some(captions)) = (pairs.image_names(), pairs.captions()) else {
            return Err(Error::data("pairs of lessons", "names of the images and captions", "none"));
        };
        for (text, &image) in pairs.text_to_image().iter().enumerate() {
            let (text_row, image_row) = (pairs.texts().row(text), pairs.images().row(image));
            self.like(&captions[text], text_row, &names[image], image_row)?;
        }
        Ok(())
    }

    /// How many there are: an image liked for two sentences counts twice.
    pub fn len(&self) -> usize {
        self.likes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.likes.is_empty()
    }

    /// The images with the sentences that each was liked for, both in alphabetical order.
    ///
    /// # Errors
    /// [`Error::Data`] if there is none, or features are not finite or zero.
    pub fn pairs(&self) -> Result<Pairs> {
        let place: BTreeMap<&str, usize> =
            self.images.keys().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
        let images = self.images.values().flatten().copied().collect();
        let texts = self.likes.iter().flat_map(|(_, text)| &self.texts[text]).copied().collect();
        let of = self.likes.iter().map(|(image, _)| place[image.as_str()]).collect();
        let (images, texts) = (Embeddings::new(images, self.dim)?, Embeddings::new(texts, self.dim)?);
        Pairs::new(images, texts, of, self.logit_scale, self.backbone.clone())?
            .with_image_names(self.images.keys().cloned())?
            .with_captions(self.likes.iter().map(|(_, text)| text.clone()))
    }
}
