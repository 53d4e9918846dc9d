use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::adapter::Net;
use super::answers::{AnswerScores, NEVER};
use super::claims::{SURE, yes_no_row};
use super::rules::kind_of;
use super::{Asked, Claim, Side, StatementAdapter, Statements};
use crate::error::Result;
use crate::evaluate::Logits;
use crate::features::{Embeddings, TextClassifier};
use crate::fingerprint::Fingerprint;
use crate::model::{Classifier, Model, Open, Opening, Saved, Section, Settings};
use crate::numerics::log_softmax;

/// What a file keeps beside the parameters.
#[derive(Serialize, Deserialize)]
struct Found {
    statements: Statements,
    commonest: BTreeMap<String, String>,
}

/// A trained [`StatementAdapter`]: a classifier of pictures into statements, and how questions are read.
#[derive(Debug, Clone)]
pub struct FittedStatements {
    settings: StatementAdapter,
    statements: Statements,
    net: Net,
    classes: TextClassifier,
    start: Tensor<2>,
    /// The answer to a question that no rule reads, by its kind.
    commonest: BTreeMap<String, String>,
    device: Device,
}

impl FittedStatements {
    pub(super) fn new(
        settings: StatementAdapter,
        statements: Statements,
        net: Net,
        classes: TextClassifier,
        commonest: BTreeMap<String, String>,
        device: Device,
    ) -> Result<Self> {
        let start = classes.tensor(&device);
        Ok(Self { settings, statements, net, classes, start, commonest, device })
    }

    /// The settings it was trained with.
    pub fn settings(&self) -> &StatementAdapter {
        &self.settings
    }

    /// How questions are read.
    pub fn statements(&self) -> &Statements {
        &self.statements
    }

    /// Answers every question: an open one by the likeliest member of its family, a yes/no question by whether what it
    /// names is likelier than not. One that no rule reads has the commonest answer of its kind.
    ///
    /// # Errors
    /// As [`Classifier::score`].
    pub fn answer(&self, asked: &Asked) -> Result<AnswerScores> {
        let images: Vec<f32> = (0..asked.len()).flat_map(|row| asked.image(row)).copied().collect();
        let scores = self.score(&Embeddings::new(images, asked.dim())?)?;
        let (statements, mut answers) = (&self.statements, self.statements.answers());
        for answer in self.commonest.values().filter(|answer| !answer.is_empty()) {
            if !answers.contains(answer) {
                answers.push(answer.clone());
            }
        }
        let mut logits = Vec::with_capacity(asked.len() * answers.len());
        for (question, scores) in asked.questions().iter().zip(scores.rows()) {
            let members = |family: usize| {
                let (first, count) = statements.place(family);
                log_softmax(&scores[first..first + count])
            };
            logits.extend(match statements.read(&question.text) {
                Some(Claim::Open { family, .. }) => statements.open_row(&answers, family, &members(family)),
                Some(Claim::Holds { members: named, negated }) => {
                    let holds: f64 = named.iter().map(|&(family, place)| members(family)[place]).sum();
                    let (holds, not) = (holds as f32, (1.0 - holds.exp()).max(SURE).ln() as f32);
                    let (yes, no) = if negated { (not, holds) } else { (holds, not) };
                    yes_no_row(&answers, yes, no)
                }
                None => {
                    let known = self.commonest.get(&kind_of(question));
                    answers.iter().map(|answer| if Some(answer) == known { 0.0 } else { NEVER }).collect()
                }
            });
        }
        let classes = answers.len();
        AnswerScores::new(answers, Logits::new(logits, classes)?)
    }
}

impl Model for FittedStatements {
    fn kind(&self) -> &'static str {
        StatementAdapter::NAME
    }

    fn fingerprint(&self) -> Fingerprint {
        self.classes.fingerprint()
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn write(&self, into: &mut Section<'_, '_>) -> Result<()> {
        let (statements, commonest) = (self.statements.clone(), self.commonest.clone());
        into.classes(&self.classes);
        into.settings(&self.settings, &Found { statements, commonest });
        into.module(&self.net);
        Ok(())
    }
}

impl Classifier for FittedStatements {
    fn classes(&self) -> &TextClassifier {
        &self.classes
    }

    /// Of pictures: `[batch, statements]`. Only those of one family can be compared.
    fn logits(&self, images: Tensor<2>) -> Tensor<2> {
        self.net.logits(images, &self.start, self.classes.logit_scale())
    }

    fn to_device(&self, device: &Device) -> Result<Box<dyn Classifier>> {
        let device = device.clone().without_autodiff();
        let net = self.net.clone().fork(&device);
        let (statements, classes) = (self.statements.clone(), self.classes.clone());
        Ok(Box::new(Self::new(self.settings, statements, net, classes, self.commonest.clone(), device)?))
    }
}

impl Open for FittedStatements {
    const KIND: &'static str = StatementAdapter::NAME;

    fn open(saved: &Saved, opening: &Opening<'_>) -> Result<Self> {
        let settings: StatementAdapter = saved.json("settings")?;
        settings.validate().map_err(|error| saved.locate("settings", error))?;
        let Found { statements, commonest } = saved.json("found")?;
        statements.validate().map_err(|error| saved.locate("found", error))?;
        let (classes, device) = (saved.classes()?.clone(), opening.device().clone());
        if statements.texts() != classes.class_names() {
            let (expected, found) =
                ("the statements of the classes", format!("{} others", statements.texts().len()));
            return Err(saved.malformed("metadata `found`", expected, found));
        }
        if settings.side != Side::Text {
            saved.require_shape("image", &[classes.dim(), classes.dim()])?;
        }
        let net = saved.module(settings.network(&classes, &device))?;
        Self::new(settings, statements, net, classes, commonest, device)
    }
}
