use std::f64::consts::TAU;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::backbone::{BackboneConfig, VisionKind};

/// What CLIP's cosines are multiplied with before it has learned anything.
const TEMPERATURE: f32 = 0.07;

/// Weights of towers that train from nothing, drawn on the host, so that a seed gives the same on every device.
///
/// | Tensor | Drawn from |
/// | --- | --- |
/// | token and position embeddings of the text | `N(0, 0.02^2)` and `N(0, 0.01^2)` |
/// | class and position embeddings of the image | `N(0, 1 / width)` |
/// | the last layer of a branch that is added | `N(0, 1 / (2 layers fan_in))` |
/// | the MLP's first layer | `N(0, 1 / (2 fan_in))` |
/// | every other matrix | `N(0, 1 / fan_in)` |
/// | norms, biases, logit scale | 1, 0 and `ln(1 / 0.07)` |
///
/// These are CLIP's (Radford et al., 2021, released code, <https://arxiv.org/abs/2103.00020>), but for the patch
/// projection and the MLP's last layer, which there have other constants.
pub(in crate::backbone) struct Initial {
    random: ChaCha8Rng,
    vision_layers: usize,
    text_layers: usize,
}

impl Initial {
    pub fn new(config: &BackboneConfig, seed: u64) -> Self {
        let vision_layers = match &config.vision.kind {
            VisionKind::Vit { layers, .. } => *layers,
            VisionKind::ResNet { layers } => layers.iter().sum(),
        };
        Self { random: ChaCha8Rng::seed_from_u64(seed), vision_layers, text_layers: config.text.layers }
    }

    /// The values of the tensor that Hugging Face calls `name`.
    pub fn values(&mut self, name: &str, shape: &[usize]) -> Vec<f32> {
        let count = shape.iter().product();
        if name == "logit_scale" {
            return vec![(1.0 / TEMPERATURE).ln(); count];
        }
        if name.ends_with("bias") {
            return vec![0.0; count];
        }
        if name.contains("norm") {
            return vec![1.0; count];
        }
        let deviation = self.deviation(name, shape);
        (0..count).map(|_| (deviation * self.normal()) as f32).collect()
    }

    fn deviation(&self, name: &str, shape: &[usize]) -> f64 {
        let layers = if name.starts_with("text") { self.text_layers } else { self.vision_layers };
        let width = shape.last().map_or(1.0, |&width| width as f64);
        let fan_in = shape.iter().skip(1).product::<usize>() as f64;
        match name {
            "text_model.embeddings.token_embedding.weight" => 0.02,
            "text_model.embeddings.position_embedding.weight" => 0.01,
            _ if name.contains("class_embedding") || name.contains("position_embedding") => width.powf(-0.5),
            _ if name.ends_with("out_proj.weight") || name.ends_with("fc2.weight") => {
                (2.0 * layers.max(1) as f64 * fan_in).powf(-0.5)
            }
            _ if name.ends_with("fc1.weight") => (2.0 * fan_in).powf(-0.5),
            _ => fan_in.powf(-0.5),
        }
    }

    /// A standard normal number (Box and Muller, 1958).
    fn normal(&mut self) -> f64 {
        let (radius, angle): (f64, f64) = (self.random.random(), self.random.random());
        (-2.0 * (1.0 - radius).ln()).sqrt() * (TAU * angle).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backbone::{TextConfig, TowerActivation, VisionConfig};

    fn initial() -> Initial {
        let activation = TowerActivation::Gelu;
        let kind = VisionKind::Vit { patch_size: 8, layers: 2, mlp: 64, epsilon: 1e-5, activation };
        let config = BackboneConfig {
            vision: VisionConfig { image_size: 16, width: 32, heads: 2, kind },
            text: TextConfig {
                context: 8,
                vocabulary: 100,
                width: 32,
                heads: 2,
                layers: 8,
                mlp: 64,
                epsilon: 1e-5,
                activation,
                end: None,
            },
            embed_dim: 16,
        };
        Initial::new(&config, 3)
    }

    fn deviation(values: &[f32]) -> f64 {
        let squares: f64 = values.iter().map(|&value| f64::from(value).powi(2)).sum();
        (squares / values.len() as f64).sqrt()
    }

    #[test]
    fn each_kind_of_tensor_has_its_spread() {
        for (name, shape, expected) in [
            ("text_model.embeddings.token_embedding.weight", vec![500, 32], 0.02),
            ("vision_model.embeddings.patch_embedding.weight", vec![100, 3, 8, 8], 192f64.powf(-0.5)),
            ("vision_model.encoder.layers.0.self_attn.out_proj.weight", vec![100, 100], 0.05),
            ("text_model.encoder.layers.0.mlp.fc2.weight", vec![100, 100], 0.025),
            ("text_model.encoder.layers.0.mlp.fc1.weight", vec![100, 50], 0.1),
        ] {
            let found = deviation(&initial().values(name, &shape));
            assert!((found / expected - 1.0).abs() < 0.04, "{name}: expected {expected}, found {found}");
        }
    }

    #[test]
    fn norms_begin_at_one_and_biases_at_nothing() {
        let mut initial = initial();
        assert_eq!(initial.values("vision_model.pre_layrnorm.weight", &[2]), [1.0, 1.0]);
        assert_eq!(initial.values("text_model.encoder.layers.1.layer_norm1.bias", &[2]), [0.0, 0.0]);
        approx::assert_abs_diff_eq!(initial.values("logit_scale", &[])[0], 2.6593, epsilon = 1e-4);
    }
}
