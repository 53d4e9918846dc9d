use burn::{
    module::{Module, Param},
    nn::{LayerNorm, LayerNormConfig, Linear},
    tensor::{Tensor, activation, module::attention, ops::AttentionModuleOptions},
};
use serde::{Deserialize, Serialize};

use super::{
    checkpoint::Checkpoint,
    flex::{activate, attend, is_plain},
    weights::{BlockNames, Weights},
};
use crate::Result;

/// The non-linearity inside a tower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TowerActivation {
    /// `x sigmoid(1.702 x)`: OpenAI's weights.
    QuickGelu,
    /// `x Phi(x)`: LAION's weights and most later ones.
    Gelu,
}

impl TowerActivation {
    fn forward(self, x: Tensor<3>) -> Tensor<3> {
        if is_plain(&x) { activate(x, self) } else { self.forward_in_tensors(x) }
    }

    pub(super) fn forward_in_tensors(self, x: Tensor<3>) -> Tensor<3> {
        match self {
            Self::QuickGelu => x.clone() * activation::sigmoid(x.mul_scalar(1.702)),
            Self::Gelu => activation::gelu(x),
        }
    }
}

/// What the blocks of one tower have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct BlockShape {
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
    norm1: LayerNorm,
    qkv: Linear, // [width, 3 width]: query, key, value
    out: Linear,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    heads: usize,
    causal: bool,
    #[module(skip)]
    activation: TowerActivation,
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
        let tokens = x.dims()[1];
        self.forward_first(x, tokens)
    }

    /// What [`forward`](Self::forward) makes of the first `count` tokens: `[batch, count, width]`. Of a last block,
    /// the rest is never looked at.
    pub fn forward_first(&self, x: Tensor<3>, count: usize) -> Tensor<3> {
        let attended = self.attend(self.norm1.forward(x.clone()), count);
        let x = x.narrow(1, 0, count) + attended;
        let hidden = self.activation.forward(self.fc1.forward(self.norm2.forward(x.clone())));
        x + self.fc2.forward(hidden)
    }

    fn attend(&self, x: Tensor<3>, count: usize) -> Tensor<3> {
        let [batch, tokens, width] = x.dims();
        let head = width / self.heads;
        let qkv = self.qkv.forward(x).reshape([batch, tokens, 3, self.heads, head]);
        let qkv = qkv.permute([2, 0, 3, 1, 4]); // [3, batch, heads, tokens, head]
        let part = |index: usize| -> Tensor<4> { qkv.clone().narrow(0, index, 1).squeeze_dim(0) };
        let queries = part(0).narrow(2, 0, count);
        let mixed = if is_plain(&queries) {
            attend(queries, part(1), part(2), self.causal)
        } else {
            let options = AttentionModuleOptions { is_causal: self.causal, ..Default::default() };
            attention(queries, part(1), part(2), None, None, options)
        }; // [batch, heads, count, head]
        self.out.forward(mixed.swap_dims(1, 2).reshape([batch, count, width]))
    }
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
