use burn::{
    config::Config,
    module::{Module, Param},
    nn::Linear,
    tensor::{Device, Tensor, TensorData, activation, assert_shape},
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// The non-linearity after each of an adapter's two layers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Activation {
    /// `max(x, 0)`, the paper's.
    #[default]
    Relu,
    /// `x Phi(x)`. Not positively homogeneous: raw and normalised features then give different logits.
    Gelu,
}

impl Activation {
    fn forward(self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Relu => activation::relu(x),
            Self::Gelu => activation::gelu(x),
        }
    }
}

/// Settings of an [`Adapter`].
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `dim` | | 1 or more | width of the features |
/// | `reduction` | 4 | 1..=`dim` | the hidden layer has `dim / reduction` units |
/// | `activation` | ReLU | | after each of the two layers |
/// | `bias` | false | | whether the layers have biases |
/// | `seed` | 0 | | fixes the initial weights, the same on every device |
#[derive(Config, Debug)]
pub struct AdapterConfig {
    /// Width of the features.
    pub dim: usize,
    /// The hidden layer has `dim / reduction` units.
    #[config(default = 4)]
    pub reduction: usize,
    /// The non-linearity after each layer.
    #[config(default = "Activation::Relu")]
    pub activation: Activation,
    /// Whether the layers have biases.
    #[config(default = false)]
    pub bias: bool,
    /// Fixes the initial weights.
    #[config(default = 0)]
    pub seed: u64,
}

impl AdapterConfig {
    /// A new adapter with PyTorch's default initialisation `U(-1/sqrt(fan_in), 1/sqrt(fan_in))`.
    ///
    /// The numbers are drawn on the host from `seed`, so that every device starts from the same bits.
    ///
    /// # Panics
    /// If `reduction` is 0 or larger than `dim`.
    pub fn init(&self, device: &Device) -> Adapter {
        assert!(
            (1..=self.dim).contains(&self.reduction),
            "adapter reduction: expected 1..={}, found {}",
            self.dim,
            self.reduction
        );
        let hidden = self.dim / self.reduction;
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        Adapter {
            down: linear(self.dim, hidden, self.bias, &mut random, device),
            up: linear(hidden, self.dim, self.bias, &mut random, device),
            activation: self.activation,
        }
    }
}

pub(super) fn linear(
    inputs: usize,
    outputs: usize,
    bias: bool,
    random: &mut ChaCha8Rng,
    device: &Device,
) -> Linear {
    let bound = 1.0 / (inputs as f32).sqrt();
    let mut draw =
        |count: usize| -> Vec<f32> { (0..count).map(|_| random.random_range(-bound..bound)).collect() };
    Linear {
        weight: Param::from_data(TensorData::new(draw(inputs * outputs), [inputs, outputs]), device),
        bias: bias.then(|| Param::from_data(TensorData::new(draw(outputs), [outputs]), device)),
    }
}

/// A linear layer with PyTorch's default initialisation, drawn from `seed` alone.
pub(crate) fn seeded_linear(inputs: usize, outputs: usize, seed: u64, device: &Device) -> Linear {
    linear(inputs, outputs, true, &mut ChaCha8Rng::seed_from_u64(seed), device)
}

/// CLIP-Adapter's bottleneck: `A(x) = ReLU(W2 ReLU(W1 x))`.
///
/// Gao et al., 2021, section 3.2, <https://arxiv.org/abs/2110.04544>; without biases as in the authors' code.
/// Because ReLU is positively homogeneous, `A(c x) = c A(x)` for `c > 0`: after the final normalisation raw and
/// pre-normalised features give the same logits, so caching normalised features loses nothing.
#[derive(Module, Debug)]
pub struct Adapter {
    pub(in crate::adapter) down: Linear,
    pub(in crate::adapter) up: Linear,
    #[module(skip)]
    pub(in crate::adapter) activation: Activation,
}

impl Adapter {
    /// Adapts features. Blend the result with the original: [`ResidualFusion`](crate::ResidualFusion).
    ///
    /// # Shapes
    /// - `features`: `[batch, dim]`
    /// - returns: `[batch, dim]`
    ///
    /// # Panics
    /// If the width of `features` is not the adapter's.
    ///
    /// # Examples
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use clip_adapter::AdapterConfig;
    ///
    /// let device = Device::flex();
    /// let adapter = AdapterConfig::new(8).with_reduction(2).with_seed(1).init(&device);
    /// let x = Tensor::<2>::ones([1, 8], &device);
    /// let once = adapter.forward(x.clone()).try_to_vec_as::<f32>().unwrap();
    /// let twice = adapter.forward(x * 2.0).try_to_vec_as::<f32>().unwrap();
    /// assert!(once.iter().zip(&twice).all(|(a, b)| 2.0 * a == *b));
    /// ```
    pub fn forward(&self, features: Tensor<2>) -> Tensor<2> {
        let dim = self.dim();
        assert_shape!(features, [_, dim]);
        let hidden = self.activation.forward(self.down.forward(features)); // [batch, dim / reduction]
        self.activation.forward(self.up.forward(hidden))
    }

    /// The two layers, for a structure that joins them in another way.
    pub(crate) fn into_layers(self) -> (Linear, Linear) {
        (self.down, self.up)
    }

    /// The width of the features.
    pub fn dim(&self) -> usize {
        self.down.weight.lazy_shape()[0]
    }
}
