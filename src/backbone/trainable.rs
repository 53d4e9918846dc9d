use std::path::Path;

use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor, TensorData},
};

use super::checkpoint::{Checkpoint, Description, Initial, Weights, describe, weight_files};
use super::towers::{Language, TextTower, TextTransformer, Tower, Vision, VisionTransformer};
use super::{BackboneConfig, CheckpointLayout};
use crate::error::{Error, Result};
use crate::features::{contrastive_logits, normalise};
use crate::input::{Preprocess, Tokenized};

/// CLIP never multiplies its cosines with more.
const MAX_LOGIT_SCALE: f64 = 100.0;

/// A CLIP whose towers themselves train: an ordinary Burn module, for pre-training from nothing and for full
/// fine-tuning.
///
/// Everything that adapts a frozen CLIP takes [`ClipBackbone`](super::ClipBackbone), which never trains. This type
/// has the same towers as parameters. [`save`](Self::save) writes what
/// [`ClipBackbone::from_pretrained`](super::ClipBackbone::from_pretrained) reads.
///
/// # Examples
/// ```
/// use burn::{optim::GradientsParams, tensor::{Device, Tensor}};
/// use clip_adapter::backbone::{BackboneConfig, TextConfig, TowerActivation, TrainableClip, VisionConfig, VisionKind};
/// use clip_adapter::input::{Preprocess, Tokenized};
///
/// let activation = TowerActivation::QuickGelu;
/// let config = BackboneConfig {
///     vision: VisionConfig {
///         image_size: 16,
///         width: 32,
///         heads: 2,
///         kind: VisionKind::Vit { patch_size: 8, layers: 1, mlp: 64, epsilon: 1e-5, activation },
///     },
///     text: TextConfig {
///         context: 8, vocabulary: 50, width: 32, heads: 2, layers: 1, mlp: 64, epsilon: 1e-5, activation,
///         end: Some(49),
///     },
///     embed_dim: 16,
/// };
/// let preprocess = Preprocess { resize: 16, crop: 16, ..Default::default() };
/// let device = Device::flex().autodiff();
/// let clip = TrainableClip::random(&config, &preprocess, 7, &device)?;
///
/// let images = clip.image_embeddings(Tensor::ones([2, 3, 16, 16], &device));
/// let texts = Tokenized { ids: vec![vec![48, 1, 49, 49, 49, 49, 49, 49]; 3], ends: vec![2; 3] };
/// let logits = clip.logits(images, clip.text_embeddings(&texts));
/// assert_eq!(logits.dims(), [2, 3]);
/// let gradients = GradientsParams::from_grads(logits.sum().backward(), &clip);
/// assert_eq!(gradients.len(), 38); // every tensor of the checkpoint, with query, key and value as one
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Module, Debug)]
pub struct TrainableClip {
    vision: VisionTransformer,
    visual_projection: Param<Tensor<2>>, // [width, embed_dim]
    text: TextTransformer,
    text_projection: Param<Tensor<2>>, // [width, embed_dim]
    logit_scale: Param<Tensor<1>>,     // its logarithm
    #[module(skip)]
    config: BackboneConfig,
    #[module(skip)]
    preprocess: Preprocess,
}

impl TrainableClip {
    /// Towers with the initial weights of CLIP's released code, drawn on the host from `seed`.
    ///
    /// # Errors
    /// [`Error::Setting`] for sizes that are impossible, [`Error::Unsupported`] for an image tower that is not a vision
    /// transformer.
    pub fn random(
        config: &BackboneConfig,
        preprocess: &Preprocess,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        config.validate()?;
        preprocess.validate()?;
        let mut weights = Weights::random(Initial::new(config, seed), device);
        Self::load(&mut weights, CheckpointLayout::HuggingFace, config.clone(), preprocess.clone())
    }

    /// Loads a checkpoint from a folder, as [`ClipBackbone`](super::ClipBackbone) does; to train, onto a device
    /// with autodiff.
    ///
    /// # Errors
    /// As [`ClipBackbone::from_pretrained`](super::ClipBackbone::from_pretrained); [`Error::Unsupported`] if the image
    /// tower is not a vision transformer.
    pub fn from_pretrained(folder: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let folder = folder.as_ref();
        let Description { layout, config, preprocess, .. } = describe(folder)?;
        let mut weights = Weights::open(&weight_files(folder, layout)?, device)?;
        let clip = Self::load(&mut weights, layout, config, preprocess)?;
        weights.finish(folder)?;
        Ok(clip)
    }

    fn load(
        weights: &mut Weights,
        layout: CheckpointLayout,
        config: BackboneConfig,
        preprocess: Preprocess,
    ) -> Result<Self> {
        let Vision { tower: Tower::Vit(vision), projection } = Vision::load(weights, layout, &config, None)
        else {
            return Err(Error::unsupported("image tower", "a vision transformer", "a ResNet"));
        };
        let Language { tower: TextTower::Tensors(text), projection: text_projection } =
            Language::load(weights, layout, &config, None)
        else {
            unreachable!("no form to be packed in");
        };
        let scale = TensorData::new(vec![weights.scalar("logit_scale")], [1]);
        Ok(Self {
            vision: *vision,
            visual_projection: Param::from_tensor(projection.weight),
            text: *text,
            text_projection: Param::from_tensor(text_projection),
            logit_scale: Param::from_data(scale, weights.device()),
            config,
            preprocess,
        })
    }

    /// Sizes and switches.
    pub fn config(&self) -> &BackboneConfig {
        &self.config
    }

    /// How images become pixels.
    pub fn preprocess(&self) -> &Preprocess {
        &self.preprocess
    }

    /// Image embeddings, not normalised.
    ///
    /// # Shapes
    /// - `pixels`: `[batch, 3, image_size, image_size]`, preprocessed
    /// - returns: `[batch, embed_dim]`
    ///
    /// # Panics
    /// If the pixels have another shape.
    pub fn image_embeddings(&self, pixels: Tensor<4>) -> Tensor<2> {
        self.vision.forward(pixels).matmul(self.visual_projection.val())
    }

    /// Text embeddings, not normalised.
    ///
    /// # Shapes
    /// - `tokens`: `[texts, context]`
    /// - returns: `[texts, embed_dim]`
    pub fn text_embeddings(&self, tokens: &Tokenized) -> Tensor<2> {
        self.text.forward(tokens).matmul(self.text_projection.val())
    }

    /// The cosine of every row of one with every row of the other, times the learned logit scale, at most 100.
    ///
    /// # Shapes
    /// - `images`: `[batch, embed_dim]`
    /// - `texts`: `[texts, embed_dim]`
    /// - returns: `[batch, texts]`
    pub fn logits(&self, images: Tensor<2>, texts: Tensor<2>) -> Tensor<2> {
        let scale: Tensor<2> = self.logit_scale.val().exp().clamp_max(MAX_LOGIT_SCALE).unsqueeze(); // [1, 1]
        contrastive_logits(normalise(images) * scale, normalise(texts), 1.0)
    }

    /// Writes `model.safetensors` (16 bits), `config.json` and `preprocessor_config.json` as Hugging Face
    /// transformers does. A `tokenizer.json` beside them makes it a whole checkpoint.
    ///
    /// # Errors
    /// [`Error::Write`] if the folder cannot be written; [`Error::Data`] if a weight is not finite.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<()> {
        let mut checkpoint = Checkpoint::new();
        self.vision.store(&mut checkpoint)?;
        checkpoint.transposed("visual_projection.weight", self.visual_projection.val())?;
        self.text.store(&mut checkpoint)?;
        checkpoint.transposed("text_projection.weight", self.text_projection.val())?;
        let scale = self.logit_scale.val().clamp_max(MAX_LOGIT_SCALE.ln());
        checkpoint.scalar("logit_scale", scale)?;
        checkpoint.write(folder.as_ref(), &self.config, &self.preprocess)
    }
}
