use burn::{
    config::Config,
    module::{Module, Param},
    nn::{LayerNorm, LayerNormConfig, Linear},
    tensor::{
        Device, Tensor, TensorData, activation, assert_shape, module::attention, ops::AttentionModuleOptions,
    },
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::bottleneck::linear;
use crate::features::{normalise, norms};

/// What the frames' differences from their mean are multiplied with: they are a tenth as long as the frames.
const MAGNIFIED: f64 = 10.0;

/// Positions start as uniform numbers up to this, which is as large as what they are added to.
const POSITION: f32 = 0.87;

/// Settings of a [`TemporalAdapter`].
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `dim` | | 1 or more | width of a frame's features |
/// | `frames` | | 1 or more | frames of a video |
/// | `reduction` | 4 | 1..=`dim` | the transformer is `dim / reduction` wide, rounded down to whole heads |
/// | `heads` | 4 | 1 or more | of its attention |
/// | `seed` | 0 | | fixes the initial weights, the same on every device |
#[derive(Config, Debug)]
pub struct TemporalAdapterConfig {
    /// Width of a frame's features.
    pub dim: usize,
    /// Frames of a video.
    pub frames: usize,
    /// The transformer is `dim / reduction` wide.
    #[config(default = 4)]
    pub reduction: usize,
    /// Of its attention.
    #[config(default = 4)]
    pub heads: usize,
    /// Fixes the initial weights.
    #[config(default = 0)]
    pub seed: u64,
}

impl TemporalAdapterConfig {
    /// The width of the transformer: 0 if there is no room for one number a head.
    pub fn width(&self) -> usize {
        let width = self.dim / self.reduction.max(1);
        width - width % self.heads.max(1)
    }

    /// A new adapter, whose last layer is zero: it gives the mean of the frames.
    ///
    /// # Panics
    /// If [`width`](Self::width) or `frames` is 0.
    pub fn init(&self, device: &Device) -> TemporalAdapter {
        let (dim, frames, width) = (self.dim, self.frames, self.width());
        assert!(width > 0 && frames > 0, "temporal adapter: expected a width and frames above 0");
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let down = linear(dim, width, true, &mut random, device);
        let position: Vec<f32> =
            (0..frames * width).map(|_| random.random_range(-POSITION..POSITION)).collect();
        let norm = || LayerNormConfig::new(width).init(device);
        let zeros = |shape: [usize; 2]| Param::from_tensor(Tensor::zeros(shape, device));
        TemporalAdapter {
            down,
            position: Param::from_data(TensorData::new(position, [frames, width]), device),
            norm1: norm(),
            qkv: linear(width, 3 * width, true, &mut random, device),
            out: linear(width, width, true, &mut random, device),
            norm2: norm(),
            fc1: linear(width, 4 * width, true, &mut random, device),
            fc2: linear(4 * width, width, true, &mut random, device),
            up: Linear { weight: zeros([width, dim]), bias: None },
            heads: self.heads,
        }
    }
}

/// A transformer over time whose outcome is added to the mean of the frames.
///
/// `v = unit(m + |m| W_up mean_t Block(W_down 10 (f_t - m) + P_t))` with the mean `m` of the unit frames `f_t`, learned
/// positions `P_t` and one pre-norm block of attention and a GELU layer of four times the width. `W_up` starts at zero,
/// and so `v` at the mean, to the bit.
///
/// After CLIP4Clip's sequential transformer (Luo et al., 2022, section 3.3, <https://arxiv.org/abs/2104.08860>), which
/// has four blocks of CLIP's width and sees the frames as they are. With few videos that one learns what is in them
/// rather than what moves; the difference from the mean does not show it.
#[derive(Module, Debug)]
pub struct TemporalAdapter {
    down: Linear,
    position: Param<Tensor<2>>, // [frames, width]
    norm1: LayerNorm,
    qkv: Linear, // [width, 3 width]: query, key, value
    out: Linear,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    up: Linear,
    heads: usize,
}

impl TemporalAdapter {
    /// The row of every video.
    ///
    /// # Shapes
    /// - `videos`: `[batch, frames, dim]`, unit frames
    /// - returns: `[batch, dim]`, unit rows
    ///
    /// # Panics
    /// If there are other numbers of frames or another width.
    pub fn forward(&self, videos: Tensor<3>) -> Tensor<2> {
        let [frames, dim] = [self.position.lazy_shape()[0], self.down.weight.lazy_shape()[0]];
        assert_shape!(videos, [_, frames, dim]);
        let mean = videos.clone().mean_dim(1); // [batch, 1, dim]
        let moved = self.down.forward((videos - mean.clone()).mul_scalar(MAGNIFIED));
        let x = moved + self.position.val().unsqueeze::<3>(); // [batch, frames, width]
        let x = x.clone() + self.attend(self.norm1.forward(x));
        let hidden = activation::gelu(self.fc1.forward(self.norm2.forward(x.clone())));
        let x = (x + self.fc2.forward(hidden)).mean_dim(1).squeeze_dim::<2>(1); // [batch, width]
        let mean = mean.squeeze_dim::<2>(1);
        let norm = norms(mean.clone());
        normalise(mean + self.up.forward(x) * norm)
    }

    fn attend(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, frames, width] = x.dims();
        let head = width / self.heads;
        let parts = self.qkv.forward(x).reshape([batch, frames, 3, self.heads, head]);
        let part = |at: usize| {
            let part = parts.clone().slice([0..batch, 0..frames, at..at + 1, 0..self.heads, 0..head]);
            part.squeeze_dim::<4>(2).swap_dims(1, 2) // [batch, heads, frames, head]
        };
        let joined = attention(part(0), part(1), part(2), None, None, AttentionModuleOptions::default());
        self.out.forward(joined.swap_dims(1, 2).reshape([batch, frames, width]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn videos(device: &Device) -> Tensor<3> {
        let values: Vec<f32> = (0..3 * 5 * 12).map(|at| (0.37 * (at * at) as f32).sin()).collect();
        let rows = Tensor::<2>::from_data(TensorData::new(values, [15, 12]), device);
        normalise(rows).reshape([3, 5, 12])
    }

    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.try_into_vec_as::<f32>().unwrap()
    }

    #[test]
    fn a_new_one_gives_the_mean_to_the_bit() {
        let device = Device::flex();
        let config = TemporalAdapterConfig::new(12, 5).with_heads(2).with_reduction(2);
        let mean = videos(&device).mean_dim(1).squeeze_dim::<2>(1);
        assert_eq!(values(config.init(&device).forward(videos(&device))), values(normalise(mean)));
    }

    #[test]
    fn it_sees_the_order_of_the_frames() {
        let device = Device::flex();
        let mut adapter = TemporalAdapterConfig::new(12, 5).with_heads(2).with_reduction(2).init(&device);
        adapter.up.weight = Param::from_tensor(Tensor::ones([6, 12], &device).mul_scalar(0.1));
        let forth = values(adapter.forward(videos(&device)));
        let back = values(adapter.forward(videos(&device).flip([1])));
        let moved = forth.iter().zip(&back).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(moved > 1e-3, "{moved}");
        assert!(forth.chunks(12).all(|row| (row.iter().map(|v| v * v).sum::<f32>() - 1.0).abs() < 1e-5));
    }

    #[test]
    fn a_width_is_whole_heads() {
        let width = |dim, reduction, heads| {
            TemporalAdapterConfig::new(dim, 8).with_reduction(reduction).with_heads(heads).width()
        };
        assert_eq!([width(160, 4, 4), width(512, 4, 4), width(10, 2, 4), width(6, 2, 4)], [40, 128, 4, 0]);
    }
}
