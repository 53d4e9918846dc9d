use super::TowerActivation;
use crate::error::{Error, Result};

/// The sizes and switches of a CLIP, from `config.json` (Hugging Face) or `open_clip_config.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct BackboneConfig {
    /// The image tower.
    pub vision: VisionConfig,
    /// The text tower.
    pub text: TextConfig,
    /// Width of an embedding.
    pub embed_dim: usize,
}

/// The image tower.
#[derive(Debug, Clone, PartialEq)]
pub struct VisionConfig {
    /// Side of the input, in pixels.
    pub image_size: usize,
    /// Transformer width, or the ResNet's first stage's.
    pub width: usize,
    /// Attention heads, in a ResNet those of the pooling.
    pub heads: usize,
    /// The architecture.
    pub kind: VisionKind,
}

/// The image tower's architecture.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum VisionKind {
    /// Vision transformer.
    Vit {
        /// Side of a patch, in pixels.
        patch_size: usize,
        /// Blocks.
        layers: usize,
        /// Width of the hidden layer of a block's MLP.
        mlp: usize,
        /// Added to variances by layer norms.
        epsilon: f64,
        /// The MLP's non-linearity.
        activation: TowerActivation,
    },
    /// Modified ResNet.
    ResNet {
        /// Bottlenecks of each stage.
        layers: [usize; 4],
    },
}

/// The text tower.
#[derive(Debug, Clone, PartialEq)]
pub struct TextConfig {
    /// Tokens of a text.
    pub context: usize,
    /// Token ids.
    pub vocabulary: usize,
    /// Transformer width.
    pub width: usize,
    /// Attention heads.
    pub heads: usize,
    /// Blocks.
    pub layers: usize,
    /// Width of the hidden layer of a block's MLP.
    pub mlp: usize,
    /// Added to variances by layer norms.
    pub epsilon: f64,
    /// The MLP's non-linearity.
    pub activation: TowerActivation,
    /// The end token's id; none where the largest id of a text is meant.
    pub end: Option<u32>,
}

/// Sizes beyond this are a damaged file, not a model.
const MAX_SIZE: usize = 1 << 20;

/// So are patch embeddings of more weights than this: a thousand times the largest public one.
const MAX_EMBEDDING: usize = 1 << 30;

impl BackboneConfig {
    /// Checks that the sizes are possible.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first one that is not, such as heads that do not divide the width.
    pub fn validate(&self) -> Result<()> {
        let size = |name: &str, value: usize| match value {
            1..=MAX_SIZE => Ok(()),
            _ => Err(Error::setting(name, format!("1..={MAX_SIZE}"), value)),
        };
        let divides = |name: &str, part: usize, whole: usize| match whole.checked_rem(part) {
            Some(0) => Ok(()),
            _ => Err(Error::setting(name, format!("a divisor of {whole}"), part)),
        };
        let positive = |epsilon: f64| match epsilon > 0.0 && epsilon.is_finite() {
            true => Ok(()),
            false => Err(Error::setting("layer_norm_eps", "above 0", epsilon)),
        };
        let (vision, text) = (&self.vision, &self.text);
        for (name, value) in [
            ("projection dimension", self.embed_dim),
            ("image size", vision.image_size),
            ("vision width", vision.width),
            ("vision heads", vision.heads),
            ("context length", text.context),
            ("vocabulary size", text.vocabulary),
            ("text width", text.width),
            ("text heads", text.heads),
            ("text MLP width", text.mlp),
        ] {
            size(name, value)?;
        }
        divides("text heads", text.heads, text.width)?;
        positive(text.epsilon)?;
        let layers = match &vision.kind {
            VisionKind::Vit { patch_size, layers, mlp, epsilon, .. } => {
                size("patch size", *patch_size)?;
                size("vision MLP width", *mlp)?;
                positive(*epsilon)?;
                divides("vision heads", vision.heads, vision.width)?;
                divides("patch size", *patch_size, vision.image_size)?;
                let embedding = patch_size.pow(2).saturating_mul(3 * vision.width);
                if embedding > MAX_EMBEDDING {
                    return Err(Error::setting("patch size", "one that a file could hold", patch_size));
                }
                *layers
            }
            VisionKind::ResNet { layers } => {
                divides("vision width", 2, vision.width)
                    .map_err(|_| Error::setting("vision width", "an even number", vision.width))?;
                divides("vision heads", vision.heads, 32 * vision.width)?;
                divides("image size", 32, vision.image_size)
                    .map_err(|_| Error::setting("image size", "a multiple of 32", vision.image_size))?;
                *layers.iter().max().unwrap_or(&0)
            }
        };
        for (name, layers) in [("vision layers", layers), ("text layers", text.layers)] {
            if layers > 1000 {
                return Err(Error::setting(name, "0..=1000", layers));
            }
        }
        Ok(())
    }
}
