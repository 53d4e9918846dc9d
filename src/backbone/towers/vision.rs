use burn::tensor::Tensor;

use super::{BlockShape, VisionTransformer, resnet::ModifiedResNet};
use crate::backbone::checkpoint::Weights;
use crate::backbone::{BackboneConfig, CheckpointLayout, Precision, VisionKind};
use crate::error::{Error, Result};

/// Rows of a product that one lane works on: so many that the weights are packed seldom, and so few that what a layer
/// makes of them is memory that the allocator keeps.
const TOKENS_AT_ONCE: usize = 800;

/// Images that one lane takes through a ResNet at once.
const RESNET_AT_ONCE: usize = 4;

/// The last layer of an image tower, from features to embeddings: `e = f P + b`. ProLIP trains it.
///
/// In a ResNet it is the output of the attention pooling and has a bias; in a ViT it has none.
#[derive(Debug, Clone)]
pub struct VisualProjection {
    /// `P`: `[features, embed_dim]`.
    pub weight: Tensor<2>,
    /// `b`: `[embed_dim]`.
    pub bias: Option<Tensor<1>>,
}

impl VisualProjection {
    /// Features to embeddings, not normalised.
    ///
    /// # Shapes
    /// - `features`: `[batch, features]`
    /// - returns: `[batch, embed_dim]`
    ///
    /// # Panics
    /// If the width of `features` is another.
    pub fn forward(&self, features: Tensor<2>) -> Tensor<2> {
        let embeddings = features.matmul(self.weight.clone());
        match &self.bias {
            Some(bias) => embeddings + bias.clone().unsqueeze(),
            None => embeddings,
        }
    }
}

/// An image tower and its projection.
#[derive(Debug, Clone)]
pub(in crate::backbone) struct Vision {
    pub tower: Tower,
    pub projection: VisualProjection,
}

#[derive(Debug, Clone)]
pub(in crate::backbone) enum Tower {
    Vit(Box<VisionTransformer>),
    ResNet(Box<ModifiedResNet>),
}

impl Vision {
    pub fn load(weights: &mut Weights, layout: CheckpointLayout, config: &BackboneConfig) -> Self {
        let (vision, dim) = (&config.vision, config.embed_dim);
        match &vision.kind {
            VisionKind::Vit { patch_size, layers, mlp, epsilon, activation } => {
                let shape = BlockShape {
                    width: vision.width,
                    heads: vision.heads,
                    mlp: *mlp,
                    epsilon: *epsilon,
                    activation: *activation,
                    causal: false,
                };
                let tower =
                    VisionTransformer::load(weights, layout, vision.image_size, *patch_size, *layers, shape);
                let weight = match layout {
                    CheckpointLayout::HuggingFace => {
                        weights.transposed("visual_projection.weight", dim, vision.width)
                    }
                    CheckpointLayout::OpenClip => weights.tensor("visual.proj", [vision.width, dim]),
                };
                let projection = VisualProjection { weight, bias: None };
                Self { tower: Tower::Vit(Box::new(tower)), projection }
            }
            VisionKind::ResNet { layers } => {
                let tower =
                    ModifiedResNet::load(weights, vision.image_size, *layers, vision.width, vision.heads);
                let weight = weights.transposed("visual.attnpool.c_proj.weight", dim, 32 * vision.width);
                let bias = weights.tensor("visual.attnpool.c_proj.bias", [dim]);
                let projection = VisualProjection { weight, bias: Some(bias) };
                Self { tower: Tower::ResNet(Box::new(tower)), projection }
            }
        }
    }

    /// The same with a tower of another precision.
    pub fn cast(self, precision: Precision) -> Self {
        let tower = match self.tower {
            Tower::Vit(tower) => Tower::Vit(Box::new(precision.tower(*tower))),
            Tower::ResNet(tower) => Tower::ResNet(Box::new(precision.tower(*tower))),
        };
        Self { tower, projection: self.projection }
    }

    /// How many images a lane encodes at once.
    pub fn at_once(&self) -> usize {
        match &self.tower {
            Tower::Vit(tower) => (TOKENS_AT_ONCE / tower.tokens()).max(1),
            Tower::ResNet(_) => RESNET_AT_ONCE,
        }
    }

    /// Pixels `[batch, 3, side, side]` to what is projected: `[batch, features]`.
    pub fn features(&self, pixels: Tensor<4>) -> Tensor<2> {
        match &self.tower {
            Tower::Vit(tower) => tower.forward(pixels),
            Tower::ResNet(tower) => tower.forward(pixels),
        }
    }

    /// Pixels to the features of a ViT's patches: `[batch, patches, width]`.
    pub fn patches(&self, pixels: Tensor<4>) -> Result<Tensor<3>> {
        match &self.tower {
            Tower::Vit(tower) => Ok(tower.patches(pixels)),
            Tower::ResNet(_) => Err(Error::unsupported("patch features", "a ViT", "a ResNet")),
        }
    }

    /// What the last block has to take of each patch, normed as the class token is before the projection.
    pub fn patch_values(&self, pixels: Tensor<4>) -> Result<Tensor<3>> {
        match &self.tower {
            Tower::Vit(tower) => Ok(tower.patch_values(pixels)),
            Tower::ResNet(_) => Err(Error::unsupported("patch embeddings", "a ViT", "a ResNet")),
        }
    }
}
