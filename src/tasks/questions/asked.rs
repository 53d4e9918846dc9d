use std::collections::HashMap;

use burn::tensor::{Device, Int, Tensor, TensorData};
use sha2::{Digest, Sha256};

use crate::backbone::ClipBackbone;
use crate::error::{Error, Result};
use crate::features::Embeddings;
use crate::fingerprint::short_hex;
use crate::input::{Question, QuestionList, check_questions};
use crate::train::permutation;

/// Images encoded between two looks at a list of paths.
const AT_ONCE: usize = 256;

/// Questions with what CLIP says about their images and words: unit rows, each image and each text once.
///
/// # Examples
/// ```
/// use clip_adapter::features::Embeddings;
/// use clip_adapter::input::Question;
/// use clip_adapter::tasks::questions::Asked;
///
/// let question = |image, text: &str| Question { image, text: text.into(), ..Default::default() };
/// let images = Embeddings::new(vec![3.0, 0.0, 0.0, 2.0], 2)?;
/// let texts = Embeddings::new(vec![1.0, 1.0], 2)?;
/// let questions = vec![question(0, "is it red?"), question(1, "is it red?")];
/// let asked = Asked::new(images, questions, vec!["is it red?".into()], texts, "tiny", 100.0)?;
/// assert_eq!((asked.len(), asked.image(1)), (2, &[0.0, 1.0][..]));
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    images: Embeddings,
    questions: Vec<Question>,
    texts: Vec<String>,
    text_rows: Embeddings,
    text_of: Vec<usize>,
    backbone: String,
    logit_scale: f64,
}

impl Asked {
    /// Joins embeddings of images, questions about them, and the questions' texts, each once, with their embeddings.
    ///
    /// # Errors
    /// [`Error::Data`] if a question has no words, or its image or text is not there; [`Error::Dim`] if the widths
    /// differ.
    pub fn new(
        images: Embeddings,
        questions: Vec<Question>,
        texts: Vec<String>,
        text_rows: Embeddings,
        backbone: impl Into<String>,
        logit_scale: f64,
    ) -> Result<Self> {
        check_questions(images.rows(), &questions)?;
        images.check_dim("texts of questions", text_rows.dim())?;
        crate::features::check_scale(logit_scale)?;
        if texts.len() != text_rows.rows() {
            let expected = format!("one for each of {} texts", texts.len());
            return Err(Error::data("texts of questions", expected, text_rows.rows()));
        }
        let places: HashMap<&str, usize> =
            texts.iter().enumerate().map(|(at, text)| (text.as_str(), at)).collect();
        let place = |question: &Question| {
            let place = places.get(question.text.as_str()).copied();
            place.ok_or_else(|| Error::data("texts of questions", format!("`{}`", question.text), "none"))
        };
        let text_of = questions.iter().map(place).collect::<Result<Vec<usize>>>()?;
        let (images, text_rows) = (images.into_normalised(), text_rows.into_normalised());
        Ok(Self { images, questions, texts, text_rows, text_of, backbone: backbone.into(), logit_scale })
    }

    /// Encodes the images and the words of questions.
    ///
    /// # Errors
    /// As [`ClipBackbone::encode_images`] and [`ClipBackbone::encode_texts`].
    pub fn encode(clip: &ClipBackbone, list: &QuestionList) -> Result<Self> {
        let mut values = Vec::new();
        for images in list.images().chunks(AT_ONCE) {
            values.extend(clip.encode_images(images)?.into_values());
        }
        let images = Embeddings::new(values, clip.config().embed_dim)?;
        let mut texts: Vec<String> = list.questions().iter().map(|question| question.text.clone()).collect();
        texts.sort();
        texts.dedup();
        let text_rows = clip.encode_texts(&texts)?;
        let questions = list.questions().to_vec();
        Self::new(images, questions, texts, text_rows, clip.identity(), clip.logit_scale())
    }

    /// The number of questions.
    pub fn len(&self) -> usize {
        self.questions.len()
    }

    /// Whether there is no question at all.
    pub fn is_empty(&self) -> bool {
        self.questions.is_empty()
    }

    /// The questions.
    pub fn questions(&self) -> &[Question] {
        &self.questions
    }

    /// The width of an embedding.
    pub fn dim(&self) -> usize {
        self.images.dim()
    }

    /// Names the weights and preprocessing that made the embeddings.
    pub fn backbone(&self) -> &str {
        &self.backbone
    }

    /// What cosines are multiplied with.
    pub fn logit_scale(&self) -> f64 {
        self.logit_scale
    }

    /// The unit embedding of the image that a question is about.
    ///
    /// # Panics
    /// If there is no such question.
    pub fn image(&self, question: usize) -> &[f32] {
        self.images.row(self.questions[question].image)
    }

    /// The unit embedding of a question's words.
    ///
    /// # Panics
    /// If there is no such question.
    pub fn words(&self, question: usize) -> &[f32] {
        self.text_rows.row(self.text_of[question])
    }

    /// The texts of all questions, each once.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    /// The given questions, in the given order, with the same images and texts.
    ///
    /// # Panics
    /// If there is no such question.
    pub fn select(&self, rows: &[usize]) -> Self {
        Self {
            questions: rows.iter().map(|&row| self.questions[row].clone()).collect(),
            text_of: rows.iter().map(|&row| self.text_of[row]).collect(),
            ..self.clone()
        }
    }

    /// Holds out one question of `parts`, by their images, so that no image is on both sides: the others and those.
    /// Where all questions are about one image, nothing is held out of them.
    pub fn hold_out(&self, parts: usize, seed: u64) -> (Self, Self) {
        let images: Vec<usize> = {
            let mut images: Vec<usize> = self.questions.iter().map(|question| question.image).collect();
            images.sort_unstable();
            images.dedup();
            images
        };
        let count = images.len() / parts.max(2);
        let order = permutation(images.len(), seed, 0);
        let held: Vec<usize> = order[..count].iter().map(|&at| images[at]).collect();
        let (held, kept): (Vec<usize>, Vec<usize>) =
            (0..self.len()).partition(|&row| held.contains(&self.questions[row].image));
        (self.select(&kept), self.select(&held))
    }

    /// 16 hexadecimal digits that stand for the questions and what CLIP says of them.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for (row, question) in self.questions.iter().enumerate() {
            for value in self.image(row).iter().chain(self.words(row)) {
                hash.update(value.to_le_bytes());
            }
            hash.update(serde_json::json!([question.text, question.answers, question.kind]).to_string());
        }
        short_hex(hash)
    }

    /// The images of all questions as a tensor `[questions, dim]`.
    pub(super) fn image_tensor(&self, device: &Device) -> Tensor<2> {
        let places: Vec<usize> = self.questions.iter().map(|question| question.image).collect();
        rows(&self.images, &places, device)
    }

    /// `[v, q]` of all questions: `[questions, 2 dim]`.
    pub(super) fn pairs(&self) -> Vec<f32> {
        (0..self.len()).flat_map(|row| self.image(row).iter().chain(self.words(row))).copied().collect()
    }
}

fn rows(of: &Embeddings, places: &[usize], device: &Device) -> Tensor<2> {
    let places: Vec<i64> = places.iter().map(|&place| place as i64).collect();
    let count = places.len();
    let places = Tensor::<1, Int>::from_data(TensorData::new(places, [count]), device);
    of.tensor(device).select(0, places)
}
