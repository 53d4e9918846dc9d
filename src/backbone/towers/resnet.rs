use burn::{
    module::{Module, Param},
    nn::Linear,
    tensor::{
        Tensor, activation,
        module::{attention, avg_pool2d, conv2d},
        ops::{AttentionModuleOptions, AvgPoolOptions, ConvOptions},
    },
};

use super::transformer::linear;
use crate::backbone::checkpoint::Weights;

/// PyTorch's batch-norm epsilon, which no configuration overrides.
const EPSILON: f64 = 1e-5;

/// A bias-free convolution and the frozen batch norm after it, folded into one.
#[derive(Module, Debug)]
struct Convolution {
    weight: Param<Tensor<4>>, // [out, in, kernel, kernel]
    bias: Param<Tensor<1>>,
    stride: usize,
}

impl Convolution {
    fn load(
        weights: &mut Weights,
        conv: &str,
        norm: &str,
        [inputs, outputs]: [usize; 2],
        kernel: usize,
        stride: usize,
    ) -> Self {
        let weight = weights.tensor(&format!("{conv}.weight"), [outputs, inputs, kernel, kernel]);
        let mut statistic = |name: &str| weights.tensor(&format!("{norm}.{name}"), [outputs]);
        let (gamma, beta) = (statistic("weight"), statistic("bias"));
        let (mean, variance) = (statistic("running_mean"), statistic("running_var"));
        if !weights.is_sound() {
            // The model will not be: no arithmetic on sizes that only a configuration claims.
            return Self { weight: Param::from_tensor(weight), bias: Param::from_tensor(beta), stride };
        }
        let scale = gamma / (variance + EPSILON).sqrt();
        Self {
            weight: Param::from_tensor(weight * scale.clone().reshape([outputs, 1, 1, 1])),
            bias: Param::from_tensor(beta - mean * scale),
            stride,
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let padding = self.weight.val().dims()[2] / 2;
        let options = ConvOptions::new([self.stride; 2], [padding; 2], [1; 2], 1);
        conv2d(x, self.weight.val(), Some(self.bias.val()), options)
    }
}

/// A bottleneck that strides by average pooling.
#[derive(Module, Debug)]
struct Bottleneck {
    conv1: Convolution,
    conv2: Convolution,
    conv3: Convolution,
    shortcut: Option<Convolution>,
    stride: usize,
}

impl Bottleneck {
    fn load(weights: &mut Weights, prefix: &str, inputs: usize, planes: usize, stride: usize) -> Self {
        let mut conv = |index: usize, channels: [usize; 2], kernel: usize| {
            let (conv, norm) = (format!("{prefix}.conv{index}"), format!("{prefix}.bn{index}"));
            Convolution::load(weights, &conv, &norm, channels, kernel, 1)
        };
        let conv1 = conv(1, [inputs, planes], 1);
        let conv2 = conv(2, [planes, planes], 3);
        let conv3 = conv(3, [planes, 4 * planes], 1);
        let shortcut = (stride > 1 || inputs != 4 * planes).then(|| {
            let (conv, norm) = (format!("{prefix}.downsample.0"), format!("{prefix}.downsample.1"));
            Convolution::load(weights, &conv, &norm, [inputs, 4 * planes], 1, 1)
        });
        Self { conv1, conv2, conv3, shortcut, stride }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let shortcut = match &self.shortcut {
            Some(conv) => conv.forward(pool(x.clone(), self.stride)),
            None => x.clone(),
        };
        let x = activation::relu(self.conv1.forward(x));
        let x = pool(activation::relu(self.conv2.forward(x)), self.stride);
        activation::relu(self.conv3.forward(x) + shortcut)
    }
}

fn pool(x: Tensor<4>, stride: usize) -> Tensor<4> {
    if stride == 1 {
        return x;
    }
    avg_pool2d(x, AvgPoolOptions::new([stride; 2]).with_stride([stride; 2]))
}

/// CLIP's ResNet: a stem of three convolutions, average pooling before every stride, and a pooling by attention
/// whose query is the mean (Radford et al., 2021, section 2.4, <https://arxiv.org/abs/2103.00020>). The last layer
/// of that pooling is the projection.
#[derive(Module, Debug)]
pub(in crate::backbone) struct ModifiedResNet {
    stem: Vec<Convolution>,
    blocks: Vec<Bottleneck>,
    position: Param<Tensor<2>>, // [1 + places, features]
    query: Linear,
    key: Linear,
    value: Linear,
    heads: usize,
}

impl ModifiedResNet {
    pub fn load(
        weights: &mut Weights,
        image_size: usize,
        layers: [usize; 4],
        width: usize,
        heads: usize,
    ) -> Self {
        let half = width / 2;
        let mut stem = Vec::new();
        for (index, (channels, stride)) in
            [([3, half], 2), ([half, half], 1), ([half, width], 1)].into_iter().enumerate()
        {
            let (conv, norm) = (format!("visual.conv{}", index + 1), format!("visual.bn{}", index + 1));
            stem.push(Convolution::load(weights, &conv, &norm, channels, 3, stride));
        }
        let (mut blocks, mut inputs) = (Vec::new(), width);
        for (stage, &count) in layers.iter().enumerate() {
            let planes = width << stage;
            for index in 0..count {
                let stride = if stage > 0 && index == 0 { 2 } else { 1 };
                let prefix = format!("visual.layer{}.{index}", stage + 1);
                blocks.push(Bottleneck::load(weights, &prefix, inputs, planes, stride));
                inputs = 4 * planes;
            }
        }
        let (features, side) = (32 * width, image_size / 32);
        let position = weights.tensor("visual.attnpool.positional_embedding", [side * side + 1, features]);
        let mut projection =
            |name: &str| linear(weights, &format!("visual.attnpool.{name}_proj"), features, features);
        Self {
            stem,
            blocks,
            position: Param::from_tensor(position),
            query: projection("q"),
            key: projection("k"),
            value: projection("v"),
            heads,
        }
    }

    /// Pixels `[batch, 3, side, side]` to pooled features `[batch, 32 width]`, before the projection.
    pub fn forward(&self, pixels: Tensor<4>) -> Tensor<2> {
        let x = self.stem.iter().fold(pixels, |x, conv| activation::relu(conv.forward(x)));
        let x = self.blocks.iter().fold(pool(x, 2), |x, block| block.forward(x));
        self.attention_pool(x)
    }

    fn attention_pool(&self, x: Tensor<4>) -> Tensor<2> {
        let [batch, features, height, width] = x.dims();
        let places = x.reshape([batch, features, height * width]).swap_dims(1, 2); // [batch, places, features]
        let mean = places.clone().mean_dim(1);
        let tokens = Tensor::cat(vec![mean, places], 1) + self.position.val().unsqueeze();
        let split = |x: Tensor<3>| {
            let [_, count, _] = x.dims();
            x.reshape([batch, count, self.heads, features / self.heads]).swap_dims(1, 2)
        };
        let query = split(self.query.forward(tokens.clone().narrow(1, 0, 1))); // [batch, heads, 1, head]
        let (key, value) = (split(self.key.forward(tokens.clone())), split(self.value.forward(tokens)));
        let options = AttentionModuleOptions::default();
        attention(query, key, value, None, None, options).reshape([batch, features])
    }
}
