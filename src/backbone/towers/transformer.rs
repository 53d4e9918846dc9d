use burn::{
    module::{Module, Param},
    nn::{LayerNorm, LayerNormConfig, Linear},
    tensor::{
        Bool, Device, Int, Tensor, TensorData, activation,
        module::{attention, linear as product},
        ops::AttentionModuleOptions,
    },
};
use serde::{Deserialize, Serialize};

use super::flex::{activate, attend, is_plain};
use crate::backbone::checkpoint::{BlockNames, Checkpoint, Weights};
use crate::error::Result;

/// The non-linearity inside a tower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TowerActivation {
    /// `x sigmoid(1.702 x)`: OpenAI's weights.
    QuickGelu,
    /// `x Phi(x)`: LAION's weights and most later ones.
    Gelu,
}

impl TowerActivation {
    pub(super) fn forward<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::QuickGelu => x.clone() * activation::sigmoid(x.mul_scalar(1.702)),
            Self::Gelu => activation::gelu(x),
        }
    }
}

/// What the blocks of one tower have in common.
#[derive(Debug, Clone, Copy)]
pub(in crate::backbone) struct BlockShape {
    pub width: usize,
    pub heads: usize,
    pub mlp: usize,
    pub epsilon: f64,
    pub activation: TowerActivation,
    pub causal: bool,
}

/// A pre-norm transformer block: `x + Attention(norm(x))`, then `x + MLP(norm(x))`.
#[derive(Module, Debug)]
pub(super) struct Block {
    pub norm1: LayerNorm,
    pub qkv: Linear, // [width, 3 width]: query, key, value
    pub out: Linear,
    pub norm2: LayerNorm,
    pub fc1: Linear,
    pub fc2: Linear,
    pub heads: usize,
    pub causal: bool,
    pub epsilon: f64,
    #[module(skip)]
    pub activation: TowerActivation,
}

impl Block {
    pub fn load(weights: &mut Weights, names: &BlockNames, shape: BlockShape) -> Self {
        let BlockShape { width, heads, mlp, epsilon, activation, causal } = shape;
        Self {
            norm1: norm(weights, &names.norm1, width, epsilon),
            qkv: weights.qkv(&names.attention, width),
            out: linear(weights, &format!("{}.out_proj", names.attention), width, width),
            norm2: norm(weights, &names.norm2, width, epsilon),
            fc1: linear(weights, &names.fc1, width, mlp),
            fc2: linear(weights, &names.fc2, mlp, width),
            heads,
            causal,
            epsilon,
            activation,
        }
    }

    /// The inverse of [`load`](Self::load).
    pub fn store(&self, checkpoint: &mut Checkpoint, names: &BlockNames) -> Result<()> {
        checkpoint.norm(&names.norm1, &self.norm1)?;
        checkpoint.qkv(&names.attention, &self.qkv)?;
        checkpoint.linear(&format!("{}.out_proj", names.attention), &self.out)?;
        checkpoint.norm(&names.norm2, &self.norm2)?;
        checkpoint.linear(&names.fc1, &self.fc1)?;
        checkpoint.linear(&names.fc2, &self.fc2)
    }

    /// `[batch, tokens, width]` to the same.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let x = x.clone() + self.attend(self.norm1.forward(x));
        x.clone() + self.mlp(self.norm2.forward(x))
    }

    /// What [`forward`](Self::forward) makes of one token of every row, `[batch, width]`: all that is asked of a last
    /// block.
    pub fn forward_at(&self, x: Tensor<3>, places: &[usize]) -> Tensor<2> {
        let x = at(&x, places) + self.attend_at(self.norm1.forward(x), places);
        x.clone() + self.mlp(self.norm2.forward(x))
    }

    /// What the attention has to take of each token: its value through the output's weights.
    pub fn values(&self, x: Tensor<3>) -> Tensor<3> {
        let width = x.dims()[2];
        self.out.forward(self.qkv.forward(self.norm1.forward(x)).narrow(2, 2 * width, width))
    }

    fn mlp<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        if let (true, Some(bias)) = (is_plain(&x), &self.fc1.bias) {
            let hidden = activate(product(x, self.fc1.weight.val(), None), bias.val(), self.activation);
            return self.fc2.forward(hidden);
        }
        self.fc2.forward(self.activation.forward(self.fc1.forward(x)))
    }

    fn attend(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, tokens, width] = x.dims();
        let qkv = self.qkv.forward(x);
        if is_plain(&qkv) {
            return self.out.forward(attend(qkv, self.heads, self.causal));
        }
        let qkv = qkv.reshape([batch, tokens, 3, self.heads, width / self.heads]);
        let qkv = qkv.permute([2, 0, 3, 1, 4]); // [3, batch, heads, tokens, head]
        let part = |index: usize| -> Tensor<4> { qkv.clone().narrow(0, index, 1).squeeze_dim(0) };
        let options = AttentionModuleOptions { is_causal: self.causal, ..Default::default() };
        let mixed = attention(part(0), part(1), part(2), None, None, options); // [batch, heads, tokens, head]
        self.out.forward(mixed.swap_dims(1, 2).reshape([batch, tokens, width]))
    }

    /// Attention of one query a row, without keys and values: as `q (x W + b)^T = (q W^T) x^T + q b^T`, in which the
    /// last term is the same for all tokens, the query goes through the keys' weights, and only what it takes of the
    /// tokens goes through the values'.
    fn attend_at(&self, x: Tensor<3>, places: &[usize]) -> Tensor<2> {
        let [batch, tokens, width] = x.dims();
        let head = width / self.heads;
        let weights = self.qkv.weight.val().reshape([width, 3, self.heads, head]).permute([1, 2, 0, 3]);
        let weights = |index: usize| -> Tensor<4> { weights.clone().narrow(0, index, 1) }; // [1, heads, width, head]
        let bias = |index: usize| -> Tensor<4> {
            let bias = self.qkv.bias.as_ref().expect("a bias, as it was loaded").val();
            bias.reshape([3, self.heads, 1, head]).narrow(0, index, 1)
        };
        let queries = at(&x, places).reshape([1, 1, batch, width]).matmul(weights(0)) + bias(0);
        let queries = queries.matmul(weights(1).swap_dims(2, 3)); // [1, heads, batch, width]
        let queries = queries.reshape([self.heads, batch, width]).swap_dims(0, 1);
        let scores = queries.matmul(x.clone().swap_dims(1, 2)).div_scalar((head as f64).sqrt());
        let scores = if self.causal {
            scores.mask_fill(behind(places, tokens, &x.device()), f32::NEG_INFINITY)
        } else {
            scores
        };
        let mixed = activation::softmax(scores, 2).matmul(x); // [batch, heads, width]
        let mixed = mixed.swap_dims(0, 1).unsqueeze::<4>().matmul(weights(2)) + bias(2); // [1, heads, batch, head]
        self.out.forward(mixed.swap_dims(1, 2).reshape([batch, width]))
    }
}

/// What a tower makes of one token of every row: `[batch, tokens, width]` to `[batch, width]`.
pub(super) fn forward_at(blocks: &[Block], x: Tensor<3>, places: &[usize]) -> Tensor<2> {
    match blocks.split_last() {
        Some((last, others)) => last.forward_at(others.iter().fold(x, |x, block| block.forward(x)), places),
        None => at(&x, places),
    }
}

/// One token of every row: `[batch, tokens, width]` to `[batch, width]`.
fn at(x: &Tensor<3>, places: &[usize]) -> Tensor<2> {
    let [batch, tokens, width] = x.dims();
    let rows: Vec<i64> =
        places.iter().enumerate().map(|(row, place)| (row * tokens + place) as i64).collect();
    let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [batch]), &x.device());
    x.clone().reshape([batch * tokens, width]).select(0, rows)
}

/// The tokens that stand behind a place: `[batch, 1, tokens]`.
fn behind(places: &[usize], tokens: usize, device: &Device) -> Tensor<3, Bool> {
    let behind: Vec<bool> =
        places.iter().flat_map(|&place| (0..tokens).map(move |token| token > place)).collect();
    Tensor::from_data(TensorData::new(behind, [places.len(), 1, tokens]), device)
}

/// A layer norm from `{name}.weight` and `{name}.bias`.
pub(super) fn norm(weights: &mut Weights, name: &str, width: usize, epsilon: f64) -> LayerNorm {
    let mut norm = LayerNormConfig::new(width).with_epsilon(epsilon).init(weights.device());
    norm.gamma = Param::from_tensor(weights.tensor(&format!("{name}.weight"), [width]));
    norm.beta = Some(Param::from_tensor(weights.tensor(&format!("{name}.bias"), [width])));
    norm
}

/// A linear layer from `{name}.weight`, `[out, in]` in the file, and `{name}.bias`.
pub(super) fn linear(weights: &mut Weights, name: &str, inputs: usize, outputs: usize) -> Linear {
    Linear {
        weight: Param::from_tensor(weights.transposed(&format!("{name}.weight"), outputs, inputs)),
        bias: Some(Param::from_tensor(weights.tensor(&format!("{name}.bias"), [outputs]))),
    }
}

#[cfg(test)]
mod tests {
    use burn::{nn::LinearConfig, tensor::Distribution};

    use super::*;

    #[test]
    fn one_token_is_one_of_all() {
        let device = Device::flex();
        device.seed(11);
        let linear = |inputs: usize, outputs: usize| LinearConfig::new(inputs, outputs).init(&device);
        for causal in [false, true] {
            let block = Block {
                norm1: LayerNormConfig::new(24).init(&device),
                qkv: linear(24, 72),
                out: linear(24, 24),
                norm2: LayerNormConfig::new(24).init(&device),
                fc1: linear(24, 48),
                fc2: linear(48, 24),
                heads: 3,
                causal,
                epsilon: 1e-5,
                activation: TowerActivation::Gelu,
            };
            let x = Tensor::<3>::random([4, 7, 24], Distribution::Normal(0.0, 2.0), &device);
            let all = block.forward(x.clone());
            // Gradients are recorded through Burn's operations, and the towers' way on Flex is another.
            let recorded = block.forward(x.clone().autodiff()).inner();
            assert!((all.clone() - recorded).abs().max().into_scalar::<f32>() < 5e-6);
            for places in [[0, 0, 0, 0], [6, 0, 3, 2]] {
                let one = block.forward_at(x.clone(), &places);
                let difference = (one - at(&all, &places)).abs().max().into_scalar::<f32>();
                assert!(difference < 5e-6, "{causal} {places:?}: {difference}");
            }
        }
    }
}
