use crate::error::{Error, Result};
use crate::evaluate::{Logits, Ranked};
use crate::tasks::questions::Asked;

/// The logit of an answer that a question cannot have.
pub(super) const NEVER: f32 = -1e9;

/// How well every answer fits every question.
///
/// # Examples
/// ```
/// use clip_adapter::evaluate::Logits;
/// use clip_adapter::tasks::questions::AnswerScores;
///
/// let scores = AnswerScores::new(vec!["yes".into(), "no".into()], Logits::new(vec![0.0, 1.0, 3.0, 1.0], 2)?)?;
/// assert_eq!(scores.predictions().collect::<Vec<_>>(), ["no", "yes"]);
/// assert_eq!(scores.top(1)[1][0].name, "yes");
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct AnswerScores {
    answers: Vec<String>,
    logits: Logits,
}

impl AnswerScores {
    /// Takes answers and logits `[questions, answers]`.
    ///
    /// # Errors
    /// [`Error::Data`] if there is not one logit an answer.
    pub fn new(answers: Vec<String>, logits: Logits) -> Result<Self> {
        match answers.len() == logits.classes() {
            true => Ok(Self { answers, logits }),
            false => {
                let expected = format!("one for each of {} answers", answers.len());
                Err(Error::data("logits of a question", expected, logits.classes()))
            }
        }
    }

    /// The answers.
    pub fn answers(&self) -> &[String] {
        &self.answers
    }

    /// `[questions, answers]`; -1e9 of an answer that a question cannot have.
    pub fn logits(&self) -> &Logits {
        &self.logits
    }

    /// The likeliest answer to each question.
    pub fn predictions(&self) -> impl ExactSizeIterator<Item = &str> {
        self.logits.predictions().map(|answer| self.answers[answer].as_str())
    }

    /// The likeliest answers to each question, at most `count`, with their probabilities.
    pub fn top(&self, count: usize) -> Vec<Vec<Ranked>> {
        self.logits.top(count, &self.answers)
    }
}

/// A question that was asked before, and how alike it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Similar {
    /// Its place among the earlier ones.
    pub question: usize,
    /// The mean of the cosines of images and of words.
    pub similarity: f32,
}

impl Asked {
    /// The questions of `earlier` that are most like one of these, at most `count`: what an answer may go back to.
    ///
    /// # Errors
    /// [`Error::Dim`] if the widths differ.
    ///
    /// # Panics
    /// If there is no such question.
    pub fn nearest(&self, question: usize, earlier: &Self, count: usize) -> Result<Vec<Similar>> {
        if self.dim() != earlier.dim() {
            let (expected, found) = (self.dim(), earlier.dim());
            return Err(Error::Dim { what: "earlier questions".to_owned(), expected, found });
        }
        let cosine = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let similar = |other: usize| {
            let image = cosine(self.image(question), earlier.image(other));
            let words = cosine(self.words(question), earlier.words(other));
            Similar { question: other, similarity: (image + words) / 2.0 }
        };
        let mut all: Vec<Similar> = (0..earlier.len()).map(similar).collect();
        all.sort_by(|a, b| b.similarity.total_cmp(&a.similarity));
        all.truncate(count);
        Ok(all)
    }
}
