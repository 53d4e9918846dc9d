use std::{fmt, sync::Arc};

use burn::{
    module::Param,
    tensor::{Device, Tensor},
};

use super::block::{Norm, PackedBlock, Sequences, forward};
use super::packing::{
    Form, Samples, floats, layer_norm, matrix, norm, pack, store, store_block, store_norm, tensor, unpack,
};
use super::product::{Product, Rows, Sums};
use crate::backbone::checkpoint::Quantised;
use crate::backbone::towers::{transformer::Block, vit::VisionTransformer};

/// A [`VisionTransformer`] and the projection after it, laid out for the kernels.
#[derive(Clone)]
pub(in crate::backbone) struct PackedVision(Arc<Parts>);

struct Parts {
    embedding: Embedding,
    blocks: Vec<PackedBlock>,
    post_norm: Norm,
    projection: Product,
}

/// From pixels to what goes into the first block.
struct Embedding {
    patch: Product, // without a bias
    class: Vec<f32>,
    position: Vec<f32>, // [1 + patches, width]
    pre_norm: Norm,
    patch_size: usize,
}

/// A [`PackedVision`] whose blocks come one after the other.
pub(in crate::backbone) struct VisionPacking {
    embedding: Embedding,
    blocks: Vec<PackedBlock>,
    form: Form<Samples>,
}

impl VisionPacking {
    /// From what stands before the blocks of a tower. Samples are preprocessed pixels.
    pub fn new(tower: &VisionTransformer, form: &Form<Tensor<4>>) -> Self {
        let embedding = |patch| Embedding {
            patch,
            class: floats(tower.class.val()),
            position: floats(tower.position.val()),
            pre_norm: norm(&tower.pre_norm, tower.epsilon),
            patch_size: tower.patch_size,
        };
        let (patch, nothing) = (floats(tower.patch.val()), vec![0.0; tower.class.val().dims()[0]]);
        let samples = form.then(|pixels| {
            let exact = embedding(Product::floats(&patch, nothing.clone()));
            Samples { x: exact.forward(pixels.clone()), sequences: exact.sequences(pixels.dims()[0]) }
        });
        Self { embedding: embedding(form.product(patch, nothing)), blocks: Vec::new(), form: samples }
    }

    pub fn push(&mut self, block: &Block) {
        self.blocks.push(pack(block, &mut self.form));
    }

    /// With what stands behind the blocks. The projection, `[width, embed_dim]`, stays in f32.
    pub fn finish(self, tower: &VisionTransformer, projection: Tensor<2>) -> PackedVision {
        let Self { embedding, blocks, .. } = self;
        let nothing = vec![0.0; projection.dims()[1]];
        let projection = Product::floats(&floats(projection), nothing);
        PackedVision(Arc::new(Parts {
            embedding,
            blocks,
            post_norm: norm(&tower.post_norm, tower.epsilon),
            projection,
        }))
    }
}

impl PackedVision {
    /// The tower that was packed, up to the bits that were dropped.
    pub fn unpack(&self, device: &Device) -> VisionTransformer {
        let Parts { embedding, blocks, post_norm, .. } = &*self.0;
        let width = embedding.class.len();
        let position = embedding.position.clone();
        VisionTransformer {
            patch: Param::from_tensor(matrix(&embedding.patch, device)),
            class: Param::from_tensor(tensor(embedding.class.clone(), [width], device)),
            position: Param::from_tensor(tensor(position, [embedding.tokens(), width], device)),
            pre_norm: layer_norm(&embedding.pre_norm, device),
            blocks: unpack(blocks, device),
            post_norm: layer_norm(post_norm, device),
            patch_size: embedding.patch_size,
            epsilon: post_norm.epsilon.into(),
        }
    }

    /// Writes a tower in eight bits.
    pub fn store(&self, into: &mut Quantised) {
        let Parts { embedding, blocks, post_norm, projection } = &*self.0;
        let (layout, side, width) = (into.layout, embedding.patch_size, embedding.class.len());
        let names = layout.vision();
        store(&embedding.patch, into, names.patch, &[width, 3, side, side]);
        into.floats(names.class, &[width], &embedding.class);
        into.floats(names.position, &[embedding.tokens(), width], &embedding.position);
        store_norm(&embedding.pre_norm, into, names.pre_norm);
        for (index, block) in blocks.iter().enumerate() {
            store_block(block, into, &layout.vision_block(index));
        }
        store_norm(post_norm, into, names.post_norm);
        into.projection(names.projection, &projection.numbers(), projection.outputs());
    }

    /// The tokens of an image: its patches and the class token.
    pub fn tokens(&self) -> usize {
        self.0.embedding.tokens()
    }

    /// Pixels `[batch, 3, side, side]` to embeddings `[batch, embed_dim]`.
    pub fn embeddings(&self, pixels: Tensor<4>) -> Tensor<2> {
        let (batch, device) = (pixels.dims()[0], pixels.device());
        let projection = &self.0.projection;
        tensor(projection.all(&self.class_tokens(pixels)), [batch, projection.outputs()], &device)
    }

    /// As [`VisionTransformer::forward`].
    pub fn forward(&self, pixels: Tensor<4>) -> Tensor<2> {
        let (batch, device) = (pixels.dims()[0], pixels.device());
        tensor(self.class_tokens(pixels), [batch, self.0.embedding.class.len()], &device)
    }

    fn class_tokens(&self, pixels: Tensor<4>) -> Vec<f32> {
        let Parts { embedding, blocks, .. } = &*self.0;
        let places = vec![0; pixels.dims()[0]];
        let sequences = embedding.sequences(places.len());
        let mut x = forward(blocks, embedding.forward(pixels), &sequences, Some(&places));
        self.0.post_norm.apply_to(&mut x);
        x
    }

    /// As [`VisionTransformer::patches`].
    pub fn patches(&self, pixels: Tensor<4>) -> Tensor<3> {
        self.without_class(pixels, |blocks, x, sequences| forward(blocks, x, sequences, None))
    }

    /// As [`VisionTransformer::patch_values`].
    pub fn patch_values(&self, pixels: Tensor<4>) -> Tensor<3> {
        self.without_class(pixels, |blocks, x, sequences| {
            let mut x = match blocks.split_last() {
                Some((last, others)) => last.values(&forward(others, x, sequences, None)),
                None => x,
            };
            self.0.post_norm.apply_to(&mut x);
            x
        })
    }

    fn without_class(
        &self,
        pixels: Tensor<4>,
        pass: impl FnOnce(&[PackedBlock], Vec<f32>, &Sequences) -> Vec<f32>,
    ) -> Tensor<3> {
        let (batch, device) = (pixels.dims()[0], pixels.device());
        let Parts { embedding, blocks, .. } = &*self.0;
        let (tokens, width) = (embedding.tokens(), embedding.class.len());
        let x = pass(blocks, embedding.forward(pixels), &embedding.sequences(batch));
        tensor(x, [batch, tokens, width], &device).narrow(1, 1, tokens - 1)
    }
}

impl Embedding {
    fn tokens(&self) -> usize {
        self.position.len() / self.class.len()
    }

    fn sequences(&self, batch: usize) -> Sequences {
        Sequences::of(std::iter::repeat_n(self.tokens(), batch))
    }

    /// `[batch tokens, width]`: class token and patches with their positions, normalised.
    fn forward(&self, pixels: Tensor<4>) -> Vec<f32> {
        let [batch, channels, height, across] = pixels.dims();
        let (side, width, tokens) = (self.patch_size, self.class.len(), self.tokens());
        let (patches, columns) = (tokens - 1, across / self.patch_size);
        let pixels = floats(pixels);
        let (mut rows, mut sums) = (Rows::default(), Sums::default());
        self.patch.fill(&mut rows, batch * patches, |row, y| {
            let (image, place) = (row / patches, row % patches);
            let corner = place / columns * side * across + place % columns * side;
            for (line, y) in y.chunks_exact_mut(side).enumerate() {
                let (channel, line) = (line / side, line % side);
                let start = (image * channels + channel) * height * across + corner + line * across;
                y.copy_from_slice(&pixels[start..start + side]);
            }
        });
        self.patch.multiply(&rows, &mut sums);
        let mut x = vec![0.0; batch * tokens * width];
        for (at, x) in x.chunks_exact_mut(width).enumerate() {
            let (image, token) = (at / tokens, at % tokens);
            match token.checked_sub(1) {
                None => x.copy_from_slice(&self.class),
                Some(patch) => self.patch.read(&rows, &sums, image * patches + patch, 0..width, x),
            }
            let position = &self.position[token * width..][..width];
            x.iter_mut().zip(position).for_each(|(x, position)| *x += position);
        }
        self.pre_norm.apply_to(&mut x);
        x
    }
}

impl fmt::Debug for PackedVision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PackedVision({} blocks)", self.0.blocks.len())
    }
}
