use burn::{
    module::{Module, Param},
    nn::{LayerNorm, LayerNormConfig},
    tensor::Tensor,
};

use super::transformer::{Block, BlockShape, forward_at, norm};
use crate::backbone::CheckpointLayout;
use crate::backbone::checkpoint::{Checkpoint, Weights};
use crate::error::Result;

/// A vision transformer (Dosovitskiy et al., 2020, <https://arxiv.org/abs/2010.11929>) with CLIP's norm before
/// the blocks.
#[derive(Module, Debug)]
pub(in crate::backbone) struct VisionTransformer {
    pub(super) patch: Param<Tensor<2>>, // [3 patch patch, width]
    pub(super) class: Param<Tensor<1>>,
    pub(super) position: Param<Tensor<2>>, // [1 + patches, width]
    pub(super) pre_norm: LayerNorm,
    pub(super) blocks: Vec<Block>,
    pub(super) post_norm: LayerNorm,
    pub(super) patch_size: usize,
    pub(super) epsilon: f64,
}

impl VisionTransformer {
    /// A tower of `[image_size, patch_size, layers]` without its blocks: each goes to `take` with what was before it. Of
    /// blocks whose tensors are missing, or come after such, none does.
    pub(super) fn load(
        weights: &mut Weights,
        layout: CheckpointLayout,
        [image_size, patch_size, layers]: [usize; 3],
        shape: BlockShape,
        mut take: impl FnMut(&Self, Block),
    ) -> Self {
        let (width, side) = (shape.width, image_size / patch_size);
        let names = layout.vision();
        let mut tower = Self {
            patch: Param::from_tensor(weights.kernel(names.patch, [width, 3, patch_size, patch_size])),
            class: Param::from_tensor(weights.tensor(names.class, [width])),
            position: Param::from_tensor(weights.tensor(names.position, [side * side + 1, width])),
            pre_norm: norm(weights, names.pre_norm, width, shape.epsilon),
            blocks: Vec::new(),
            post_norm: LayerNormConfig::new(width).init(weights.device()),
            patch_size,
            epsilon: shape.epsilon,
        };
        for index in 0..layers {
            let block = Block::load(weights, &layout.vision_block(index), shape);
            if weights.is_sound() {
                take(&tower, block);
            }
        }
        tower.post_norm = norm(weights, names.post_norm, width, shape.epsilon);
        tower
    }

    /// The inverse of loading it.
    pub fn store(&self, checkpoint: &mut Checkpoint) -> Result<()> {
        let names = CheckpointLayout::HuggingFace.vision();
        checkpoint.patches(names.patch, self.patch.val(), self.patch_size)?;
        checkpoint.tensor(names.class, self.class.val())?;
        checkpoint.tensor(names.position, self.position.val())?;
        checkpoint.norm(names.pre_norm, &self.pre_norm)?;
        checkpoint.norm(names.post_norm, &self.post_norm)?;
        let mut blocks = self.blocks.iter().enumerate();
        blocks.try_for_each(|(index, block)| {
            block.store(checkpoint, &CheckpointLayout::HuggingFace.vision_block(index))
        })
    }

    /// The tokens of an image: its patches and the class token.
    pub fn tokens(&self) -> usize {
        self.position.val().dims()[0]
    }

    /// Pixels `[batch, 3, side, side]` to the class token's feature `[batch, width]`, before the projection.
    pub fn forward(&self, pixels: Tensor<4>) -> Tensor<2> {
        let batch = pixels.dims()[0];
        let x = self.embed(pixels);
        self.post_norm.forward(forward_at(&self.blocks, x, &vec![0; batch]))
    }

    /// Pixels `[batch, 3, side, side]` to the patches' features `[batch, patches, width]`, as the last block leaves
    /// them.
    pub fn patches(&self, pixels: Tensor<4>) -> Tensor<3> {
        let patches = self.tokens() - 1;
        let x = self.blocks.iter().fold(self.embed(pixels), |x, block| block.forward(x));
        x.narrow(1, 1, patches)
    }

    /// What the last block's attention has to take of each patch, with the norm that the class token has before the
    /// projection.
    pub fn patch_values(&self, pixels: Tensor<4>) -> Tensor<3> {
        let patches = self.tokens() - 1;
        let x = self.embed(pixels);
        let x = match self.blocks.split_last() {
            Some((last, others)) => last.values(others.iter().fold(x, |x, block| block.forward(x))),
            None => x,
        };
        self.post_norm.forward(x.narrow(1, 1, patches))
    }

    /// `[batch, 1 + patches, width]`: class token and patches with their positions, normalised.
    fn embed(&self, pixels: Tensor<4>) -> Tensor<3> {
        let [batch, channels, height, width] = pixels.dims();
        let (patch, rows, columns) = (self.patch_size, height / self.patch_size, width / self.patch_size);
        // A convolution whose stride is its kernel is one product over flattened patches.
        let patches = pixels
            .reshape([batch, channels, rows, patch, columns, patch])
            .permute([0, 2, 4, 1, 3, 5])
            .reshape([batch * rows * columns, channels * patch * patch])
            .matmul(self.patch.val());
        let dim = self.class.val().dims()[0];
        let patches = patches.reshape([batch, rows * columns, dim]);
        let class = self.class.val().reshape([1, 1, dim]).expand([batch, 1, dim]);
        let tokens = Tensor::cat(vec![class, patches], 1);
        self.pre_norm.forward(tokens + self.position.val().unsqueeze())
    }
}
