mod fit;
mod fitted;
mod hoso;
mod ratio;

pub use fitted::FittedClipAdapter;
pub use ratio::Ratio;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use self::fit::Fit;
use crate::adapter::{Activation, AdaptedClip, AdapterConfig, Branch, RatioKind, ResidualFusionConfig};
use crate::error::{Error, Result};
use crate::features::{Support, TextClassifier};
use crate::model::Settings;
use crate::train::{Method, Optimiser, Run, Schedule, Trainer, Warmup};

/// Which sides of CLIP get an adapter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Branches {
    /// The image features: the paper's choice.
    #[default]
    Image,
    /// The text classifier.
    Text,
    /// Both, each with its own adapter.
    Both,
}

/// CLIP-Adapter: a bottleneck after the frozen encoder, blended with the original feature.
///
/// `f* = normalise(r A(f) + (1 - r) f)`, `logits = s f* W^T`, trained with cross-entropy (Gao et al., 2021,
/// section 3, <https://arxiv.org/abs/2110.04544>). The recipe is that of the authors' code; the ratio, which they
/// search for each data set, is learned from the shots by default ([`Ratio::Hoso`]).
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `branches` | image | | which sides of CLIP get an adapter |
/// | `ratio` | hoso | 0..=1 or a name | weight of the adapted branch, or how to find it: [`Ratio`] |
/// | `reduction` | 4 | 1..=dim | the hidden layer has `dim / reduction` units |
/// | `activation` | relu | | after each of the two layers |
/// | `bias` | false | | whether the layers have biases |
/// | `epochs` | by shots | 1 or more | 50 for 1 shot, 100 for 2 to 4, else 200 |
/// | `batch_size` | 32 | 0 or more | images a step; 0 takes all at once |
/// | `learning_rate` | 0.002 | above 0 | of SGD, before the cosine |
/// | `momentum` | 0.9 | 0..1 | of SGD |
/// | `weight_decay` | 0.0005 | 0 or more | of SGD |
/// | `warmup_epochs` | 1 | 0 or more | epochs at `warmup_rate` |
/// | `warmup_rate` | 0.00001 | 0 or more | learning rate of the warm-up |
/// | `label_smoothing` | 0 | 0..1 | part of the target spread over all classes |
/// | `hold_outs` | 4 | 1 or more | rotations of the held-out shot, at most one a shot |
/// | `patience` | 20 | 1 or more | epochs without a better validation result before it stops |
/// | `seed` | 0 | | fixes initial weights and batches |
///
/// With validation images the best epoch is kept. Without, the last one.
///
/// Both learning rates are for a logit scale `s` of 100, which the weights of OpenAI's CLIP have. A smaller one
/// makes gradients smaller and asks features to move further, so that the rates are multiplied by `100 / s`.
///
/// # Examples
/// ```
/// use burn::tensor::Device;
/// use clip_adapter::{Classifier, ClipAdapter, FeatureFile, Method, methods::Ratio};
///
/// let file = FeatureFile::synthetic(0)?;
/// let method = ClipAdapter { ratio: Ratio::Fixed(0.6), epochs: Some(40), ..Default::default() };
/// let model = method.fit(&file.support(4, 1)?, file.classifier(), &Device::flex())?;
/// assert!(model.evaluate(&file.test_set("test")?)?.accuracy > 70.0);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClipAdapter {
    /// Which sides of CLIP get an adapter.
    pub branches: Branches,
    /// Weight of the adapted branch, or how to find it.
    pub ratio: Ratio,
    /// The hidden layer has `dim / reduction` units.
    pub reduction: usize,
    /// The non-linearity after each layer.
    pub activation: Activation,
    /// Whether the layers have biases.
    pub bias: bool,
    /// Passes over the shots; by their number where none is given.
    pub epochs: Option<usize>,
    /// Images a step; 0 takes all at once.
    pub batch_size: usize,
    /// Of SGD, before the cosine.
    pub learning_rate: f64,
    /// Of SGD.
    pub momentum: f64,
    /// Of SGD.
    pub weight_decay: f64,
    /// Epochs at `warmup_rate`.
    pub warmup_epochs: usize,
    /// Learning rate of the warm-up.
    pub warmup_rate: f64,
    /// Part of the target spread over all classes.
    pub label_smoothing: f64,
    /// Rotations of the held-out shot.
    pub hold_outs: usize,
    /// Epochs without a better validation result before it stops.
    pub patience: usize,
    /// Fixes initial weights and batches.
    pub seed: u64,
}

impl Default for ClipAdapter {
    fn default() -> Self {
        Self {
            branches: Branches::Image,
            ratio: Ratio::Hoso,
            reduction: 4,
            activation: Activation::Relu,
            bias: false,
            epochs: None,
            batch_size: 32,
            learning_rate: 0.002,
            momentum: 0.9,
            weight_decay: 5e-4,
            warmup_epochs: 1,
            warmup_rate: 1e-5,
            label_smoothing: 0.0,
            hold_outs: 4,
            patience: 20,
            seed: 0,
        }
    }
}

impl ClipAdapter {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first one outside.
    pub fn validate(&self, dim: usize) -> Result<()> {
        let check = |name: &str, good: bool, range: &str, found: String| {
            if good { Ok(()) } else { Err(Error::setting(name, range, found)) }
        };
        let positive = |value: f64| value.is_finite() && value > 0.0;
        let not_negative = |value: f64| value.is_finite() && value >= 0.0;
        let part = |value: f64| (0.0..1.0).contains(&value);
        self.ratio.validate()?;
        check(
            "reduction",
            (1..=dim).contains(&self.reduction),
            &format!("1..={dim}"),
            self.reduction.to_string(),
        )?;
        check("epochs", self.epochs != Some(0), "1 or more", "0".into())?;
        check("learning_rate", positive(self.learning_rate), "above 0", self.learning_rate.to_string())?;
        check("momentum", part(self.momentum), "0..1", self.momentum.to_string())?;
        check("weight_decay", not_negative(self.weight_decay), "0 or more", self.weight_decay.to_string())?;
        check("warmup_rate", not_negative(self.warmup_rate), "0 or more", self.warmup_rate.to_string())?;
        check("label_smoothing", part(self.label_smoothing), "0..1", self.label_smoothing.to_string())?;
        check("hold_outs", self.hold_outs > 0, "1 or more", "0".into())?;
        check("patience", self.patience > 0, "1 or more", "0".into())
    }

    /// An untrained network. A ratio that is not learned by gradient starts as a constant.
    /// Whether the branch that files call so is adapted.
    fn has_branch(&self, name: &str) -> bool {
        match self.branches {
            Branches::Both => true,
            Branches::Image => name == "image",
            Branches::Text => name == "text",
        }
    }

    fn network(&self, ratio: f64, classes: &TextClassifier, device: &Device) -> AdaptedClip {
        let branch = |seed: u64, kind: RatioKind| Branch {
            adapter: AdapterConfig::new(classes.dim())
                .with_reduction(self.reduction)
                .with_activation(self.activation)
                .with_bias(self.bias)
                .with_seed(seed)
                .init(device),
            fusion: ResidualFusionConfig::new().with_ratio(ratio).with_kind(kind).init(device),
        };
        let (image_kind, text_kind) = match self.ratio {
            Ratio::Learned => (RatioKind::Learned, RatioKind::Learned),
            Ratio::LearnedPerClass => {
                (RatioKind::Learned, RatioKind::PerRow { rows: classes.class_names().len() })
            }
            Ratio::Fixed(_) | Ratio::Hoso | Ratio::Search => (RatioKind::Fixed, RatioKind::Fixed),
        };
        AdaptedClip {
            image: self.has_branch("image").then(|| branch(self.seed, image_kind)),
            text: self.has_branch("text").then(|| branch(self.seed ^ (1 << 63), text_kind)), // not the image side's weights
        }
    }

    fn trainer(&self, shots: usize) -> Trainer {
        let epochs = self.epochs.unwrap_or(match shots {
            0 | 1 => 50,
            2..=4 => 100,
            _ => 200,
        });
        Trainer {
            schedule: Schedule {
                warmup: Warmup::Constant { rate: self.warmup_rate, epochs: self.warmup_epochs },
                ..Schedule::coop(self.learning_rate, epochs)
            },
            optimiser: Optimiser::Sgd { momentum: self.momentum, weight_decay: self.weight_decay },
        }
    }
}

impl Settings for ClipAdapter {
    const NAME: &'static str = "clip-adapter";
}

impl Method for ClipAdapter {
    type Fitted = FittedClipAdapter;

    fn fit_with(
        &self,
        support: &Support,
        classes: &TextClassifier,
        run: &mut Run<'_>,
    ) -> Result<FittedClipAdapter> {
        support.check(classes)?;
        self.validate(classes.dim())?;
        Fit::new(self, support, classes, run.device()).run(run)
    }
}
