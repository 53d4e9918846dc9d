use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::answers::{AnswerScores, NEVER};
use super::classifier::Net;
use super::{AnswerClassifier, AnswerVocabulary, Asked, Head, QuestionPrior};
use crate::error::{Error, Result};
use crate::evaluate::Logits;
use crate::features::{Embeddings, TextClassifier};
use crate::fingerprint::{Fingerprint, require_backbone};
use crate::model::{Classifier, Model, Open, Opening, Saved, Section, Settings};
use crate::numerics::log_softmax;

/// What a file keeps beside the parameters.
#[derive(Serialize, Deserialize)]
struct Found {
    vocabulary: AnswerVocabulary,
}

/// A trained [`AnswerClassifier`]: a classifier of rows `[v, q]` into answers.
#[derive(Debug, Clone)]
pub struct FittedAnswerClassifier {
    settings: AnswerClassifier,
    vocabulary: AnswerVocabulary,
    net: Net,
    /// Mean and deviation of training rows, each `[1, 2 dim]`.
    moments: [Tensor<2>; 2],
    classes: TextClassifier,
    device: Device,
}

impl FittedAnswerClassifier {
    pub(super) fn new(
        settings: AnswerClassifier,
        vocabulary: AnswerVocabulary,
        net: Net,
        moments: [Tensor<2>; 2],
        classes: TextClassifier,
        device: Device,
    ) -> Self {
        Self { settings, vocabulary, net, moments, classes, device }
    }

    /// The settings it was trained with.
    pub fn settings(&self) -> &AnswerClassifier {
        &self.settings
    }

    /// The answers that it gives.
    pub fn vocabulary(&self) -> &AnswerVocabulary {
        &self.vocabulary
    }

    /// Scores every answer to every question.
    ///
    /// # Errors
    /// As [`Classifier::score`].
    pub fn answer(&self, asked: &Asked) -> Result<AnswerScores> {
        self.answer_with(asked, None)
    }

    /// The same, with what the questions are worth without their pictures added. That raises accuracy by answering as
    /// questions were answered before: judge it by the figure against the prior.
    ///
    /// # Errors
    /// As [`Classifier::score`].
    pub fn answer_with(&self, asked: &Asked, prior: Option<&QuestionPrior>) -> Result<AnswerScores> {
        let answers = self.vocabulary.answers();
        let scores = self.score(&Embeddings::new(asked.pairs(), 2 * asked.dim())?)?;
        let mut logits = Vec::with_capacity(asked.len() * answers.len());
        for (question, scores) in asked.questions().iter().zip(scores.rows()) {
            let given = match prior {
                None => scores.to_vec(),
                Some(prior) => {
                    let with = |(score, answer): (f64, &String)| {
                        (score + prior.log_probability(question, answer)) as f32
                    };
                    log_softmax(scores).into_iter().zip(answers).map(with).collect()
                }
            };
            let admitted = |place: usize| !self.settings.mask || self.vocabulary.admits(question, place);
            logits.extend(
                given.iter().enumerate().map(|(at, score)| if admitted(at) { *score } else { NEVER }),
            );
        }
        let classes = answers.len();
        AnswerScores::new(answers.to_vec(), Logits::new(logits, classes)?)
    }

    /// The same model with one answer more, known by its text alone: `text` is its embedding, of any length. Only
    /// [`Head::AnswerText`] can take it.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the head is another; [`Error::Data`] if the answer is there already or has no word;
    /// [`Error::Dim`] if the width differs.
    pub fn with_answer(&self, answer: &str, text: &Embeddings) -> Result<Self> {
        let (Head::AnswerText, Some(trained)) = (self.settings.head, &self.net.answers) else {
            return Err(Error::unsupported("a new answer", "the head `answer-text`", "the head `plain`"));
        };
        self.classes.weights().check_dim("text of a new answer", text.dim())?;
        if text.rows() != 1 {
            return Err(Error::data("text of a new answer", "one row", text.rows()));
        }
        let mut vocabulary = self.vocabulary.clone();
        vocabulary.push(answer)?;
        let unit = text.normalised();
        let values = self.classes.weights().values().iter().chain(unit.values()).copied().collect();
        let classes = TextClassifier::new(
            values,
            text.dim(),
            vocabulary.answers(),
            ["{}"],
            self.classes.logit_scale(),
            self.classes.backbone(),
        )?;
        let mut net = self.net.clone();
        let answers = Tensor::cat(vec![trained.val(), unit.tensor(&self.device)], 0);
        net.answers = Some(Param::from_tensor(answers));
        Ok(Self { vocabulary, net, classes, ..self.clone() })
    }

    /// That questions are of the backbone that this was trained on.
    ///
    /// # Errors
    /// [`Error::Fingerprint`] if they are of another.
    pub fn check(&self, asked: &Asked) -> Result<()> {
        require_backbone("backbones", self.classes.backbone(), asked.backbone())
    }
}

impl Model for FittedAnswerClassifier {
    fn kind(&self) -> &'static str {
        AnswerClassifier::NAME
    }

    fn fingerprint(&self) -> Fingerprint {
        self.classes.fingerprint()
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn write(&self, into: &mut Section<'_, '_>) -> Result<()> {
        into.classes(&self.classes);
        into.settings(&self.settings, &Found { vocabulary: self.vocabulary.clone() });
        into.tensor("mean", &self.moments[0])?;
        into.tensor("deviation", &self.moments[1])?;
        into.module(&self.net);
        Ok(())
    }
}

impl Classifier for FittedAnswerClassifier {
    fn classes(&self) -> &TextClassifier {
        &self.classes
    }

    fn dim(&self) -> usize {
        2 * self.classes.dim()
    }

    /// Of rows `[v, q]`, each part of unit length: `[batch, answers]`.
    fn logits(&self, rows: Tensor<2>) -> Tensor<2> {
        let [mean, deviation] = self.moments.clone();
        self.net.logits((rows - mean) / deviation, self.classes.logit_scale())
    }

    fn to_device(&self, device: &Device) -> Result<Box<dyn Classifier>> {
        let device = device.clone().without_autodiff();
        let net = self.net.clone().fork(&device);
        let moments = self.moments.clone().map(|part| part.to_device(&device));
        let (vocabulary, classes) = (self.vocabulary.clone(), self.classes.clone());
        Ok(Box::new(Self::new(self.settings, vocabulary, net, moments, classes, device)))
    }
}

impl Open for FittedAnswerClassifier {
    const KIND: &'static str = AnswerClassifier::NAME;

    fn open(saved: &Saved, opening: &Opening<'_>) -> Result<Self> {
        let settings: AnswerClassifier = saved.json("settings")?;
        settings.validate().map_err(|error| saved.locate("settings", error))?;
        let Found { vocabulary } = saved.json("found")?;
        let (classes, device) = (saved.classes()?.clone(), opening.device().clone());
        if vocabulary.answers() != classes.class_names() {
            let (expected, found) =
                ("the answers of the classes", format!("{} others", vocabulary.answers().len()));
            return Err(saved.malformed("metadata `found`", expected, found));
        }
        let width = 2 * classes.dim();
        if settings.hidden > 0 {
            saved.require_shape("hidden.weight", &[settings.hidden, width])?;
        }
        let moments = [
            saved.tensor("mean", [Some(1), Some(width)], &device)?,
            saved.tensor("deviation", [Some(1), Some(width)], &device)?,
        ];
        let net = saved.module(settings.network(&classes, &device))?;
        Ok(Self::new(settings, vocabulary, net, moments, classes, device))
    }
}
