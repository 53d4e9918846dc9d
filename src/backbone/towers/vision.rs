use burn::tensor::{Device, Tensor};

use super::packed::{Form, PackedVision, VisionPacking};
use super::transformer::BlockShape;
use super::{VisionTransformer, resnet::ModifiedResNet};
use crate::backbone::checkpoint::Weights;
use crate::backbone::{BackboneConfig, CheckpointLayout, Precision, VisionKind};
use crate::error::{Error, Result};

/// Rows of a product that one lane works on: so many that the weights are read seldom, and so few that what a layer
/// makes of them stays in the cache.
const TOKENS_AT_ONCE: usize = 200;

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
    /// A ViT on the host's processor that computes in f32 or in eight bits.
    Packed(PackedVision),
    ResNet(Box<ModifiedResNet>),
}

impl Vision {
    /// The tower as tensors or, where a form is given and it is a ViT, packed: then it is never whole as tensors.
    pub fn load(
        weights: &mut Weights,
        layout: CheckpointLayout,
        config: &BackboneConfig,
        form: Option<Form<Tensor<4>>>,
    ) -> Self {
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
                let sizes = [vision.image_size, *patch_size, *layers];
                let (mut packing, mut unpacked) = (None, Vec::new());
                let mut tower =
                    VisionTransformer::load(weights, layout, sizes, shape, |tower, block| match &form {
                        Some(form) => {
                            packing.get_or_insert_with(|| VisionPacking::new(tower, form)).push(&block)
                        }
                        None => unpacked.push(block),
                    });
                tower.blocks = unpacked;
                let weight = weights.projection(layout, layout.vision().projection, vision.width, dim);
                let tower = match packing.filter(|_| weights.is_sound()) {
                    Some(packing) => Tower::Packed(packing.finish(&tower, weight.clone())),
                    None => Tower::Vit(Box::new(tower)),
                };
                Self { tower, projection: VisualProjection { weight, bias: None } }
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

    /// The same with a tower of another precision. A ViT in f32 or in eight bits is laid out for the host's kernels
    /// where the device is the host; a ResNet stays in f32 where eight bits are asked for.
    pub fn cast(self, precision: Precision, device: &Device, samples: Option<Tensor<4>>) -> Self {
        let Self { tower, projection } = self;
        let tower = match tower {
            Tower::ResNet(tower) => Tower::ResNet(Box::new(precision.tower(*tower))),
            Tower::Vit(tower) => Self::cast_vit(*tower, &projection, precision, device, samples),
            Tower::Packed(tower) => {
                Self::cast_vit(tower.unpack(device), &projection, precision, device, samples)
            }
        };
        Self { tower, projection }
    }

    fn cast_vit(
        tower: VisionTransformer,
        projection: &VisualProjection,
        precision: Precision,
        device: &Device,
        samples: Option<Tensor<4>>,
    ) -> Tower {
        match precision.form(device, samples) {
            Some(form) => {
                let mut tower = Precision::F32.tower(tower);
                let mut packing = VisionPacking::new(&tower, &form);
                std::mem::take(&mut tower.blocks).into_iter().for_each(|block| packing.push(&block));
                Tower::Packed(packing.finish(&tower, projection.weight.clone()))
            }
            None => Tower::Vit(Box::new(precision.tower(tower))),
        }
    }

    /// How many images a lane encodes at once.
    pub fn at_once(&self) -> usize {
        match &self.tower {
            Tower::Vit(tower) => (TOKENS_AT_ONCE / tower.tokens()).max(1),
            Tower::Packed(tower) => (TOKENS_AT_ONCE / tower.tokens()).max(1),
            Tower::ResNet(_) => RESNET_AT_ONCE,
        }
    }

    /// Pixels `[batch, 3, side, side]`, in the tower's precision, to embeddings: `[batch, embed_dim]`.
    pub fn embeddings(&self, pixels: Tensor<4>) -> Tensor<2> {
        match &self.tower {
            Tower::Packed(tower) => tower.embeddings(pixels),
            _ => self.projection.forward(Precision::F32.tensor(self.features(pixels))),
        }
    }

    /// Pixels to what is projected: `[batch, features]`.
    pub fn features(&self, pixels: Tensor<4>) -> Tensor<2> {
        match &self.tower {
            Tower::Packed(tower) => tower.forward(pixels),
            Tower::Vit(tower) => tower.forward(pixels),
            Tower::ResNet(tower) => tower.forward(pixels),
        }
    }

    /// Pixels to the features of a ViT's patches: `[batch, patches, width]`.
    pub fn patches(&self, pixels: Tensor<4>) -> Result<Tensor<3>> {
        match &self.tower {
            Tower::Vit(tower) => Ok(tower.patches(pixels)),
            Tower::Packed(tower) => Ok(tower.patches(pixels)),
            Tower::ResNet(_) => Err(Error::unsupported("patch features", "a ViT", "a ResNet")),
        }
    }

    /// What the last block has to take of each patch, normed as the class token is before the projection.
    pub fn patch_values(&self, pixels: Tensor<4>) -> Result<Tensor<3>> {
        match &self.tower {
            Tower::Vit(tower) => Ok(tower.patch_values(pixels)),
            Tower::Packed(tower) => Ok(tower.patch_values(pixels)),
            Tower::ResNet(_) => Err(Error::unsupported("patch embeddings", "a ViT", "a ResNet")),
        }
    }
}
