use std::path::Path;

use burn::tensor::Device;

use super::{
    AnswerClassifier, AnswerReport, AnswerScores, AnswerVocabulary, Asked, FittedAnswerClassifier,
    FittedStatements, QuestionPrior, StatementAdapter, Statements,
};
use crate::backbone::ClipBackbone;
use crate::error::{Error, Result};
use crate::evaluate::answers::Normalise;
use crate::features::TextClassifier;
use crate::model::{Classifier, Open, Saved};

/// One image of so many is held out.
const PARTS: usize = 4;

/// What may be chosen.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Candidate<'a> {
    /// The head over statements, whose texts the classifier is of.
    Statements(StatementAdapter, &'a Statements, &'a TextClassifier),
    /// The classifier of picture and question, and the answers by their texts.
    Classifier(AnswerClassifier, &'a AnswerVocabulary, &'a TextClassifier),
}

/// What was fitted, of whichever kind.
#[derive(Debug, Clone)]
#[non_exhaustive]
#[expect(clippy::large_enum_variant)] // there is one of them at a time
pub enum Answerer {
    /// The head over statements.
    Statements(FittedStatements),
    /// The classifier of picture and question.
    Classifier(FittedAnswerClassifier),
}

/// A candidate's place in the list, and how it did on questions that it was not fitted to.
#[derive(Debug, Clone, PartialEq)]
pub struct Tried {
    /// The candidate.
    pub candidate: usize,
    /// On the questions held out.
    pub held_out: AnswerReport,
}

impl Candidate<'_> {
    /// Fits it to answered questions.
    ///
    /// # Errors
    /// As [`StatementAdapter::fit_with`] and [`AnswerClassifier::fit_with`].
    pub fn fit(&self, asked: &Asked, device: &Device) -> Result<Answerer> {
        Ok(match self {
            Self::Statements(method, statements, classes) => {
                Answerer::Statements(method.fit(statements, classes, asked, device)?)
            }
            Self::Classifier(method, vocabulary, classes) => {
                Answerer::Classifier(method.fit(vocabulary, classes, asked, device)?)
            }
        })
    }
}

impl Answerer {
    /// Opens a file of either, for questions of this backbone.
    ///
    /// # Errors
    /// As [`Saved::open`] and [`Open::load`](crate::model::Open::load); [`Error::Malformed`] if it is of another kind.
    pub fn open(path: impl AsRef<Path>, clip: &ClipBackbone, device: &Device) -> Result<Self> {
        let path = path.as_ref();
        let saved = Saved::open(path)?;
        let expected = saved.expected_of(clip);
        match saved.kind() {
            FittedStatements::KIND => Ok(Self::Statements(FittedStatements::load(path, &expected, device)?)),
            FittedAnswerClassifier::KIND => {
                Ok(Self::Classifier(FittedAnswerClassifier::load(path, &expected, device)?))
            }
            other => {
                let known = format!("`{}` or `{}`", FittedStatements::KIND, FittedAnswerClassifier::KIND);
                Err(saved.malformed("metadata `method`", known, format!("`{other}`")))
            }
        }
    }

    /// Scores every answer to every question.
    ///
    /// # Errors
    /// As [`Classifier::score`].
    pub fn answer(&self, asked: &Asked) -> Result<AnswerScores> {
        match self {
            Self::Statements(model) => model.answer(asked),
            Self::Classifier(model) => model.answer(asked),
        }
    }

    /// The model, to save.
    pub fn model(&self) -> &dyn Classifier {
        match self {
            Self::Statements(model) => model,
            Self::Classifier(model) => model,
        }
    }
}

/// Fits each candidate without a quarter of the images, scores it on the questions about those, and fits the one that
/// answers most of them to all questions. Of equal ones the first wins. What was tried comes back beside it: a candidate
/// that wins by answering as questions were answered before shows it in its figure against the prior.
///
/// # Errors
/// [`Error::Data`] if there is no candidate, or too few images to hold any out; as [`Candidate::fit`].
pub fn choose_answerer(
    candidates: &[Candidate<'_>],
    asked: &Asked,
    seed: u64,
    device: &Device,
) -> Result<(Answerer, Vec<Tried>)> {
    let (kept, held_out) = asked.hold_out(PARTS, seed);
    if held_out.is_empty() || kept.is_empty() {
        let expected = format!("about {PARTS} images or more, to hold one out");
        return Err(Error::data("questions to choose by", expected, format!("{} questions", asked.len())));
    }
    let prior = QuestionPrior::new(kept.questions())?;
    let mut tried = Vec::with_capacity(candidates.len());
    for (at, candidate) in candidates.iter().enumerate() {
        let scores = candidate.fit(&kept, device)?.answer(&held_out)?;
        let report =
            AnswerReport::new(scores.predictions(), held_out.questions(), &prior, Normalise::Official)?;
        tried.push(Tried { candidate: at, held_out: report });
    }
    let better = |best: Option<&'_ Tried>, one: &Tried| {
        best.is_none_or(|best| one.held_out.accuracy > best.held_out.accuracy)
    };
    let mut best: Option<&Tried> = None;
    for one in &tried {
        if better(best, one) {
            best = Some(one);
        }
    }
    let best = best.map(|best| best.candidate);
    match best.and_then(|at| candidates.get(at)) {
        Some(candidate) => Ok((candidate.fit(asked, device)?, tried)),
        None => Err(Error::data("candidates", "at least one", "none")),
    }
}
