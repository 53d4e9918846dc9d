use std::iter;

use burn::{
    module::{Module, Param},
    optim::GradientsParams,
    tensor::{Device, Tensor, TensorData, activation::log_softmax},
};
use serde::{Deserialize, Serialize};

use super::answers::NEVER;
use super::claims::SURE;
use super::vocabulary::normalised;
use super::{Asked, Claim, FittedStatements, QuestionPrior, Statements};
use crate::error::{Error, Result, not_negative, positive};
use crate::features::{TextClassifier, contrastive_logits, normalise};
use crate::fingerprint::require_backbone;
use crate::model::Settings;
use crate::train::{Batches, Epoch, NoMonitor, Optimiser, Run, Schedule, Session, Trainer};

/// What of a [`StatementAdapter`] learns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Side {
    /// The statements' vectors, as TaskRes moves a classifier's.
    #[default]
    Text,
    /// A matrix on the picture's.
    Image,
    /// Both.
    Both,
}

/// One head over all statements that every question teaches: CLIP-Adapter's classifier with partial labels. Our own
/// design.
///
/// `p = softmax over the family of s unit(M v) unit(W_o)^T`; an open question wants `p_o`, a yes/no question about `o`
/// has `P(yes) = p_o`, and several members must hold together: `P(yes) = prod p_o`. `W` starts at the statements' text
/// embeddings and `M` at the identity; the loss is `-mean log P(answer) + pull (||W - W_0||^2 + ||M - I||^2)`. That a thing
/// is *not* red so teaches what the other colours look like, and "what color is it?" learns from "is it red?".
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `side` | text | | what learns: text, image or both |
/// | `steps` | 300 | 0 or more | full-batch steps of Adam, in a cosine; 0 leaves CLIP's own |
/// | `learning_rate` | 0.003 | above 0 | of Adam, before the cosine |
/// | `pull` | 0.001 | 0 or more | towards the start |
///
/// # Examples
/// ```
/// use clip_adapter::tasks::questions::{Asked, Family, StatementAdapter, Statements};
/// use clip_adapter::{TextClassifier, features::Embeddings, input::Question, prelude::*};
///
/// // Two colours of two dimensions, which the texts have a little the wrong way round.
/// let statements = Statements::new([Family::new("color", ["red", "blue"], "a {} shape")])?;
/// let classes = TextClassifier::new(vec![0.6, 0.8, 0.8, 0.6], 2, statements.texts(), ["{}"], 20.0, "tiny")?;
/// let question = |image, answer: &str| {
///     Question { image, text: "is it red?".into(), answers: vec![answer.into()], ..Default::default() }
/// };
/// let images = Embeddings::new(vec![1.0, 0.1, 0.1, 1.0], 2)?;
/// let words = Embeddings::new(vec![1.0, 1.0], 2)?;
/// let questions = vec![question(0, "yes"), question(1, "no")];
/// let asked = Asked::new(images, questions, vec!["is it red?".into()], words, "tiny", 20.0)?;
/// let model = StatementAdapter::default().fit(&statements, &classes, &asked, &Device::flex())?;
/// assert_eq!(model.answer(&asked)?.predictions().collect::<Vec<_>>(), ["yes", "no"]);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StatementAdapter {
    /// What learns.
    pub side: Side,
    /// Full-batch steps of Adam.
    pub steps: usize,
    /// Of Adam, before the cosine.
    pub learning_rate: f64,
    /// Towards the start.
    pub pull: f64,
}

impl Default for StatementAdapter {
    fn default() -> Self {
        Self { side: Side::Text, steps: 300, learning_rate: 3e-3, pull: 1e-3 }
    }
}

impl Settings for StatementAdapter {
    const NAME: &'static str = "statement-adapter";
}

/// All that may learn.
#[derive(Module, Debug)]
pub(super) struct Net {
    pub statements: Option<Param<Tensor<2>>>, // [statements, dim]
    pub image: Option<Param<Tensor<2>>>,      // [dim, dim]
}

impl Net {
    /// `[batch, dim]` to `[batch, statements]`.
    pub fn logits(&self, images: Tensor<2>, start: &Tensor<2>, scale: f64) -> Tensor<2> {
        let images = match &self.image {
            Some(matrix) => images.matmul(matrix.val()),
            None => images,
        };
        let statements = self.statements.as_ref().map_or_else(|| start.clone(), |moved| moved.val());
        contrastive_logits(normalise(images), normalise(statements), scale)
    }
}

/// What all claims ask of the statements, at once.
struct Claims {
    images: Tensor<2>,   // [claims, dim]
    slots: Vec<Slot>,    // as many as the claim with the most members has
    positive: Tensor<2>, // [claims, 1]: 1 where the members hold
}

/// One member of every claim.
struct Slot {
    outside: Tensor<2>, // [claims, statements]: 0 within the family, else NEVER
    member: Tensor<2>,  // [claims, statements]: 1 at the member; only zeros where a claim has fewer
}

impl Batches for Claims {
    type Batch = ();

    fn steps(&self) -> usize {
        1
    }

    fn epoch(&self, _epoch: usize) -> Result<Epoch<'_, ()>> {
        Ok(Box::new(iter::once(Ok(((), 1.0)))))
    }
}

impl StatementAdapter {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first one outside.
    pub fn validate(&self) -> Result<()> {
        positive("learning_rate", self.learning_rate)?;
        not_negative("pull", self.pull)
    }

    /// Learns from answered questions. `classes` are the [`texts`](Statements::texts) of the statements as a classifier.
    /// Questions that no rule reads, and answers that are no member, teach nothing.
    ///
    /// # Errors
    /// As [`fit_with`](Self::fit_with).
    pub fn fit(
        &self,
        statements: &Statements,
        classes: &TextClassifier,
        asked: &Asked,
        device: &Device,
    ) -> Result<FittedStatements> {
        self.fit_with(statements, classes, asked, &mut Run::new(device))
    }

    /// The same, with a run that tells how far it is.
    ///
    /// # Errors
    /// [`Error::Setting`] for a setting out of range; [`Error::Data`] if the classes are not the statements, or no
    /// question teaches anything; [`Error::Dim`] and [`Error::Fingerprint`] if questions and classes are of different
    /// backbones; what else ends a fit, as in [`Method::fit_with`](crate::train::Method::fit_with).
    pub fn fit_with(
        &self,
        statements: &Statements,
        classes: &TextClassifier,
        asked: &Asked,
        run: &mut Run<'_>,
    ) -> Result<FittedStatements> {
        self.validate()?;
        statements.validate()?;
        crate::features::check_same_classes("statements", &statements.texts(), classes.class_names())?;
        classes.weights().check_dim("questions", asked.dim())?;
        require_backbone("backbones", classes.backbone(), asked.backbone())?;
        let prior = QuestionPrior::new(asked.questions())?;
        let device = run.device().clone();
        let claims = claims(statements, asked, &device)?;
        let net = self.network(classes, &device.clone().autodiff());
        let (start, scale) = (classes.tensor(&device), classes.logit_scale());
        let eye = Tensor::<2>::eye(classes.dim(), &device);
        let away = |moved: &Option<Param<Tensor<2>>>, from: &Tensor<2>| {
            moved.as_ref().map(|moved| (moved.val() - from.clone()).powi_scalar(2).sum())
        };
        let gradients = |net: &Net, (): ()| {
            let logits = net.logits(claims.images.clone(), &start, scale);
            let of = |slot: &Slot| {
                (log_softmax(logits.clone() + slot.outside.clone(), 1) * slot.member.clone()).sum_dim(1)
            };
            let holds =
                claims.slots.iter().map(of).fold(claims.positive.zeros_like(), |sum, part| sum + part); // [claims, 1]
            let not = (holds.clone().exp().neg() + 1.0).clamp_min(SURE).log();
            let right = holds * claims.positive.clone() + not * (claims.positive.clone().neg() + 1.0);
            let mut loss = right.mean().neg();
            for pull in [away(&net.statements, &start), away(&net.image, &eye)].into_iter().flatten() {
                loss = loss + pull.mul_scalar(self.pull);
            }
            Ok((loss.clone().inner(), GradientsParams::from_grads(loss.backward(), net)))
        };
        let trainer = Trainer {
            schedule: Schedule::cosine(self.learning_rate, self.steps),
            optimiser: Optimiser::Adam { epsilon: Optimiser::EPSILON },
        };
        let questions = asked.digest();
        let identity = serde_json::json!([Self::NAME, self, statements, classes.fingerprint(), questions]);
        let mut session = Session::open(run, identity.to_string(), 1)?;
        let net = trainer.train(net, &claims, gradients, &mut NoMonitor, "all questions", &mut session)?;
        session.close()?;
        FittedStatements::new(
            *self,
            statements.clone(),
            net.valid(),
            classes.clone(),
            prior.of_kinds(),
            device,
        )
    }

    pub(super) fn network(&self, classes: &TextClassifier, device: &Device) -> Net {
        let (text, image) = (self.side != Side::Image, self.side != Side::Text);
        Net {
            statements: text.then(|| Param::from_tensor(classes.tensor(device))),
            image: image.then(|| Param::from_tensor(Tensor::eye(classes.dim(), device))),
        }
    }
}

/// What the answered questions say of the statements.
fn claims(statements: &Statements, asked: &Asked, device: &Device) -> Result<Claims> {
    let width = statements.texts().len();
    let (mut rows, mut all, mut positive) = (Vec::new(), Vec::new(), Vec::new());
    for (row, question) in asked.questions().iter().enumerate() {
        let (Some(answer), Some(claim)) = (normalised(question), statements.read(&question.text)) else {
            continue;
        };
        let (members, holds) = match claim {
            Claim::Open { family, .. } => {
                let of = &statements.families[family].members;
                let Some(place) = of.iter().position(|member| *member == answer) else { continue };
                (vec![(family, place)], true)
            }
            Claim::Holds { members, negated } if answer == "yes" || answer == "no" => {
                (members, (answer == "yes") != negated)
            }
            Claim::Holds { .. } => continue,
        };
        rows.push(row);
        all.push(members);
        positive.push(f32::from(u8::from(holds)));
    }
    if rows.is_empty() {
        return Err(Error::data("questions to learn from", "one that the statements read", "none"));
    }
    let count = rows.len();
    let tensor = |values: Vec<f32>, columns: usize| {
        Tensor::<2>::from_data(TensorData::new(values, [count, columns]), device)
    };
    let slot = |at: usize| {
        let (mut outside, mut member) = (Vec::with_capacity(count * width), vec![0.0; count * width]);
        for (claim, members) in all.iter().enumerate() {
            let (first, within) = match members.get(at) {
                Some(&(family, place)) => {
                    let (first, within) = statements.place(family);
                    member[claim * width + first + place] = 1.0;
                    (first, within)
                }
                None => (0, width),
            };
            let inside = first..first + within;
            outside.extend((0..width).map(|at| if inside.contains(&at) { 0.0 } else { NEVER }));
        }
        Slot { outside: tensor(outside, width), member: tensor(member, width) }
    };
    let most = all.iter().map(Vec::len).max().unwrap_or(0);
    Ok(Claims {
        images: asked.select(&rows).image_tensor(device),
        slots: (0..most).map(slot).collect(),
        positive: tensor(positive, 1),
    })
}
