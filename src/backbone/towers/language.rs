use burn::tensor::{Device, Tensor};

use super::TextTransformer;
use super::packed::{Form, PackedText, TextPacking};
use super::transformer::BlockShape;
use crate::backbone::checkpoint::Weights;
use crate::backbone::{BackboneConfig, CheckpointLayout, Precision};
use crate::input::Tokenized;

/// A text tower and its projection.
#[derive(Debug, Clone)]
pub(in crate::backbone) struct Language {
    pub tower: TextTower,
    pub projection: Tensor<2>, // [width, embed_dim]
}

#[derive(Debug, Clone)]
pub(in crate::backbone) enum TextTower {
    Tensors(Box<TextTransformer>),
    /// On the host's processor, in f32 or in eight bits.
    Packed(PackedText),
}

impl Language {
    /// The tower as tensors or, where a form is given, packed: then its blocks are never all there as tensors.
    pub fn load(
        weights: &mut Weights,
        layout: CheckpointLayout,
        config: &BackboneConfig,
        form: Option<Form<Tokenized>>,
    ) -> Self {
        let (text, dim) = (&config.text, config.embed_dim);
        let shape = BlockShape {
            width: text.width,
            heads: text.heads,
            mlp: text.mlp,
            epsilon: text.epsilon,
            activation: text.activation,
            causal: true,
        };
        let sizes = [text.vocabulary, text.context, text.layers];
        let (mut packing, mut unpacked) = (None, Vec::new());
        let mut tower = TextTransformer::load(weights, layout, sizes, shape, |tower, block| match &form {
            Some(form) => packing.get_or_insert_with(|| TextPacking::new(tower, form)).push(&block),
            None => unpacked.push(block),
        });
        tower.blocks = unpacked;
        let projection = weights.projection(layout, layout.text().projection, text.width, dim);
        let tower = match packing.filter(|_| weights.is_sound()) {
            Some(packing) => TextTower::Packed(packing.finish(&tower, projection.clone())),
            None => TextTower::Tensors(Box::new(tower)),
        };
        Self { tower, projection }
    }

    /// The same with a tower of another precision, as [`Vision::cast`](super::Vision::cast).
    pub fn cast(self, precision: Precision, device: &Device, samples: Option<Tokenized>) -> Self {
        let Self { tower, projection } = self;
        let tower = match tower {
            TextTower::Tensors(tower) => *tower,
            TextTower::Packed(tower) => tower.unpack(device),
        };
        let tower = match precision.form(device, samples) {
            Some(form) => {
                let mut tower = Precision::F32.tower(tower);
                let mut packing = TextPacking::new(&mut tower, &form);
                std::mem::take(&mut tower.blocks).into_iter().for_each(|block| packing.push(&block));
                TextTower::Packed(packing.finish(&tower, projection.clone()))
            }
            None => TextTower::Tensors(Box::new(precision.tower(tower))),
        };
        Self { tower, projection }
    }

    /// Token ids to embeddings: `[texts, embed_dim]`.
    pub fn embeddings(&self, texts: &Tokenized, device: &Device) -> Tensor<2> {
        match &self.tower {
            TextTower::Tensors(tower) => {
                Precision::F32.tensor(tower.forward(texts)).matmul(self.projection.clone())
            }
            TextTower::Packed(tower) => tower.embeddings(texts, device),
        }
    }
}
