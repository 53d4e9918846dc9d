//! The frozen towers on the host's processor: weights that are laid out once for the kernels of `rten-gemm`, in f32 or
//! in eight bits, and everything between two products in one pass over a row.
//!
//! In eight bits a product is `y = s_row s_column (levels - zero) W + b` with an exact sum of integers: the row's scale
//! and zero are found as it passes, a column's scale is fixed. Norms, softmax, residuals and projections stay in f32.
//!
//! A number depends on its own image or text alone: neither on what else is in the batch nor on the threads that share
//! a product.

mod block;
mod levels;
mod packing;
mod product;
mod smooth;
mod text;
mod vision;

pub(in crate::backbone) use packing::Form;
pub(in crate::backbone) use text::{PackedText, TextPacking};
pub(in crate::backbone) use vision::{PackedVision, VisionPacking};

#[cfg(test)]
mod tests {
    use burn::{
        module::{Module, ModuleMapper, Param},
        tensor::{Device, Distribution, Tensor},
    };

    use super::*;
    use crate::backbone::checkpoint::{Initial, Weights};
    use crate::backbone::towers::{Language, TextTower, Tower, TowerActivation, Vision, VisionTransformer};
    use crate::backbone::{BackboneConfig, CheckpointLayout, TextConfig, VisionConfig, VisionKind};
    use crate::input::Tokenized;

    const LAYOUT: CheckpointLayout = CheckpointLayout::HuggingFace;

    /// A width that is no multiple of the kernels' steps, and products of more than one piece.
    fn config() -> BackboneConfig {
        let (activation, epsilon) = (TowerActivation::Gelu, 1e-5);
        BackboneConfig {
            vision: VisionConfig {
                image_size: 32,
                width: 216,
                heads: 3,
                kind: VisionKind::Vit { patch_size: 8, layers: 3, mlp: 864, epsilon, activation },
            },
            text: TextConfig {
                context: 12,
                vocabulary: 90,
                width: 72,
                heads: 3,
                layers: 2,
                mlp: 288,
                epsilon,
                activation,
                end: Some(89),
            },
            embed_dim: 40,
        }
    }

    /// Moves every parameter, so that biases and shifts are something.
    struct Noise;

    impl ModuleMapper for Noise {
        fn map_float<const D: usize>(&mut self, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
            parameter.map(|x| {
                let noise = Tensor::random(x.dims(), Distribution::Normal(0.0, 0.05), &x.device());
                x + noise
            })
        }
    }

    fn vision(device: &Device) -> (VisionTransformer, Tensor<2>) {
        let config = config();
        let mut weights = Weights::random(Initial::new(&config, 5), device);
        device.seed(4);
        match Vision::load(&mut weights, LAYOUT, &config, None) {
            Vision { tower: Tower::Vit(tower), projection } => (tower.map(&mut Noise), projection.weight),
            other => panic!("{other:?}"),
        }
    }

    fn packed(tower: &VisionTransformer, projection: &Tensor<2>, form: &Form<Tensor<4>>) -> PackedVision {
        let mut packing = VisionPacking::new(tower, form);
        tower.blocks.iter().for_each(|block| packing.push(block));
        packing.finish(tower, projection.clone())
    }

    fn pixels(batch: usize, device: &Device) -> Tensor<4> {
        device.seed(9);
        Tensor::random([batch, 3, 32, 32], Distribution::Normal(0.0, 1.0), device)
    }

    fn differ<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f32 {
        ((a - b.clone()).abs().max() / b.abs().max()).into_scalar::<f32>()
    }

    /// The smallest cosine of two rows.
    fn cosine(a: &Tensor<2>, b: &Tensor<2>) -> f32 {
        let norm = |x: &Tensor<2>| x.clone().square().sum_dim(1).sqrt();
        ((a.clone() * b.clone()).sum_dim(1) / (norm(a) * norm(b))).min().into_scalar::<f32>()
    }

    #[test]
    fn packed_towers_compute_what_those_of_tensors_do() {
        let device = Device::flex();
        let (tower, projection) = vision(&device);
        let same = packed(&tower, &projection, &Form::Floats);
        let pixels = pixels(3, &device);
        let expected = tower.forward(pixels.clone());
        assert!(differ(same.forward(pixels.clone()), expected.clone()) < 1e-5);
        assert!(differ(same.embeddings(pixels.clone()), expected.matmul(projection.clone())) < 1e-5);
        assert!(differ(same.patches(pixels.clone()), tower.patches(pixels.clone())) < 1e-5);
        assert!(differ(same.patch_values(pixels.clone()), tower.patch_values(pixels.clone())) < 1e-5);

        let config = config();
        let mut weights = Weights::random(Initial::new(&config, 6), &device);
        let tensors = Language::load(&mut weights, LAYOUT, &config, None);
        let mut weights = Weights::random(Initial::new(&config, 6), &device);
        let same = Language::load(&mut weights, LAYOUT, &config, Some(Form::Floats));
        assert!(matches!(same.tower, TextTower::Packed(_)));
        let ids = vec![vec![1, 7, 89, 0, 0, 0], vec![4, 88, 87, 86, 2, 89]];
        let texts = Tokenized { ids, ends: vec![2, 5] };
        let [a, b] = [&same, &tensors].map(|tower| tower.embeddings(&texts, &device));
        assert!(differ(a, b) < 1e-5);
    }

    #[test]
    fn what_is_unpacked_is_what_was_packed() {
        let device = Device::flex();
        let (tower, projection) = vision(&device);
        let pixels = pixels(2, &device);
        let again = packed(&tower, &projection, &Form::Floats).unpack(&device);
        assert_eq!(again.forward(pixels.clone()).to_data(), tower.forward(pixels.clone()).to_data());
        // Of eight bits the same eight bits.
        let quantised = packed(&tower, &projection, &Form::Bytes);
        let again = packed(&quantised.unpack(&device), &projection, &Form::Bytes);
        assert_eq!(again.embeddings(pixels.clone()).to_data(), quantised.embeddings(pixels).to_data());
    }

    #[test]
    fn scale_moves_from_channels_far_above_the_others_to_the_weights() {
        const FAR: f32 = 80.0;
        let device = Device::flex();
        let (mut tower, projection) = vision(&device);
        let pixels = pixels(4, &device);
        let plain = packed(&tower, &projection, &Form::Floats).embeddings(pixels.clone());
        let without = cosine(&packed(&tower, &projection, &Form::Bytes).embeddings(pixels.clone()), &plain);
        // Some channels are multiplied after their norm, and the weights that take them divided: the same function.
        let far: Vec<f32> = (0..216).map(|at| if at % 50 == 3 { FAR } else { 1.0 }).collect();
        let far = Tensor::<1>::from_floats(far.as_slice(), &device);
        for block in &mut tower.blocks {
            for (norm, linear) in [(&mut block.norm1, &mut block.qkv), (&mut block.norm2, &mut block.fc1)] {
                norm.gamma = norm.gamma.clone().map(|gain| gain * far.clone());
                norm.beta = norm.beta.clone().map(|shift| shift.map(|shift| shift * far.clone()));
                linear.weight = linear.weight.clone().map(|weight| weight / far.clone().unsqueeze_dim(1));
            }
        }
        let whole = packed(&tower, &projection, &Form::Floats).embeddings(pixels.clone());
        assert!(differ(whole.clone(), plain) < 1e-4);
        let forms = [Form::Bytes, Form::Smoothed(self::pixels(2, &device))];
        let [bytes, smoothed] =
            forms.map(|form| cosine(&packed(&tower, &projection, &form).embeddings(pixels.clone()), &whole));
        println!("{bytes} as it is, {smoothed} smoothed, {without} before");
        assert!(1.0 - smoothed < 1.5 * (1.0 - without), "{smoothed} {without}");
        assert!(1.0 - bytes > 4.0 * (1.0 - smoothed), "{bytes} {smoothed}");
    }
}
