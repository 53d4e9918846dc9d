use burn::{
    module::{Module, Param},
    nn::Linear,
    optim::GradientsParams,
    tensor::{Device, Tensor, TensorData, activation},
};
use serde::{Deserialize, Serialize};

use super::vocabulary::normalised;
use super::{AnswerVocabulary, Asked, FittedAnswerClassifier};
use crate::adapter::{cross_entropy, seeded_linear};
use crate::error::{Error, Result, not_negative, positive};
use crate::evaluate::answers::Normalise;
use crate::features::{TextClassifier, contrastive_logits, normalise};
use crate::fingerprint::require_backbone;
use crate::model::Settings;
use crate::train::{Examples, NoMonitor, Optimiser, Run, Schedule, Session, Trainer};

/// How answers are scored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Head {
    /// One weight vector and bias an answer.
    #[default]
    Plain,
    /// By the cosine with one vector an answer, which starts at the answer's text embedding: an answer can then be
    /// added without training, by its text.
    AnswerText,
}

/// A classifier of picture and question into the answers of a vocabulary.
///
/// `x = [v, q]`, standardised by the mean and deviation of training questions, then `W_2 relu(W_1 x + b_1) + b_2`, or one
/// layer where `hidden` is 0. Trained with cross-entropy and AdamW; where several people answered, with binary
/// cross-entropy against `min(1, count / 3)`. Answers that the kind of question never had are not given.
///
/// One layer cannot answer a yes/no question about a picture: it adds up what picture and question are worth alone. It
/// answers with the commonest answer and is right where that is.
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `hidden` | 256 | 0 or more | units between; 0 is one layer |
/// | `head` | plain | | how answers are scored: plain or answer-text |
/// | `steps` | 1500 | 0 or more | of AdamW, in a cosine, rounded to whole passes over the questions |
/// | `batch_size` | 256 | 1 or more | questions a step |
/// | `learning_rate` | 0.001 | above 0 | of AdamW, before the cosine |
/// | `weight_decay` | 0.01 | 0 or more | of every parameter |
/// | `mask` | true | | whether answers that the kind never had are left out |
/// | `seed` | 0 | | fixes the initial weights and the batches |
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnswerClassifier {
    /// Units between; 0 is one layer.
    pub hidden: usize,
    /// How answers are scored.
    pub head: Head,
    /// Of AdamW.
    pub steps: usize,
    /// Questions a step.
    pub batch_size: usize,
    /// Of AdamW, before the cosine.
    pub learning_rate: f64,
    /// Of every parameter.
    pub weight_decay: f64,
    /// Whether answers that the kind never had are left out.
    pub mask: bool,
    /// Fixes the initial weights and the batches.
    pub seed: u64,
}

impl Default for AnswerClassifier {
    fn default() -> Self {
        Self {
            hidden: 256,
            head: Head::Plain,
            steps: 1500,
            batch_size: 256,
            learning_rate: 1e-3,
            weight_decay: 1e-2,
            mask: true,
            seed: 0,
        }
    }
}

impl Settings for AnswerClassifier {
    const NAME: &'static str = "answer-classifier";
}

/// All that learns.
#[derive(Module, Debug)]
pub(super) struct Net {
    pub hidden: Option<Linear>,
    pub out: Linear, // to the answers, or to the width of an embedding
    pub answers: Option<Param<Tensor<2>>>,
}

impl Net {
    /// `[batch, 2 dim]`, standardised, to `[batch, answers]`.
    pub fn logits(&self, x: Tensor<2>, scale: f64) -> Tensor<2> {
        let x = match &self.hidden {
            Some(hidden) => activation::relu(hidden.forward(x)),
            None => x,
        };
        let out = self.out.forward(x);
        match &self.answers {
            Some(answers) => contrastive_logits(normalise(out), normalise(answers.val()), scale),
            None => out,
        }
    }
}

impl AnswerClassifier {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first one outside.
    pub fn validate(&self) -> Result<()> {
        if self.batch_size == 0 {
            return Err(Error::setting("batch_size", "1 or more", self.batch_size));
        }
        if self.hidden > 1 << 16 {
            return Err(Error::setting("hidden", format!("at most {}", 1 << 16), self.hidden));
        }
        positive("learning_rate", self.learning_rate)?;
        not_negative("weight_decay", self.weight_decay)
    }

    /// Learns from answered questions. `classes` are the answers of the vocabulary as a classifier by their texts, under
    /// one template such as `{}`; questions whose answer is not among them teach nothing.
    ///
    /// # Errors
    /// As [`fit_with`](Self::fit_with).
    pub fn fit(
        &self,
        vocabulary: &AnswerVocabulary,
        classes: &TextClassifier,
        asked: &Asked,
        device: &Device,
    ) -> Result<FittedAnswerClassifier> {
        self.fit_with(vocabulary, classes, asked, &mut Run::new(device))
    }

    /// The same, with a run that tells how far it is.
    ///
    /// # Errors
    /// [`Error::Setting`] for a setting out of range; [`Error::Data`] if the classes are not the vocabulary's answers, or
    /// no question has one of them; [`Error::Dim`] and [`Error::Fingerprint`] if questions and classes are of different
    /// backbones; what else ends a fit, as in [`Method::fit_with`](crate::train::Method::fit_with).
    pub fn fit_with(
        &self,
        vocabulary: &AnswerVocabulary,
        classes: &TextClassifier,
        asked: &Asked,
        run: &mut Run<'_>,
    ) -> Result<FittedAnswerClassifier> {
        self.validate()?;
        crate::features::check_same_classes("answers", vocabulary.answers(), classes.class_names())?;
        classes.weights().check_dim("questions", asked.dim())?;
        require_backbone("backbones", classes.backbone(), asked.backbone())?;
        let known = |row: &usize| {
            normalised(&asked.questions()[*row]).is_some_and(|a| vocabulary.place(&a).is_some())
        };
        let rows: Vec<usize> = (0..asked.len()).filter(known).collect();
        if rows.is_empty() {
            return Err(Error::data(
                "questions to learn from",
                "one with an answer of the vocabulary",
                "none",
            ));
        }
        let (asked, device) = (asked.select(&rows), run.device().clone());
        let (mean, deviation) = moments(&asked);
        let several = asked.questions().iter().any(|question| question.answers.len() > 1);
        let examples = self.examples(vocabulary, &asked, (&mean, &deviation), &device);
        let steps = asked.len().div_ceil(self.batch_size);
        let epochs =
            if self.steps == 0 { 0 } else { (self.steps as f64 / steps as f64).round().max(1.0) as usize };
        let trainer = Trainer {
            schedule: Schedule::cosine(self.learning_rate, epochs),
            optimiser: Optimiser::AdamW { epsilon: Optimiser::EPSILON, weight_decay: self.weight_decay },
        };
        let scale = classes.logit_scale();
        let gradients = |net: &Net, [batch]: [Examples; 1]| {
            let logits = net.logits(batch.images, scale);
            let loss = match several {
                true => binary_cross_entropy(logits, batch.targets),
                false => cross_entropy(logits, batch.targets),
            };
            Ok((loss.clone().inner(), GradientsParams::from_grads(loss.backward(), net)))
        };
        let net = self.network(classes, &device.clone().autodiff());
        let identity =
            serde_json::json!([Self::NAME, self, vocabulary, classes.fingerprint(), asked.digest()]);
        let mut session = Session::open(run, identity.to_string(), 1)?;
        let batches = examples.shuffled(self.batch_size, self.seed);
        let net = trainer.train(net, &batches, gradients, &mut NoMonitor, "all questions", &mut session)?;
        session.close()?;
        let moments = [mean, deviation]
            .map(|row| Tensor::from_data(TensorData::new(row, [1, 2 * classes.dim()]), &device));
        Ok(FittedAnswerClassifier::new(
            *self,
            vocabulary.clone(),
            net.valid(),
            moments,
            classes.clone(),
            device,
        ))
    }

    /// Standardised `[v, q]` and what is wanted of every answer.
    fn examples(
        &self,
        vocabulary: &AnswerVocabulary,
        asked: &Asked,
        (mean, deviation): (&[f32], &[f32]),
        device: &Device,
    ) -> Examples {
        let (width, answers) = (mean.len(), vocabulary.answers().len());
        let mut x = asked.pairs();
        for row in x.chunks_exact_mut(width) {
            for ((value, mean), deviation) in row.iter_mut().zip(mean).zip(deviation) {
                *value = (*value - mean) / deviation;
            }
        }
        let mut targets = vec![0.0; asked.len() * answers];
        for (row, question) in targets.chunks_exact_mut(answers).zip(asked.questions()) {
            let each = if question.answers.len() > 1 { 1.0f32 / 3.0 } else { 1.0 };
            for answer in &question.answers {
                if let Some(place) = vocabulary.place(&Normalise::Official.answer(answer)) {
                    row[place] = (row[place] + each).min(1.0);
                }
            }
        }
        Examples {
            images: Tensor::from_data(TensorData::new(x, [asked.len(), width]), device),
            targets: Tensor::from_data(TensorData::new(targets, [asked.len(), answers]), device),
        }
    }

    pub(super) fn network(&self, classes: &TextClassifier, device: &Device) -> Net {
        let (dim, answers) = (classes.dim(), classes.class_names().len());
        let out = match self.head {
            Head::Plain => answers,
            Head::AnswerText => dim,
        };
        let inputs = if self.hidden > 0 { self.hidden } else { 2 * dim };
        let text = self.head == Head::AnswerText;
        Net {
            hidden: (self.hidden > 0).then(|| seeded_linear(2 * dim, self.hidden, self.seed, device)),
            out: seeded_linear(inputs, out, self.seed.wrapping_add(1), device),
            answers: text.then(|| Param::from_tensor(classes.tensor(device))),
        }
    }
}

/// Mean and standard deviation of every column of `[v, q]`; a column that never changes is divided by 1.
fn moments(asked: &Asked) -> (Vec<f32>, Vec<f32>) {
    let width = 2 * asked.dim();
    let (mut mean, mut square) = (vec![0.0f64; width], vec![0.0f64; width]);
    let (pairs, count) = (asked.pairs(), asked.len() as f64);
    for row in pairs.chunks_exact(width) {
        for (at, value) in row.iter().enumerate() {
            mean[at] += f64::from(*value) / count;
            square[at] += f64::from(*value).powi(2) / count;
        }
    }
    let deviation = |(mean, square): (&f64, &f64)| {
        let deviation = (square - mean * mean).max(0.0).sqrt();
        if deviation > 1e-6 { deviation as f32 } else { 1.0 }
    };
    let deviations = mean.iter().zip(&square).map(deviation).collect();
    (mean.iter().map(|mean| *mean as f32).collect(), deviations)
}

/// `-mean sum_a y_a log sigmoid(l_a) + (1 - y_a) log(1 - sigmoid(l_a))`.
fn binary_cross_entropy(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    let batch = logits.dims()[0] as f64;
    // softplus(l) - y l, of which softplus does not overflow
    let softplus = activation::relu(logits.clone()) + (logits.clone().abs().neg().exp() + 1.0).log();
    (softplus - targets * logits).sum().div_scalar(batch)
}
