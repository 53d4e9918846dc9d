use burn::{
    module::{Module, Param},
    optim::GradientsParams,
    tensor::{Device, Tensor},
};
use serde::{Deserialize, Serialize};

use super::FittedTemporalTransformer;
use super::Pooling;
use crate::adapter::{TemporalAdapter, TemporalAdapterConfig, cross_entropy};
use crate::error::{Error, Result, not_negative, positive};
use crate::features::{
    FeatureSet, FrameFile, FrameSet, Support, TextClassifier, contrastive_logits, normalise,
};
use crate::model::Settings;
use crate::tasks::prototypes::prototypes;
use crate::train::{Examples, Method, NoMonitor, Optimiser, Run, Schedule, Session, Trainer};

/// A small transformer over a video's frames, which starts at their mean: [`TemporalAdapter`] and a head.
///
/// `logits = s v normalise(W)^T` with the row `v` that the adapter makes of a video and the head `W`, which starts at the
/// classes. Both learn, by cross-entropy and AdamW. Where motion is what counts, [`Dct`](super::Dct) needs fewer videos
/// and less time; this one keeps to a row of CLIP's width.
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `reduction` | 4 | 1 or more | the transformer is `dim / reduction` wide |
/// | `heads` | 4 | 1 or more | of its attention |
/// | `epochs` | 50 | 0 or more | passes over the videos; 0 is the mean |
/// | `batch_size` | 32 | 0 or more | videos a step; 0 takes all at once |
/// | `learning_rate` | 0.001 | above 0 | of AdamW, before the cosine |
/// | `weight_decay` | 0.01 | 0 or more | of every parameter |
/// | `seed` | 0 | | fixes the initial weights and the batches |
///
/// It takes videos [side by side](FrameSet::side_by_side), of as many frames as it was fitted with.
///
/// # Examples
/// ```
/// use clip_adapter::{features::FrameFile, prelude::*, tasks::video::TemporalTransformer};
///
/// let file = FrameFile::synthetic(0)?;
/// let shots = file.split("train")?.shots(12, 1)?;
/// let classes = TemporalTransformer::classes(&file, &shots)?;
/// let support = Support::new(shots.side_by_side()?)?;
/// let model = TemporalTransformer::default().fit(&support, &classes, &Device::flex())?;
/// let report = model.evaluate(&file.split("test")?.side_by_side()?.into_test_set())?;
/// assert!(report.accuracy > 35.0, "{}", report.accuracy); // of four motions, of which the mean knows nothing
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TemporalTransformer {
    /// The transformer is `dim / reduction` wide.
    pub reduction: usize,
    /// Of its attention.
    pub heads: usize,
    /// Passes over the videos.
    pub epochs: usize,
    /// Videos a step; 0 takes all at once.
    pub batch_size: usize,
    /// Of AdamW, before the cosine.
    pub learning_rate: f64,
    /// Of every parameter.
    pub weight_decay: f64,
    /// Fixes the initial weights and the batches.
    pub seed: u64,
}

impl Default for TemporalTransformer {
    fn default() -> Self {
        Self {
            reduction: 4,
            heads: 4,
            epochs: 50,
            batch_size: 32,
            learning_rate: 1e-3,
            weight_decay: 1e-2,
            seed: 0,
        }
    }
}

/// All that learns.
#[derive(Module, Debug)]
pub(super) struct Net {
    pub adapter: TemporalAdapter,
    pub head: Param<Tensor<2>>, // [classes, dim]
}

impl Net {
    /// `[batch, frames * dim]` to `[batch, classes]`.
    pub fn logits(&self, videos: Tensor<2>, scale: f64) -> Tensor<2> {
        let (dim, [batch, all]) = (self.head.lazy_shape()[1], videos.dims());
        let rows = self.adapter.forward(videos.reshape([batch, all / dim, dim]));
        contrastive_logits(rows, normalise(self.head.val()), scale)
    }
}

impl TemporalTransformer {
    /// Checks every setting against its range, for features of this width.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first one outside.
    pub fn validate(&self, dim: usize) -> Result<()> {
        if self.heads == 0 {
            return Err(Error::setting("heads", "1 or more", self.heads));
        }
        if self.reduction == 0 || dim / self.reduction < self.heads {
            let expected = format!("1..={}, so that each head has a number", (dim / self.heads).max(1));
            return Err(Error::setting("reduction", expected, self.reduction));
        }
        positive("learning_rate", self.learning_rate)?;
        not_negative("weight_decay", self.weight_decay)
    }

    /// The classes by their texts, or by the mean of the frames of their shots where the file has no texts.
    ///
    /// # Errors
    /// As [`Pooling::classes`].
    pub fn classes(file: &FrameFile, shots: &FrameSet) -> Result<TextClassifier> {
        let identity = format!("{} pooling:transformer of {}", file.identity(), shots.frames());
        let means: FeatureSet = Pooling::Mean.set(shots)?;
        match file.classifier() {
            None => prototypes(&means, identity),
            Some(text) => {
                let rows = text.prompts().unwrap_or(text.weights()).values().to_vec();
                let templates = match text.prompts() {
                    Some(_) => text.templates().to_vec(),
                    None => vec!["{}".to_owned()],
                };
                let (names, scale) = (text.class_names(), text.logit_scale());
                TextClassifier::new(rows, text.dim(), names, templates, scale, identity)
            }
        }
    }

    pub(super) fn network(&self, frames: usize, classes: &TextClassifier, device: &Device) -> Net {
        let config = TemporalAdapterConfig::new(classes.dim(), frames)
            .with_reduction(self.reduction)
            .with_heads(self.heads)
            .with_seed(self.seed);
        Net { adapter: config.init(device), head: Param::from_tensor(classes.tensor(device)) }
    }

    pub(super) fn width(&self, dim: usize) -> usize {
        TemporalAdapterConfig::new(dim, 1).with_reduction(self.reduction).with_heads(self.heads).width()
    }
}

impl Settings for TemporalTransformer {
    const NAME: &'static str = "temporal-transformer";
}

impl Method for TemporalTransformer {
    type Fitted = FittedTemporalTransformer;

    fn fit_with(
        &self,
        support: &Support,
        classes: &TextClassifier,
        run: &mut Run<'_>,
    ) -> Result<FittedTemporalTransformer> {
        support.check_classes(classes)?;
        self.validate(classes.dim())?;
        let width = support.set().embeddings().dim();
        if !width.is_multiple_of(classes.dim()) {
            let expected = format!("frames of {} side by side", classes.dim());
            return Err(Error::data("width of the videos", expected, width));
        }
        let (frames, device) = (width / classes.dim(), run.device().clone());
        let net = self.network(frames, classes, &device.clone().autodiff());
        let identity = serde_json::json!([Self::NAME, self, classes.fingerprint(), support.set().digest()]);
        let mut session = Session::open(run, identity.to_string(), 1)?;
        let batches = Examples::new(support.set(), 0.0, &device).shuffled(self.batch_size, self.seed);
        let trainer = Trainer {
            schedule: Schedule { smooth: false, ..Schedule::cosine(self.learning_rate, self.epochs) },
            optimiser: Optimiser::AdamW { epsilon: Optimiser::EPSILON, weight_decay: self.weight_decay },
        };
        let scale = classes.logit_scale();
        let gradients = |net: &Net, [batch]: [Examples; 1]| {
            let loss = cross_entropy(net.logits(batch.images, scale), batch.targets);
            Ok((loss.clone().inner(), GradientsParams::from_grads(loss.backward(), net)))
        };
        let net = trainer.train(net, &batches, gradients, &mut NoMonitor, "all videos", &mut session)?;
        session.close()?;
        Ok(FittedTemporalTransformer::new(*self, frames, net.valid(), classes.clone(), device))
    }
}
