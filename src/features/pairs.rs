use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use super::{Embeddings, check_scale};
use crate::error::{Error, Result};
use crate::fingerprint::{Fingerprint, short_hex};

/// Images and texts that belong together, in the features of one CLIP: what retrieval learns from.
///
/// Every text is of one image, and every image has one text or more; a text never leaves its image.
///
/// # Examples
/// ```
/// use clip_adapter::features::{Embeddings, Pairs};
///
/// let images = Embeddings::new(vec![1.0, 0.0, 0.0, 1.0], 2)?;
/// let texts = Embeddings::new(vec![0.8, 0.6, 0.6, 0.8, 0.0, 2.0], 2)?;
/// let pairs = Pairs::new(images, texts, vec![0, 1, 1], 100.0, "CLIP ViT-B/32")?
///     .with_captions(["a cat", "a dog", "two dogs"])?;
/// assert_eq!((pairs.len(), pairs.texts_of(1)), (2, &[1, 2][..]));
/// let dog = pairs.select(&[1]);
/// assert_eq!((dog.text_to_image(), dog.captions().unwrap()[1].as_str()), (&[0, 0][..], "two dogs"));
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Pairs {
    images: Embeddings,
    texts: Embeddings,
    text_to_image: Vec<usize>,
    image_to_texts: Vec<Vec<usize>>,
    image_names: Option<Vec<String>>,
    captions: Option<Vec<String>>,
    logit_scale: f64,
    backbone: String,
}

impl Pairs {
    /// Joins the features of images and texts by the image that each text is of.
    ///
    /// | Name | Range | Meaning |
    /// | --- | --- | --- |
    /// | `images` | 1 row or more | image features `[images, dim]`, of any length |
    /// | `texts` | 1 row or more | text features `[texts, dim]`, of any length |
    /// | `text_to_image` | below `images` | the row of the image of each text; every image once or more |
    /// | `logit_scale` | above 0, at most 1000 | what cosines are multiplied with; about 100 in CLIP |
    /// | `backbone` | any | names the weights and preprocessing that made the features |
    ///
    /// # Errors
    /// [`Error::Dim`] if the two widths differ; [`Error::Data`] if there is not one image a text, a text is of no
    /// image, an image has no text, or there is nothing at all; [`Error::Setting`] if the scale is out of range.
    pub fn new(
        images: Embeddings,
        texts: Embeddings,
        text_to_image: Vec<usize>,
        logit_scale: f64,
        backbone: impl Into<String>,
    ) -> Result<Self> {
        images.check_dim("text features", texts.dim())?;
        check_scale(logit_scale)?;
        if text_to_image.len() != texts.rows() {
            let expected = format!("one for each of {} texts", texts.rows());
            return Err(Error::data("images of the texts", expected, text_to_image.len()));
        }
        if images.rows() == 0 {
            return Err(Error::data("pairs", "at least one image", "none"));
        }
        if let Some(row) = text_to_image.iter().position(|&image| image >= images.rows()) {
            let expected = format!("a row below the {} images", images.rows());
            return Err(Error::data(format!("image of text {row}"), expected, text_to_image[row]));
        }
        let mut image_to_texts = vec![Vec::new(); images.rows()];
        for (text, &image) in text_to_image.iter().enumerate() {
            image_to_texts[image].push(text);
        }
        if let Some(image) = image_to_texts.iter().position(Vec::is_empty) {
            return Err(Error::data(format!("texts of image {image}"), "at least one", "none"));
        }
        Ok(Self {
            images,
            texts,
            text_to_image,
            image_to_texts,
            image_names: None,
            captions: None,
            logit_scale,
            backbone: backbone.into(),
        })
    }

    /// Names the images, such as by their files.
    ///
    /// # Errors
    /// [`Error::Data`] if there is not one name an image.
    pub fn with_image_names<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Result<Self> {
        self.image_names = Some(counted("names of the images", names, self.images.rows())?);
        Ok(self)
    }

    /// Keeps what the texts say.
    ///
    /// # Errors
    /// [`Error::Data`] if there is not one caption a text.
    pub fn with_captions<N: Into<String>>(mut self, captions: impl IntoIterator<Item = N>) -> Result<Self> {
        self.captions = Some(counted("captions", captions, self.texts.rows())?);
        Ok(self)
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.images.rows()
    }

    /// Whether there is no image, which no pairs are.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The width of the features.
    pub fn dim(&self) -> usize {
        self.images.dim()
    }

    /// The image features `[images, dim]`.
    pub fn images(&self) -> &Embeddings {
        &self.images
    }

    /// The text features `[texts, dim]`.
    pub fn texts(&self) -> &Embeddings {
        &self.texts
    }

    /// The row of the image of each text.
    pub fn text_to_image(&self) -> &[usize] {
        &self.text_to_image
    }

    /// The rows of the texts of each image.
    pub fn image_to_texts(&self) -> &[Vec<usize>] {
        &self.image_to_texts
    }

    /// The rows of the texts of one image.
    ///
    /// # Panics
    /// If `image` is not below [`len`](Self::len).
    pub fn texts_of(&self, image: usize) -> &[usize] {
        &self.image_to_texts[image]
    }

    /// The names of the images, if they were given.
    pub fn image_names(&self) -> Option<&[String]> {
        self.image_names.as_deref()
    }

    /// What the texts say, if that was given.
    pub fn captions(&self) -> Option<&[String]> {
        self.captions.as_deref()
    }

    /// What cosines are multiplied with to give logits.
    pub fn logit_scale(&self) -> f64 {
        self.logit_scale
    }

    /// Names the weights and preprocessing that made the features.
    pub fn backbone(&self) -> &str {
        &self.backbone
    }

    /// What a file fitted on these pairs records of them: the backbone, and neither prompts nor classes.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of_backbone(&self.backbone)
    }

    /// A digest of features and of what belongs together, by which a fit knows its own pairs again.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for value in self.images.values().iter().chain(self.texts.values()) {
            hash.update(value.to_le_bytes());
        }
        for &image in &self.text_to_image {
            hash.update((image as u64).to_le_bytes());
        }
        short_hex(hash)
    }

    /// Some images in the given order, each with all of its texts.
    ///
    /// # Panics
    /// If a row is not below [`len`](Self::len), or there is none.
    pub fn select(&self, rows: &[usize]) -> Self {
        assert!(!rows.is_empty(), "pairs: expected at least one image");
        let mut texts = Vec::with_capacity(rows.len());
        let mut text_to_image = Vec::with_capacity(rows.len());
        let mut image_to_texts = Vec::with_capacity(rows.len());
        for (image, &row) in rows.iter().enumerate() {
            image_to_texts.push((texts.len()..texts.len() + self.image_to_texts[row].len()).collect());
            texts.extend_from_slice(&self.image_to_texts[row]);
            text_to_image.resize(texts.len(), image);
        }
        let named = |names: &Option<Vec<String>>, rows: &[usize]| {
            names.as_ref().map(|names| rows.iter().map(|&row| names[row].clone()).collect())
        };
        Self {
            images: self.images.select(rows),
            texts: self.texts.select(&texts),
            text_to_image,
            image_to_texts,
            image_names: named(&self.image_names, rows),
            captions: named(&self.captions, &texts),
            logit_scale: self.logit_scale,
            backbone: self.backbone.clone(),
        }
    }

    /// Draws `images` images, each with all of its texts. A smaller draw by the same seed is part of a larger one.
    ///
    /// # Errors
    /// [`Error::Setting`] if there are fewer, or `images` is 0.
    pub fn draw(&self, images: usize, seed: u64) -> Result<Self> {
        if images == 0 || images > self.len() {
            return Err(Error::setting("pairs", format!("1 to {} images", self.len()), images));
        }
        Ok(self.select(&self.shuffled(seed)[..images]))
    }

    /// Draws `train` images to learn from, each with all of its texts, and declares all others a test set.
    ///
    /// # Errors
    /// [`Error::Setting`] if that leaves no image on one of the two sides.
    ///
    /// # Examples
    /// ```
    /// use clip_adapter::features::PairFile;
    ///
    /// let pairs = PairFile::synthetic(0)?.pairs().clone();
    /// let (train, test) = pairs.split(100, 1)?;
    /// assert_eq!((train.len(), test.len()), (100, pairs.len() - 100));
    /// # Ok::<(), clip_adapter::Error>(())
    /// ```
    pub fn split(&self, train: usize, seed: u64) -> Result<(Self, TestPairs)> {
        let (train, test) = self.split_rows(train, seed)?;
        Ok((self.select(&train), TestPairs(self.select(&test))))
    }

    pub(super) fn split_rows(&self, train: usize, seed: u64) -> Result<(Vec<usize>, Vec<usize>)> {
        if train == 0 || train >= self.len() {
            return Err(Error::setting("train", format!("1 to {} images", self.len() - 1), train));
        }
        let rows = self.shuffled(seed);
        Ok((rows[..train].to_vec(), rows[train..].to_vec()))
    }

    fn shuffled(&self, seed: u64) -> Vec<usize> {
        let mut rows: Vec<usize> = (0..self.len()).collect();
        rows.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        rows
    }

    /// The same pairs in other features of the same backbone.
    pub(crate) fn with_features(&self, images: Embeddings, texts: Embeddings) -> Result<Self> {
        let other = Self::new(images, texts, self.text_to_image.clone(), self.logit_scale, &*self.backbone)?;
        Ok(Self { image_names: self.image_names.clone(), captions: self.captions.clone(), ..other })
    }

    /// Declares these pairs a test set, which no `fit` takes.
    pub fn into_test_pairs(self) -> TestPairs {
        TestPairs(self)
    }
}

/// Pairs that are scored and nothing else: no `fit` takes them.
///
/// # Examples
/// ```compile_fail
/// use clip_adapter::{features::PairFile, prelude::*, tasks::retrieval::LinearPair};
///
/// let (train, test) = PairFile::synthetic(0)?.split(1)?;
/// LinearPair::default().fit(&test, &Device::flex())?; // expected `&Pairs`, found `&TestPairs`
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct TestPairs(Pairs);

impl TestPairs {
    /// The number of images.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no image, which no pairs are.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is scored.
    pub(crate) fn pairs(&self) -> &Pairs {
        &self.0
    }
}

fn counted<N: Into<String>>(
    what: &str,
    names: impl IntoIterator<Item = N>,
    expected: usize,
) -> Result<Vec<String>> {
    let names: Vec<String> = names.into_iter().map(Into::into).collect();
    match names.len() == expected {
        true => Ok(names),
        false => Err(Error::data(what, expected, names.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: usize) -> Embeddings {
        Embeddings::new((1..=2 * count).map(|value| value as f32).collect(), 2).unwrap()
    }

    fn pairs() -> Pairs {
        Pairs::new(rows(4), rows(6), vec![3, 0, 1, 3, 2, 0], 100.0, "tiny").unwrap()
    }

    #[test]
    fn every_fault_is_named() {
        let fault = |images: usize, texts: usize, to: &[usize]| {
            Pairs::new(rows(images), rows(texts), to.to_vec(), 100.0, "tiny").unwrap_err().to_string()
        };
        assert_eq!(fault(1, 2, &[0]), "images of the texts: expected one for each of 2 texts, found 1");
        assert_eq!(fault(2, 2, &[0, 2]), "image of text 1: expected a row below the 2 images, found 2");
        assert_eq!(fault(2, 2, &[1, 1]), "texts of image 0: expected at least one, found none");
        assert_eq!(fault(0, 0, &[]), "pairs: expected at least one image, found none");
        let wide = Embeddings::new(vec![1.0; 3], 3).unwrap();
        assert!(matches!(
            Pairs::new(rows(1), wide, vec![0], 100.0, "tiny"),
            Err(Error::Dim { expected: 2, found: 3, .. })
        ));
        assert!(matches!(
            Pairs::new(rows(1), rows(1), vec![0], 4.605_170, "tiny"),
            Err(Error::Setting { name, .. }) if name == "logit_scale"
        ));
        assert!(matches!(pairs().with_captions(["a"]), Err(Error::Data { what, .. }) if what == "captions"));
        for train in [0, 4, 5] {
            assert!(matches!(pairs().split(train, 1), Err(Error::Setting { .. })), "{train}");
        }
        assert!(pairs().draw(5, 1).is_err() && pairs().draw(0, 1).is_err());
    }

    #[test]
    fn a_split_never_cuts_an_image_from_its_texts() {
        let names = ["a", "b", "c", "d"];
        let captions = ["d0", "a0", "b0", "d1", "c0", "a1"];
        let all = pairs().with_image_names(names).unwrap().with_captions(captions).unwrap();
        for seed in 0..5 {
            let (train, test) = all.split(2, seed).unwrap();
            for half in [&train, test.pairs()] {
                for (text, &image) in half.text_to_image().iter().enumerate() {
                    let (name, caption) =
                        (&half.image_names().unwrap()[image], &half.captions().unwrap()[text]);
                    assert!(caption.starts_with(name.as_str()), "{name}: {caption}");
                    let row = captions.iter().position(|known| known == caption).unwrap();
                    assert_eq!(half.texts().row(text), all.texts().row(row));
                    assert!(half.texts_of(image).contains(&text));
                }
            }
            assert_eq!(train.text_to_image().len() + test.pairs().text_to_image().len(), 6);
            assert_eq!(train.draw(1, 7).unwrap(), train.draw(2, 7).unwrap().select(&[0]));
        }
        assert_ne!(all.split(2, 0).unwrap(), all.split(2, 1).unwrap());
    }
}
