use burn::{
    module::{Module, Param},
    nn::LayerNorm,
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
    token: Param<Tensor<2>>,    // [vocabulary, width]
    position: Param<Tensor<2>>, // [context, width]
    blocks: Vec<Block>,
    final_norm: LayerNorm,
}

impl TextTransformer {
    pub fn load(
        weights: &mut Weights,
        layout: CheckpointLayout,
        vocabulary: usize,
        context: usize,
        layers: usize,
        shape: BlockShape,
    ) -> Self {
        let names = layout.text();
        Self {
            token: Param::from_tensor(weights.tensor(names.token, [vocabulary, shape.width])),
            position: Param::from_tensor(weights.tensor(names.position, [context, shape.width])),
            blocks: (0..layers).map(|index| Block::load(weights, &layout.text_block(index), shape)).collect(),
            final_norm: norm(weights, names.final_norm, shape.width, shape.epsilon),
        }
    }

    /// The inverse of [`load`](Self::load).
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
