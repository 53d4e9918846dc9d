use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::rules::kind_of;
use crate::error::{Error, Result};
use crate::evaluate::answers::Normalise;
use crate::input::Question;

/// The answers that can be given: those that come most often, normalised, and which of them each kind of question had.
///
/// # Examples
/// ```
/// use clip_adapter::input::Question;
/// use clip_adapter::tasks::questions::AnswerVocabulary;
///
/// let question = |text: &str, answer: &str| {
///     Question { text: text.into(), answers: vec![answer.into()], ..Default::default() }
/// };
/// let questions = [
///     question("is it red?", "Yes."),
///     question("is it red?", "yes"),
///     question("what color is it?", "red"),
/// ];
/// let vocabulary = AnswerVocabulary::new(&questions, 1, 1)?;
/// assert_eq!(vocabulary.answers(), ["yes"]);
/// approx::assert_abs_diff_eq!(vocabulary.coverage(&questions), 200.0 / 3.0, epsilon = 1e-9);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerVocabulary {
    answers: Vec<String>,
    /// The places of the answers of each kind.
    kinds: BTreeMap<String, BTreeSet<usize>>,
}

impl AnswerVocabulary {
    /// The `size` commonest answers (3,000 is usual) that come `least` times or more, commonest first and of equal ones
    /// by the alphabet. Of several people's answers to one question the commonest counts.
    ///
    /// # Errors
    /// [`Error::Data`] if no answer is left.
    pub fn new(questions: &[Question], size: usize, least: usize) -> Result<Self> {
        let answers: Vec<Option<String>> = questions.iter().map(normalised).collect();
        let mut counts = BTreeMap::<&str, usize>::new();
        for answer in answers.iter().flatten() {
            *counts.entry(answer).or_default() += 1;
        }
        let mut common: Vec<(&str, usize)> =
            counts.into_iter().filter(|(_, count)| *count >= least).collect();
        common.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        common.truncate(size);
        if common.is_empty() {
            return Err(Error::data("answers", format!("one that comes {least} times or more"), "none"));
        }
        let mut vocabulary = Self {
            answers: common.into_iter().map(|(answer, _)| answer.to_owned()).collect(),
            kinds: BTreeMap::new(),
        };
        for (question, answer) in questions.iter().zip(&answers) {
            if let Some(place) = answer.as_ref().and_then(|answer| vocabulary.place(answer)) {
                vocabulary.kinds.entry(kind_of(question)).or_default().insert(place);
            }
        }
        Ok(vocabulary)
    }

    /// The answers, commonest first.
    pub fn answers(&self) -> &[String] {
        &self.answers
    }

    /// The place of a normalised answer.
    pub fn place(&self, answer: &str) -> Option<usize> {
        self.answers.iter().position(|known| known == answer)
    }

    /// Whether an answer can be that of a question: whether one of its kind had it, or none of its kind had any.
    pub fn admits(&self, question: &Question, place: usize) -> bool {
        self.kinds.get(&kind_of(question)).is_none_or(|places| places.contains(&place))
    }

    /// The share of answered questions whose answer is among these, in percent; 0 of none.
    pub fn coverage(&self, questions: &[Question]) -> f64 {
        let answers: Vec<String> = questions.iter().filter_map(normalised).collect();
        let known = answers.iter().filter(|answer| self.place(answer).is_some()).count();
        100.0 * known as f64 / answers.len().max(1) as f64
    }

    /// Takes in one more, which any kind of question may have; the answer that it then is.
    pub(super) fn push(&mut self, answer: &str) -> Result<()> {
        let answer = Normalise::Official.answer(answer);
        if answer.is_empty() || self.place(&answer).is_some() {
            return Err(Error::data("new answer", "a word of its own", format!("`{answer}`")));
        }
        let place = self.answers.len();
        self.answers.push(answer);
        self.kinds.values_mut().for_each(|places| {
            places.insert(place);
        });
        Ok(())
    }
}

/// The answer that most people gave to a question, normalised; none where nobody gave one.
pub(super) fn normalised(question: &Question) -> Option<String> {
    let answer = Normalise::Official.answer(question.answer()?);
    (!answer.is_empty()).then_some(answer)
}
