//! From the parameters of a tower to what is laid out for the kernels, and back.

use burn::{
    module::Param,
    nn::{LayerNorm, LayerNormConfig, Linear},
    tensor::{Device, Tensor, TensorData},
};

use super::block::{Norm, PackedBlock, Sequences, Space};
use super::levels::Levels;
use super::product::{Product, Stored};
use super::smooth::{smooth, spans};
use crate::backbone::checkpoint::{BlockNames, Quantised};
use crate::backbone::towers::transformer::Block;

/// What the weights of the products become.
pub(in crate::backbone) enum Form<S> {
    /// They stay in f32.
    Floats,
    /// The nearest eight bits: of weights that once were eight bits, the same.
    Bytes,
    /// Eight bits after scale went from channels to weights, as samples of what goes into the tower show it.
    Smoothed(S),
}

impl<S> Form<S> {
    pub(super) fn product(&self, weights: Vec<f32>, bias: Vec<f32>) -> Product {
        match self {
            Self::Floats => Product::floats(&weights, bias),
            _ => Product::bytes(Levels::of(&weights, bias.len()), bias),
        }
    }

    /// The same for the blocks, whose samples are rows `[batch tokens, width]`.
    pub(super) fn then<T>(&self, rows: impl FnOnce(&S) -> T) -> Form<T> {
        match self {
            Self::Floats => Form::Floats,
            Self::Bytes => Form::Bytes,
            Self::Smoothed(samples) => Form::Smoothed(rows(samples)),
        }
    }
}

/// Rows that go into the first block.
pub(super) struct Samples {
    pub x: Vec<f32>,
    pub sequences: Sequences,
}

/// Lays the weights of a block out. Samples go through it on the way.
pub(super) fn pack(block: &Block, form: &mut Form<Samples>) -> PackedBlock {
    let (mut norm1, mut norm2) = (norm(&block.norm1, block.epsilon), norm(&block.norm2, block.epsilon));
    let [mut qkv, out, mut fc1, fc2] = [&block.qkv, &block.out, &block.fc1, &block.fc2].map(parameters);
    let packed = |norm1, norm2, [qkv, out, fc1, fc2]: [Product; 4]| PackedBlock {
        norm1,
        qkv,
        out,
        norm2,
        fc1,
        fc2,
        heads: block.heads,
        causal: block.causal,
        activation: block.activation,
    };
    if let Form::Smoothed(Samples { x, sequences }) = form {
        let products = [&qkv, &out, &fc1, &fc2].map(|(weights, bias)| Product::floats(weights, bias.clone()));
        let exact = packed(norm(&block.norm1, block.epsilon), norm(&block.norm2, block.epsilon), products);
        let mut space = Space::default();
        smooth(&mut norm1, &mut qkv.0, &spans(&exact.norm1, x));
        *x = exact.attend(std::mem::take(x), sequences, None, &mut space);
        smooth(&mut norm2, &mut fc1.0, &spans(&exact.norm2, x));
        exact.mlp(x, &mut space);
    }
    packed(norm1, norm2, [qkv, out, fc1, fc2].map(|(weights, bias)| form.product(weights, bias)))
}

/// The inverse of [`pack`], up to the bits that were dropped.
pub(super) fn unpack(blocks: &[PackedBlock], device: &Device) -> Vec<Block> {
    let block = |block: &PackedBlock| Block {
        norm1: layer_norm(&block.norm1, device),
        qkv: linear(&block.qkv, device),
        out: linear(&block.out, device),
        norm2: layer_norm(&block.norm2, device),
        fc1: linear(&block.fc1, device),
        fc2: linear(&block.fc2, device),
        heads: block.heads,
        causal: block.causal,
        epsilon: block.norm1.epsilon.into(),
        activation: block.activation,
    };
    blocks.iter().map(block).collect()
}

/// A tensor's values in its own order.
pub(super) fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec::<f32>().expect("a tensor of f32 in memory")
}

pub(super) fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn parameters(linear: &Linear) -> (Vec<f32>, Vec<f32>) {
    let bias = linear.bias.as_ref().expect("a bias, as it was loaded");
    (floats(linear.weight.val()), floats(bias.val()))
}

fn linear(product: &Product, device: &Device) -> Linear {
    let bias = product.bias().to_vec();
    Linear {
        weight: Param::from_tensor(matrix(product, device)),
        bias: Some(Param::from_tensor(tensor(bias, [product.outputs()], device))),
    }
}

/// The weights `[inputs, outputs]`.
pub(super) fn matrix(product: &Product, device: &Device) -> Tensor<2> {
    tensor(product.numbers(), [product.inputs(), product.outputs()], device)
}

pub(super) fn norm(norm: &LayerNorm, epsilon: f64) -> Norm {
    let shift = norm.beta.as_ref().expect("a shift, as it was loaded");
    Norm { gain: floats(norm.gamma.val()), shift: floats(shift.val()), epsilon: epsilon as f32 }
}

pub(super) fn layer_norm(norm: &Norm, device: &Device) -> LayerNorm {
    let width = norm.gain.len();
    let parameter = |values: &[f32]| Param::from_tensor(tensor(values.to_vec(), [width], device));
    let mut layer = LayerNormConfig::new(width).with_epsilon(norm.epsilon.into()).init(device);
    layer.gamma = parameter(&norm.gain);
    layer.beta = Some(parameter(&norm.shift));
    layer
}

/// Writes a product as a file has it, whose rows are outputs.
pub(super) fn store(product: &Product, into: &mut Quantised, name: &str, shape: &[usize]) {
    let Stored::Levels(Levels { levels, scales }) = product.weights() else {
        unreachable!("what is stored has eight bits");
    };
    let (outputs, inputs) = (scales.len(), levels.len() / scales.len());
    let turned: Vec<i8> = (0..outputs)
        .flat_map(|output| (0..inputs).map(move |input| input * outputs + output))
        .map(|at| levels[at])
        .collect();
    into.levels(name, shape, &turned, &scales);
}

pub(super) fn store_norm(norm: &Norm, into: &mut Quantised, name: &str) {
    into.floats(&format!("{name}.weight"), &[norm.gain.len()], &norm.gain);
    into.floats(&format!("{name}.bias"), &[norm.shift.len()], &norm.shift);
}

pub(super) fn store_block(block: &PackedBlock, into: &mut Quantised, names: &BlockNames) {
    let attention = &names.attention;
    let products = [
        (&block.qkv, format!("{attention}.in_proj_weight"), format!("{attention}.in_proj_bias")),
        (&block.out, format!("{attention}.out_proj.weight"), format!("{attention}.out_proj.bias")),
        (&block.fc1, format!("{}.weight", names.fc1), format!("{}.bias", names.fc1)),
        (&block.fc2, format!("{}.weight", names.fc2), format!("{}.bias", names.fc2)),
    ];
    for (product, weight, bias) in products {
        store(product, into, &weight, &[product.outputs(), product.inputs()]);
        into.floats(&bias, &[product.outputs()], product.bias());
    }
    store_norm(&block.norm1, into, &names.norm1);
    store_norm(&block.norm2, into, &names.norm2);
}
