use std::{fmt, sync::Arc};

use burn::{
    module::Param,
    tensor::{Device, Tensor},
};

use super::block::{Norm, PackedBlock, Sequences, forward};
use super::levels::Levels;
use super::packing::{
    Form, Samples, floats, layer_norm, norm, pack, store_block, store_norm, tensor, unpack,
};
use super::product::Product;
use crate::backbone::checkpoint::Quantised;
use crate::backbone::towers::{text::TextTransformer, transformer::Block};
use crate::input::Tokenized;

/// A [`TextTransformer`] and the projection after it, laid out for the kernels.
#[derive(Clone)]
pub(in crate::backbone) struct PackedText(Arc<Parts>);

struct Parts {
    token: Table,
    position: Vec<f32>, // [context, width]
    blocks: Vec<PackedBlock>,
    final_norm: Norm,
    projection: Product,
}

/// The embedding of every token, `[vocabulary, width]`.
enum Table {
    Floats(Vec<f32>),
    /// With a scale for each token.
    Bytes(Levels),
}

/// A [`PackedText`] whose blocks come one after the other.
pub(in crate::backbone) struct TextPacking {
    token: Table,
    position: Vec<f32>,
    blocks: Vec<PackedBlock>,
    form: Form<Samples>,
}

impl TextPacking {
    /// From what stands before the blocks of a tower, of which the embeddings of tokens are taken. Samples are texts.
    pub fn new(tower: &mut TextTransformer, form: &Form<Tokenized>) -> Self {
        let [_, width] = tower.token.val().dims();
        let nothing = Param::from_tensor(Tensor::zeros([1, width], &tower.token.device()));
        let token = floats(std::mem::replace(&mut tower.token, nothing).into_value());
        let (token, position) = (Table::Floats(token), floats(tower.position.val()));
        let samples = form.then(|texts| {
            let (x, sequences) = embed(&token, &position, width, texts);
            Samples { x, sequences }
        });
        let token = match (form, token) {
            (Form::Bytes | Form::Smoothed(_), Table::Floats(token)) => {
                Table::Bytes(Levels::of_rows(&token, width))
            }
            (_, token) => token,
        };
        Self { token, position, blocks: Vec::new(), form: samples }
    }

    pub fn push(&mut self, block: &Block) {
        self.blocks.push(pack(block, &mut self.form));
    }

    /// With what stands behind the blocks. The projection, `[width, embed_dim]`, stays in f32.
    pub fn finish(self, tower: &TextTransformer, projection: Tensor<2>) -> PackedText {
        let Self { token, position, blocks, .. } = self;
        let nothing = vec![0.0; projection.dims()[1]];
        let projection = Product::floats(&floats(projection), nothing);
        PackedText(Arc::new(Parts {
            token,
            position,
            blocks,
            final_norm: norm(&tower.final_norm, tower.epsilon),
            projection,
        }))
    }
}

impl PackedText {
    /// The tower that was packed, up to the bits that were dropped.
    pub fn unpack(&self, device: &Device) -> TextTransformer {
        let Parts { token, position, blocks, final_norm, .. } = &*self.0;
        let width = final_norm.gain.len();
        let parameter = |values: Vec<f32>| {
            let rows = values.len() / width;
            Param::from_tensor(tensor(values, [rows, width], device))
        };
        let rows = token.rows(width);
        let mut values = vec![0.0; rows * width];
        values.chunks_exact_mut(width).enumerate().for_each(|(row, x)| token.read(row, x));
        TextTransformer {
            token: parameter(values),
            position: parameter(position.clone()),
            blocks: unpack(blocks, device),
            final_norm: layer_norm(final_norm, device),
            epsilon: final_norm.epsilon.into(),
        }
    }

    /// Writes a tower in eight bits.
    pub fn store(&self, into: &mut Quantised) {
        let Parts { token, position, blocks, final_norm, projection } = &*self.0;
        let (layout, width) = (into.layout, final_norm.gain.len());
        let names = layout.text();
        if let Table::Bytes(Levels { levels, scales }) = token {
            into.levels(names.token, &[scales.len(), width], levels, scales);
        }
        into.floats(names.position, &[position.len() / width, width], position);
        for (index, block) in blocks.iter().enumerate() {
            store_block(block, into, &layout.text_block(index));
        }
        store_norm(final_norm, into, names.final_norm);
        into.projection(names.projection, &projection.numbers(), projection.outputs());
    }

    /// Token ids to embeddings `[texts, embed_dim]`.
    pub fn embeddings(&self, texts: &Tokenized, device: &Device) -> Tensor<2> {
        let Parts { token, position, blocks, final_norm, projection } = &*self.0;
        let (x, sequences) = embed(token, position, final_norm.gain.len(), texts);
        let mut x = forward(blocks, x, &sequences, Some(&texts.ends));
        final_norm.apply_to(&mut x);
        tensor(projection.all(&x), [texts.ids.len(), projection.outputs()], device)
    }
}

/// What goes into the first block: of every text the tokens up to its end. Attention looks back only, so that what
/// follows the end changes nothing.
fn embed(table: &Table, position: &[f32], width: usize, texts: &Tokenized) -> (Vec<f32>, Sequences) {
    let sequences = Sequences::of(texts.ends.iter().map(|end| end + 1));
    let ids = texts.ids.iter().zip(&texts.ends).flat_map(|(ids, end)| &ids[..=*end]);
    let places = texts.ends.iter().flat_map(|end| 0..=*end);
    let mut x = vec![0.0; sequences.rows_in_all() * width];
    for ((&id, place), x) in ids.zip(places).zip(x.chunks_exact_mut(width)) {
        table.read(id as usize, x);
        x.iter_mut().zip(&position[place * width..]).for_each(|(x, position)| *x += position);
    }
    (x, sequences)
}

impl Table {
    fn rows(&self, width: usize) -> usize {
        match self {
            Self::Floats(values) => values.len() / width,
            Self::Bytes(levels) => levels.scales.len(),
        }
    }

    fn read(&self, row: usize, x: &mut [f32]) {
        let part = row * x.len()..(row + 1) * x.len();
        match self {
            Self::Floats(values) => x.copy_from_slice(&values[part]),
            Self::Bytes(Levels { levels, scales }) => {
                let levels = &levels[part];
                x.iter_mut().zip(levels).for_each(|(x, &level)| *x = f32::from(level) * scales[row]);
            }
        }
    }
}

impl fmt::Debug for PackedText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PackedText({} blocks)", self.0.blocks.len())
    }
}
