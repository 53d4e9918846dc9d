//! The ways to come by a ratio, each a sequence of trainings.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::hoso::{HoldOut, sigmoid};
use super::{ClipAdapter, FittedClipAdapter, Ratio};
use crate::adapter::{AdaptedClip, cross_entropy};
use crate::choose::{hold_out, rotations};
use crate::error::{Error, Result};
use crate::evaluate::{Logits, Scores};
use crate::features::{FeatureSet, Support, TextClassifier};
use crate::numerics::softmax_rows;
use crate::train::{EarlyStopping, Examples, Monitor, NoMonitor, Run, Session, is_better, scalar};

/// The ratio where there is no evidence for another: the authors' for ImageNet.
const DEFAULT_RATIO: f64 = 0.2;

/// The most where nothing but zero-shot CLIP's doubt speaks for it.
const MOST_BY_DOUBT: f64 = 0.8;

/// The ratios that [`Ratio::Search`] tries.
const GRID: [f64; 4] = [0.2, 0.4, 0.6, 0.8];

/// What one fit works on.
pub(super) struct Fit<'a> {
    config: &'a ClipAdapter,
    support: &'a Support,
    classes: &'a TextClassifier,
    weights: Tensor<2>, // [classes, dim]
    device: Device,
}

impl<'a> Fit<'a> {
    pub fn new(
        config: &'a ClipAdapter,
        support: &'a Support,
        classes: &'a TextClassifier,
        device: &Device,
    ) -> Self {
        Self { config, support, classes, weights: classes.tensor(device), device: device.clone() }
    }

    pub fn run(self, run: &mut Run<'_>) -> Result<FittedClipAdapter> {
        let images = self.support.set().digest();
        let validation = self.support.validation().map(FeatureSet::digest);
        let identity = serde_json::json!([self.config, self.classes.fingerprint(), images, validation]);
        let stages = match self.config.ratio {
            Ratio::Hoso => self.rotations() + 1,
            Ratio::Search => GRID.len() + 1,
            Ratio::Fixed(_) | Ratio::Learned | Ratio::LearnedPerClass => 1,
        };
        let mut session = Session::open(run, identity.to_string(), stages)?;
        let ratio = match self.config.ratio {
            Ratio::Fixed(ratio) => ratio,
            Ratio::Learned | Ratio::LearnedPerClass => DEFAULT_RATIO,
            Ratio::Search => self.search(&mut session)?,
            Ratio::Hoso => self.learn_on_held_out_shots(&mut session)?,
        };
        let (net, _) = self.train_on_all(ratio, &format!("all shots, ratio {ratio:.2}"), &mut session)?;
        session.close()?;
        Ok(FittedClipAdapter::new(self.config.clone(), net.valid(), self.classes.clone(), self.device))
    }

    /// HOSO: each rotation trains an adapter without one shot of each class and learns the ratio on those. The
    /// mean of the rotations' rho is the ratio's.
    fn learn_on_held_out_shots(&self, session: &mut Session<'_, '_>) -> Result<f64> {
        let rotations = self.rotations();
        if rotations == 0 {
            return Ok(self.doubt().clamp(DEFAULT_RATIO, MOST_BY_DOUBT));
        }
        let mut sum = 0.0;
        for rotation in 0..rotations {
            sum += session.stage(|session| {
                let set = self.support.set();
                let (held_out, kept) = hold_out(set, rotation);
                let held_out = Examples::new(&set.select(&held_out), 0.0, &self.device);
                let mut monitor = HoldOut::new(0.5, |net: &AdaptedClip| {
                    let logits = self.logits(net, held_out.images.clone());
                    scalar(cross_entropy(logits, held_out.targets.clone()), "scoring held-out shots")
                });
                let stage = format!("held-out shot {} of {rotations}", rotation + 1);
                self.train(&set.select(&kept), 0.5, &mut monitor, &stage, session)?;
                Ok(monitor.rho())
            })?;
        }
        Ok(sigmoid(sum / rotations as f64))
    }

    /// How far zero-shot CLIP is from sure of the shots: one less the mean probability that it gives their classes.
    fn doubt(&self) -> f64 {
        let set = self.support.set();
        let mut probabilities = self.classes.logits_on_host(set.embeddings());
        softmax_rows(&mut probabilities);
        let right = set.labels().iter().enumerate().map(|(row, &label)| probabilities[(row, label)]);
        1.0 - right.sum::<f64>() / set.len() as f64
    }

    fn rotations(&self) -> usize {
        rotations(self.support.set(), self.config.hold_outs)
    }

    fn search(&self, session: &mut Session<'_, '_>) -> Result<f64> {
        if self.support.validation().is_none() {
            return Err(Error::setting("ratio", "few-shot validation images for `search`", "none"));
        }
        let mut best = None;
        for ratio in GRID {
            let found = session.stage(|session| {
                let (_, best) = self.train_on_all(ratio, &format!("ratio {ratio}"), session)?;
                best.ok_or_else(|| Error::setting("epochs", "1 or more", 0))
            })?;
            if best.is_none_or(|(_, best)| is_better(found, best)) {
                best = Some((ratio, found));
            }
        }
        Ok(best.map_or(DEFAULT_RATIO, |(ratio, _)| ratio))
    }

    /// Trains on every shot; with validation images the best epoch is kept, and its accuracy and loss returned.
    fn train_on_all(
        &self,
        ratio: f64,
        stage: &str,
        session: &mut Session<'_, '_>,
    ) -> Result<(AdaptedClip, Option<(f64, f64)>)> {
        let shots = self.support.set();
        let Some(validation) = self.support.validation() else {
            return Ok((self.train(shots, ratio, &mut NoMonitor, stage, session)?, None));
        };
        let images = validation.embeddings().tensor(&self.device);
        let mut monitor = EarlyStopping::new(self.config.patience, |net: &AdaptedClip| {
            let logits = self.logits(net, images.clone()).try_into_vec_as::<f32>();
            let logits = logits.map_err(|error| Error::execution("scoring validation images", error))?;
            let logits = Logits::new(logits, validation.class_names().len())?;
            let scores = Scores::new(&logits, validation.labels())?;
            Ok((scores.accuracy(), scores.nll()))
        });
        let net = self.train(shots, ratio, &mut monitor, stage, session)?;
        Ok((net, monitor.best()))
    }

    fn train(
        &self,
        set: &FeatureSet,
        ratio: f64,
        monitor: &mut impl Monitor<AdaptedClip>,
        stage: &str,
        session: &mut Session<'_, '_>,
    ) -> Result<AdaptedClip> {
        let shots = self.support.set().shots_a_class().ceil() as usize;
        let examples = Examples::new(set, self.config.label_smoothing, &self.device);
        let batches = examples.shuffled(self.config.batch_size, self.config.seed);
        let net = self.config.network(ratio, self.classes, &self.device.clone().autodiff());
        let scale = self.classes.logit_scale();
        let gradients = |net: &AdaptedClip, [batch]: [Examples; 1]| {
            Ok(net.gradients(batch.images, batch.targets, self.weights.clone(), scale))
        };
        let trainer = self.config.trainer(shots).at_scale(scale);
        trainer.train(net, &batches, gradients, monitor, stage, session)
    }

    fn logits(&self, net: &AdaptedClip, images: Tensor<2>) -> Tensor<2> {
        net.valid().logits(images, self.weights.clone(), self.classes.logit_scale())
    }
}
