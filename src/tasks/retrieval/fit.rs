//! The training of a pair adapter, and the guard that keeps zero-shot where held-out pairs say so.

use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::batches::PairBatches;
use super::net::{PairNet, Side};
use super::{ClipAdapterPair, FittedPair, LinearPair, Sides, scoring};
use crate::archive::parameters;
use crate::error::{Error, Result};
use crate::evaluate::retrieval::{each_row, places, reciprocal_rank};
use crate::features::{Embeddings, Pairs};
use crate::train::{NoMonitor, Optimiser, Run, Schedule, Session, Trainer, permutation};

/// The settings of whichever pair adapter it is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum PairSettings {
    /// A matrix on each side.
    Linear(LinearPair),
    /// A bottleneck on each side.
    ClipAdapter(ClipAdapterPair),
}

/// What the guard saw: mean reciprocal ranks of held-out pairs, both directions together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HeldOut {
    /// As the features are.
    pub zero_shot_mrr: f64,
    /// As the adapters make them that did not see the pairs.
    pub adapted_mrr: f64,
}

impl PairSettings {
    pub(super) fn validate(&self, dim: usize) -> Result<()> {
        match self {
            Self::Linear(method) => method.validate(),
            Self::ClipAdapter(method) => method.validate(dim),
        }
    }

    pub(super) fn sides(&self) -> Sides {
        match self {
            Self::Linear(method) => method.sides,
            Self::ClipAdapter(method) => method.sides,
        }
    }

    /// At zero-shot.
    pub(super) fn network(&self, dim: usize, device: &Device) -> PairNet {
        let side = |wanted: bool, number: u64| {
            wanted.then(|| match self {
                Self::Linear(_) => Side::linear(dim, device),
                // Two sides that start differently.
                Self::ClipAdapter(method) => Side::residual(
                    dim,
                    method.reduction,
                    method.seed.wrapping_mul(2).wrapping_add(number),
                    device,
                ),
            })
        };
        PairNet { image: side(self.sides() != Sides::Text, 0), text: side(self.sides() != Sides::Image, 1) }
    }

    fn lambda(&self) -> f64 {
        match self {
            Self::Linear(method) => method.lambda,
            Self::ClipAdapter(_) => 0.0,
        }
    }

    /// Learning rate, steps, batch size, folds and seed.
    fn training(&self) -> (f64, usize, usize, usize, u64) {
        match self {
            Self::Linear(m) => (m.learning_rate, m.steps, m.batch_size, m.folds, m.seed),
            Self::ClipAdapter(m) => (m.learning_rate, m.steps, m.batch_size, m.folds, m.seed),
        }
    }
}

/// One guarded fit.
pub(super) struct Guarded<'a> {
    settings: PairSettings,
    pairs: &'a Pairs,
    device: Device,
}

impl<'a> Guarded<'a> {
    pub fn new(settings: PairSettings, pairs: &'a Pairs, device: &Device) -> Self {
        Self { settings, pairs, device: device.clone() }
    }

    pub fn run(self, run: &mut Run<'_>) -> Result<FittedPair> {
        let identity = json!([self.settings, self.pairs.fingerprint(), self.pairs.digest()]);
        let folds = self.folds();
        let mut session = Session::open(run, identity.to_string(), folds.len() + 1)?;
        let mut held_out = HeldOut { zero_shot_mrr: 0.0, adapted_mrr: 0.0 };
        let queries = (self.pairs.len() + self.pairs.texts().rows()) as f64;
        for (at, fold) in folds.iter().enumerate() {
            let stage = format!("without part {} of {}", at + 1, folds.len());
            let sums: [f64; 2] = session.stage(|session| {
                let kept: Vec<usize> = (0..self.pairs.len()).filter(|row| !fold.contains(row)).collect();
                let net = self.train(&self.pairs.select(&kept), &stage, session)?;
                let model = FittedPair::new(self.settings, net, None, self.pairs, &self.device);
                let adapted = scoring::adapted(&model, self.pairs)?;
                Ok([reciprocal_ranks(&scoring::unit(self.pairs)?, fold)?, reciprocal_ranks(&adapted, fold)?])
            })?;
            held_out.zero_shot_mrr += sums[0] / queries;
            held_out.adapted_mrr += sums[1] / queries;
        }
        let guarded = self.settings.training().3 > 0;
        let kept = match (guarded, folds.is_empty()) {
            (false, _) => true,
            (true, true) => false, // a single pair tells nothing, and nothing can be held out of it
            (true, false) => held_out.adapted_mrr >= held_out.zero_shot_mrr,
        };
        let net = match kept {
            true => self.train(self.pairs, "all pairs", &mut session)?,
            false => PairNet { image: None, text: None },
        };
        session.close()?;
        let seen = (!folds.is_empty()).then_some(held_out);
        Ok(FittedPair::new(self.settings, net, seen, self.pairs, &self.device))
    }

    /// The images that are held out together, each in one of the parts.
    fn folds(&self) -> Vec<Vec<usize>> {
        let (_, _, _, folds, seed) = self.settings.training();
        if folds == 0 || self.pairs.len() < 2 {
            return Vec::new();
        }
        let count = folds.min(self.pairs.len());
        let order = permutation(self.pairs.len(), seed, 0);
        (0..count).map(|fold| order.iter().copied().skip(fold).step_by(count).collect()).collect()
    }

    fn train(&self, pairs: &Pairs, stage: &str, session: &mut Session<'_, '_>) -> Result<PairNet> {
        let (learning_rate, steps, batch_size, _, seed) = self.settings.training();
        let batches = PairBatches::new(pairs, batch_size, seed, &self.device);
        let epochs = steps.div_ceil(crate::train::Batches::steps(&batches));
        let trainer = Trainer {
            schedule: Schedule::cosine(learning_rate, epochs),
            optimiser: Optimiser::Adam { epsilon: Optimiser::EPSILON },
        };
        let (scale, lambda) = (pairs.logit_scale(), self.settings.lambda());
        let start = self.settings.network(pairs.dim(), &self.device.clone().autodiff());
        let net = trainer.at_scale(scale).train(
            start,
            &batches,
            |net: &PairNet, batch| Ok(net.gradients(batch, scale, lambda)),
            &mut NoMonitor,
            stage,
            session,
        )?;
        // By way of the host, so that it lies in memory as one that was read from a file: to the last bit.
        let plain = self.settings.network(pairs.dim(), &self.device);
        parameters::load(plain, &parameters::collect(&net))
            .map_err(|mismatch| Error::execution("reading what was trained", mismatch.name))
    }
}

/// The sum over the texts and images of a fold of 1 / rank, each ranked among all pairs.
fn reciprocal_ranks(pairs: &Pairs, fold: &[usize]) -> Result<f64> {
    let texts: Vec<usize> = fold.iter().flat_map(|&image| pairs.texts_of(image)).copied().collect();
    let mut sum = 0.0;
    let mut add = |queries: &Embeddings, gallery: &Embeddings, relevant: &dyn Fn(usize) -> Vec<usize>| {
        each_row(queries, gallery, |query, scores| {
            sum += reciprocal_rank(&places(scores, &relevant(query), None));
            Ok(())
        })
    };
    add(&pairs.texts().select(&texts), pairs.images(), &|query| vec![pairs.text_to_image()[texts[query]]])?;
    add(&pairs.images().select(fold), pairs.texts(), &|query| pairs.texts_of(fold[query]).to_vec())?;
    Ok(sum)
}
