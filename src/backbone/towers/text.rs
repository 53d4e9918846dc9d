use burn::{
    module::{Module, Param},
    nn::{LayerNorm, LayerNormConfig},
    tensor::{Int, Tensor, TensorData, module::embedding},
};

use super::transformer::{Block, BlockShape, forward_at, norm};
use crate::backbone::CheckpointLayout;
use crate::backbone::checkpoint::{Checkpoint, Weights};
use crate::error::Result;
use crate::input::Tokenized;

/// CLIP's text transformer: causal attention, and the end token's feature stands for the text.
#[derive(Module, Debug)]
pub(in crate::backbone) struct TextTransformer {
    pub(super) token: Param<Tensor<2>>,    // [vocabulary, width]
    pub(super) position: Param<Tensor<2>>, // [context, width]
    pub(super) blocks: Vec<Block>,
    pub(super) final_norm: LayerNorm,
    pub(super) epsilon: f64,
}

impl TextTransformer {
    /// A tower of `[vocabulary, context, layers]` without its blocks, which go to `take` as those of a
    /// [`VisionTransformer`](super::VisionTransformer) do.
    pub(super) fn load(
        weights: &mut Weights,
        layout: CheckpointLayout,
        [vocabulary, context, layers]: [usize; 3],
        shape: BlockShape,
        mut take: impl FnMut(&mut Self, Block),
    ) -> Self {
        let names = layout.text();
        let mut tower = Self {
            token: Param::from_tensor(weights.tensor(names.token, [vocabulary, shape.width])),
            position: Param::from_tensor(weights.tensor(names.position, [context, shape.width])),
            blocks: Vec::new(),
            final_norm: LayerNormConfig::new(shape.width).init(weights.device()),
            epsilon: shape.epsilon,
        };
        for index in 0..layers {
            let block = Block::load(weights, &layout.text_block(index), shape);
            if weights.is_sound() {
                take(&mut tower, block);
            }
        }
        tower.final_norm = norm(weights, names.final_norm, shape.width, shape.epsilon);
        tower
    }

    /// The inverse of loading it.
    pub fn store(&self, checkpoint: &mut Checkpoint) -> Result<()> {
        let names = CheckpointLayout::HuggingFace.text();
        checkpoint.tensor(names.token, self.token.val())?;
        checkpoint.tensor(names.position, self.position.val())?;
        checkpoint.norm(names.final_norm, &self.final_norm)?;
        let mut blocks = self.blocks.iter().enumerate();
        blocks.try_for_each(|(index, block)| {
            block.store(checkpoint, &CheckpointLayout::HuggingFace.text_block(index))
        })
    }

    /// Token ids to the end tokens' features `[texts, width]`, before the projection.
    pub fn forward(&self, tokens: &Tokenized) -> Tensor<2> {
        let device = self.token.val().device();
        // Attention looks back only: what follows the last end token changes nothing and is left out.
        let (texts, length) = (tokens.ids.len(), tokens.ends.iter().max().map_or(1, |end| end + 1));
        let ids: Vec<i64> =
            tokens.ids.iter().flat_map(|ids| ids[..length].iter().map(|&id| i64::from(id))).collect();
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [texts, length]), &device);
        let positions = self.position.val().narrow(0, 0, length).unsqueeze();
        let x = embedding(self.token.val(), ids) + positions; // [texts, length, width]
        self.final_norm.forward(forward_at(&self.blocks, x, &tokens.ends))
    }
}
