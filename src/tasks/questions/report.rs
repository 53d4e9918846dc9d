use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::QuestionPrior;
use super::rules::kind_of;
use super::vocabulary::normalised;
use crate::error::{Error, Result};
use crate::evaluate::answers::{Normalise, exact_match, vqa_accuracy};
use crate::input::Question;

/// How well questions were answered, in percent, and what of it the questions alone are worth.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct AnswerReport {
    /// Answered questions, which are those that count.
    pub questions: usize,
    /// Mean accuracy: VQA's where several people answered, else that of equal answers.
    pub accuracy: f64,
    /// The same of the commonest answer to each question, without its picture.
    pub prior_accuracy: f64,
    /// Questions whose answer is *not* the commonest.
    pub against_questions: usize,
    /// Accuracy on those; none where there are none.
    pub against: Option<f64>,
    /// The same by the kind of question.
    pub by_kind: BTreeMap<String, KindReport>,
}

/// The same of one kind of question.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct KindReport {
    /// Questions.
    pub questions: usize,
    /// Mean accuracy.
    pub accuracy: f64,
    /// That of the commonest answer.
    pub prior_accuracy: f64,
    /// Questions whose answer is not the commonest.
    pub against_questions: usize,
    /// Accuracy on those.
    pub against: Option<f64>,
}

#[derive(Default)]
struct Sums {
    questions: usize,
    right: f64,
    prior: f64,
    against: usize,
    against_right: f64,
}

impl Sums {
    fn report(&self) -> KindReport {
        let share = |right: f64, of: usize| 100.0 * right / of.max(1) as f64;
        KindReport {
            questions: self.questions,
            accuracy: share(self.right, self.questions),
            prior_accuracy: share(self.prior, self.questions),
            against_questions: self.against,
            against: (self.against > 0).then(|| share(self.against_right, self.against)),
        }
    }
}

impl AnswerReport {
    /// Scores one answer a question. The prior is that of the training questions.
    ///
    /// # Errors
    /// [`Error::Data`] if there is not one answer a question, or no question is answered.
    pub fn new<'a>(
        given: impl ExactSizeIterator<Item = &'a str>,
        questions: &[Question],
        prior: &QuestionPrior,
        normalise: Normalise,
    ) -> Result<Self> {
        if given.len() != questions.len() {
            let expected = format!("one for each of {} questions", questions.len());
            return Err(Error::data("answers", expected, given.len()));
        }
        let (mut all, mut kinds) = (Sums::default(), BTreeMap::<String, Sums>::new());
        for (given, question) in given.zip(questions) {
            let Some(truth) = normalised(question) else { continue };
            let guess = prior.answer(question);
            let right = accuracy(given, question, normalise)?;
            let prior = accuracy(guess, question, normalise)?;
            for sums in [&mut all, kinds.entry(kind_of(question)).or_default()] {
                sums.questions += 1;
                sums.right += right;
                sums.prior += prior;
                if guess != truth {
                    sums.against += 1;
                    sums.against_right += right;
                }
            }
        }
        if all.questions == 0 {
            return Err(Error::data("questions to score", "one that is answered", "none"));
        }
        let KindReport { questions, accuracy, prior_accuracy, against_questions, against } = all.report();
        let by_kind = kinds.into_iter().map(|(kind, sums)| (kind, sums.report())).collect();
        Ok(Self { questions, accuracy, prior_accuracy, against_questions, against, by_kind })
    }
}

fn accuracy(given: &str, question: &Question, normalise: Normalise) -> Result<f64> {
    match &question.answers[..] {
        [one] => Ok(f64::from(u8::from(exact_match(given, one, normalise)))),
        people => vqa_accuracy(given, people, normalise),
    }
}

impl fmt::Display for AnswerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} % of {} questions", self.accuracy, self.questions)?;
        write!(f, "; {:.2} % by the question alone", self.prior_accuracy)?;
        match self.against {
            Some(against) => write!(f, "; {against:.2} % of {} against it", self.against_questions),
            None => Ok(()),
        }
    }
}
