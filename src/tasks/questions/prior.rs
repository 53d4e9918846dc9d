use std::collections::BTreeMap;

use super::rules::{kind_of, spoken};
use super::vocabulary::normalised;
use crate::error::{Error, Result};
use crate::input::Question;

/// How much the answers to all questions of a kind count beside those to the question itself.
const BACKING: f64 = 4.0;

type Counts = BTreeMap<String, usize>;

/// What a question is worth without its picture: the commonest answer to it, or to its kind where it is new.
///
/// # Examples
/// ```
/// use clip_adapter::input::Question;
/// use clip_adapter::tasks::questions::QuestionPrior;
///
/// let question = |text: &str, answer: &str| {
///     Question { text: text.into(), answers: vec![answer.into()], ..Default::default() }
/// };
/// let prior = QuestionPrior::new(&[
///     question("is it red?", "no"),
///     question("is it red?", "no"),
///     question("is it red?", "yes"),
///     question("is it big?", "yes"),
///     question("is it big?", "yes"),
/// ])?;
/// assert_eq!(prior.answer(&question("Is it red?", "")), "no");
/// assert_eq!(prior.answer(&question("is it new?", "")), "yes"); // the commonest of its kind
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct QuestionPrior {
    by_text: BTreeMap<String, Counts>,
    by_kind: BTreeMap<String, Counts>,
    all: Counts,
}

impl QuestionPrior {
    /// Counts the answers to questions.
    ///
    /// # Errors
    /// [`Error::Data`] if none of them is answered.
    pub fn new(questions: &[Question]) -> Result<Self> {
        let mut prior = Self { by_text: BTreeMap::new(), by_kind: BTreeMap::new(), all: Counts::new() };
        for question in questions {
            let Some(answer) = normalised(question) else { continue };
            let text = prior.by_text.entry(spoken(&question.text)).or_default();
            let kind = prior.by_kind.entry(kind_of(question)).or_default();
            for counts in [text, kind, &mut prior.all] {
                *counts.entry(answer.clone()).or_default() += 1;
            }
        }
        match prior.all.is_empty() {
            false => Ok(prior),
            true => Err(Error::data("questions to count answers of", "one that is answered", "none")),
        }
    }

    /// The commonest answer, of equal ones the first by the alphabet.
    pub fn answer(&self, question: &Question) -> &str {
        let counts = self.by_text.get(&spoken(&question.text));
        let counts = counts.or_else(|| self.by_kind.get(&kind_of(question))).unwrap_or(&self.all);
        let most = counts.values().copied().max().unwrap_or(0);
        counts.iter().find(|(_, count)| **count == most).map_or("", |(answer, _)| answer)
    }

    /// The commonest answer of each kind of question.
    pub(super) fn of_kinds(&self) -> BTreeMap<String, String> {
        let most = |counts: &Counts| {
            let most = counts.values().copied().max().unwrap_or(0);
            counts
                .iter()
                .find(|(_, count)| **count == most)
                .map_or(String::new(), |(answer, _)| answer.clone())
        };
        self.by_kind.iter().map(|(kind, counts)| (kind.clone(), most(counts))).collect()
    }

    /// `log((c_qa + 4 p(a | kind)) / (n_q + 4))`: how likely an answer is without the picture. Added to logits it
    /// raises accuracy by answering *with* the prior. An answer that the kind never had counts as a tenth of one.
    pub fn log_probability(&self, question: &Question, answer: &str) -> f64 {
        let part = |counts: Option<&Counts>| {
            let count = counts.and_then(|counts| counts.get(answer)).copied().unwrap_or(0) as f64;
            (count, counts.map_or(0, |counts| counts.values().sum::<usize>()) as f64)
        };
        let (count, asked) = part(self.by_text.get(&spoken(&question.text)));
        let (of_kind, all) = part(self.by_kind.get(&kind_of(question)));
        let share = (of_kind.max(0.1)) / all.max(1.0);
        ((count + BACKING * share) / (asked + BACKING)).ln()
    }
}
