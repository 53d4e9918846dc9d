//! The network of a pair adapter: what each side's features go through, and the slope of the loss.

use burn::{
    module::{Module, Param},
    nn::Linear,
    optim::GradientsParams,
    tensor::{Device, Tensor, activation},
};

use super::batches::PairBatch;
use crate::adapter::{AdapterConfig, ResidualFusion, ResidualFusionConfig, cross_entropy_slope};
use crate::features::{contrastive_logits, normalise, normalise_slope, norms};

/// What the features of one side go through before they are scaled to unit length.
#[derive(Module, Debug)]
pub(super) enum Side {
    /// `x M`, which starts at the identity.
    Linear(Linear),
    /// `x + A(x)`, which starts at `x`.
    Residual(Residual),
}

/// `x + W2 ReLU(W1 x)`: CLIP-Adapter's bottleneck without the last ReLU, which could only add.
#[derive(Module, Debug)]
pub(super) struct Residual {
    down: Linear,
    up: Linear,
    /// Half of each, which has the direction of their sum.
    fusion: ResidualFusion,
}

/// Both sides; one that has none stays what it is.
#[derive(Module, Debug)]
pub(super) struct PairNet {
    pub image: Option<Side>,
    pub text: Option<Side>,
}

impl Side {
    pub fn linear(dim: usize, device: &Device) -> Self {
        let weight =
            Param::from_data(Tensor::<2>::eye(dim, &device.clone().without_autodiff()).into_data(), device);
        Self::Linear(Linear { weight, bias: None })
    }

    /// With CLIP-Adapter's `W1` of this seed, and `W2 = 0`.
    pub fn residual(dim: usize, reduction: usize, seed: u64, device: &Device) -> Self {
        let (down, up) =
            AdapterConfig::new(dim).with_reduction(reduction).with_seed(seed).init(device).into_layers();
        let plain = device.clone().without_autodiff();
        let zero = Tensor::<2>::zeros(up.weight.lazy_shape().dims::<2>(), &plain).into_data();
        let up = Linear { weight: Param::from_data(zero, device), bias: None };
        Self::Residual(Residual {
            down,
            up,
            fusion: ResidualFusionConfig::new().with_ratio(0.5).init(device),
        })
    }

    /// `[rows, dim]` to unit rows.
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        normalise(match self {
            Self::Linear(linear) => linear.forward(x),
            Self::Residual(side) => {
                let hidden = activation::relu(side.down.forward(x.clone()));
                side.fusion.forward(side.up.forward(hidden), x)
            }
        })
    }

    /// Unit rows, and what turns a slope in them into gradients.
    fn traced(&self, x: Tensor<2>) -> Traced<'_> {
        let (hidden, y) = match self {
            Self::Linear(linear) => (None, x.clone().matmul(linear.weight.val().inner())),
            Self::Residual(side) => {
                let hidden = activation::relu(x.clone().matmul(side.down.weight.val().inner()));
                let adapted = hidden.clone().matmul(side.up.weight.val().inner());
                (Some(hidden), side.fusion.forward(adapted, x.clone()))
            }
        };
        let norm = norms(y.clone());
        Traced { side: self, x, hidden, unit: y / norm.clone(), norm }
    }
}

/// A forward pass of one side on a plain device.
struct Traced<'a> {
    side: &'a Side,
    x: Tensor<2>,              // [batch, dim]
    hidden: Option<Tensor<2>>, // [batch, hidden]
    unit: Tensor<2>,           // [batch, dim]
    norm: Tensor<2>,           // [batch, 1]
}

impl Traced<'_> {
    /// Registers the gradients that a slope in the unit rows gives, and returns what holding a matrix to the identity
    /// adds to the loss: `lambda ||M - I||_F^2`.
    fn register(self, slope: Tensor<2>, lambda: f64, gradients: &mut GradientsParams) -> Option<Tensor<1>> {
        let slope = normalise_slope(slope, self.unit, self.norm); // [batch, dim]
        match (self.side, self.hidden) {
            (Side::Residual(side), Some(hidden)) => {
                let slope = slope.mul_scalar(side.fusion.constant());
                gradients.register(side.up.weight.id, hidden.clone().transpose().matmul(slope.clone()));
                let up = side.up.weight.val().inner(); // [hidden, dim]
                let d_hidden = slope.matmul(up.transpose()) * hidden.greater_elem(0.0).float();
                gradients.register(side.down.weight.id, self.x.transpose().matmul(d_hidden));
                None
            }
            (Side::Linear(linear), _) => {
                let matrix = linear.weight.val().inner();
                let change = matrix.clone() - Tensor::eye(matrix.dims()[0], &matrix.device());
                let pull = change.clone().mul_scalar(2.0 * lambda);
                gradients.register(linear.weight.id, self.x.transpose().matmul(slope) + pull);
                Some((change.clone() * change).sum().mul_scalar(lambda))
            }
            (Side::Residual(_), None) => None, // is traced with its hidden units
        }
    }
}

impl PairNet {
    /// Adapted image features: `[rows, dim]` to unit rows.
    pub fn images(&self, images: Tensor<2>) -> Tensor<2> {
        forward(&self.image, images)
    }

    /// Adapted text features: `[rows, dim]` to unit rows.
    pub fn texts(&self, texts: Tensor<2>) -> Tensor<2> {
        forward(&self.text, texts)
    }

    /// `(CE(s t f^T) + CE(s f t^T)) / 2` of unit rows `f` and `t`, plus the pull of matrices towards the identity, and
    /// the gradient of every parameter.
    pub fn gradients(&self, batch: PairBatch, scale: f64, lambda: f64) -> (Tensor<1>, GradientsParams) {
        let mut gradients = GradientsParams::new();
        let image = self.image.as_ref().map(|side| side.traced(batch.images.clone()));
        let text = self.text.as_ref().map(|side| side.traced(batch.texts.clone()));
        let f = image.as_ref().map_or(batch.images, |side| side.unit.clone());
        let t = text.as_ref().map_or(batch.texts, |side| side.unit.clone());

        let mut logits = contrastive_logits(t.clone(), f.clone(), scale); // [batch, batch]
        if let Some(mask) = batch.mask {
            logits = logits + mask;
        }
        let own = Tensor::eye(logits.dims()[0], &logits.device());
        let (forth, d_forth) = cross_entropy_slope(logits.clone(), own.clone(), scale);
        let (back, d_back) = cross_entropy_slope(logits.transpose(), own, scale);
        let d_cosines = (d_forth + d_back.transpose()).mul_scalar(0.5); // [texts, images]
        let mut loss = (forth + back).mul_scalar(0.5);

        let slopes = [(image, d_cosines.clone().transpose().matmul(t)), (text, d_cosines.matmul(f))];
        for (side, slope) in slopes {
            if let Some(pull) = side.and_then(|side| side.register(slope, lambda, &mut gradients)) {
                loss = loss + pull;
            }
        }
        (loss, gradients)
    }
}

fn forward(side: &Option<Side>, x: Tensor<2>) -> Tensor<2> {
    match side {
        Some(side) => side.forward(x),
        None => normalise(x),
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;

    use super::*;
    use crate::adapter::cross_entropy;
    use crate::archive::parameters;

    fn wave(rows: usize, phase: f32) -> Tensor<2> {
        let values: Vec<f32> = (0..rows * 8).map(|at| (0.37 * (at * at) as f32 + phase).sin()).collect();
        normalise(Tensor::from_data(TensorData::new(values, [rows, 8]), &Device::flex()))
    }

    fn batch(mask: bool) -> PairBatch {
        let mut values = vec![0.0f32; 25];
        if mask {
            (values[1], values[5]) = (-1e4, -1e4);
        }
        let mask = mask.then(|| Tensor::from_data(TensorData::new(values, [5, 5]), &Device::flex()));
        PairBatch { images: wave(5, 0.2), texts: wave(5, 1.3), mask }
    }

    /// Away from where it starts, where the slopes of `W1` would all be zero.
    fn moved(net: PairNet) -> PairNet {
        let mut all = parameters::collect(&net);
        for (at, value) in all.values_mut().flat_map(|parameter| &mut parameter.values).enumerate() {
            *value += 0.2 * (1.7 * at as f32).sin();
        }
        parameters::load(net, &all).unwrap()
    }

    #[test]
    fn it_starts_at_zero_shot_bit_for_bit() {
        let device = Device::flex();
        for side in [Side::linear(8, &device), Side::residual(8, 2, 3, &device)] {
            let net = PairNet { image: Some(side.clone()), text: None };
            let x = wave(5, 0.4).mul_scalar(3.0);
            let values = |x: Tensor<2>| x.try_into_vec_as::<f32>().unwrap();
            assert_eq!(values(net.images(x.clone())), values(net.texts(x)), "{side:?}");
        }
    }

    #[test]
    fn the_written_out_gradients_are_the_recorded_ones() {
        let device = Device::flex().autodiff();
        let side = |linear: bool, seed: u64| match linear {
            true => Side::linear(8, &device),
            false => Side::residual(8, 2, seed, &device),
        };
        for (image, text, mask) in [
            (Some(true), Some(true), false),
            (Some(false), Some(false), true),
            (None, Some(true), true),
            (Some(false), None, false),
        ] {
            let net =
                PairNet { image: image.map(|kind| side(kind, 1)), text: text.map(|kind| side(kind, 2)) };
            let net = moved(net);
            let batch = batch(mask);
            let (loss, written) = net.gradients(batch.clone(), 10.0, 0.3);

            let (f, t) = (net.images(batch.images), net.texts(batch.texts));
            let logits = contrastive_logits(t, f, 10.0);
            let logits = batch.mask.map_or(logits.clone(), |mask| logits + mask);
            let own = Tensor::eye(5, &Device::flex());
            let mut recorded = (cross_entropy(logits.clone(), own.clone())
                + cross_entropy(logits.transpose(), own))
            .mul_scalar(0.5);
            let mut ids = Vec::new();
            for side in [&net.image, &net.text].into_iter().flatten() {
                match side {
                    Side::Linear(linear) => {
                        let change = linear.weight.val() - Tensor::eye(8, &Device::flex());
                        recorded = recorded + (change.clone() * change).sum().mul_scalar(0.3);
                        ids.push(linear.weight.id);
                    }
                    Side::Residual(side) => ids.extend([side.down.weight.id, side.up.weight.id]),
                }
            }
            loss.into_data()
                .assert_approx_eq::<f32>(&recorded.clone().inner().into_data(), Default::default());
            let recorded = GradientsParams::from_grads(recorded.backward(), &net);
            assert_eq!(written.len(), ids.len());
            for id in ids {
                let (written, recorded) = (written.get::<2>(id).unwrap(), recorded.get::<2>(id).unwrap());
                assert!(recorded.clone().abs().max().into_scalar::<f32>() > 1e-2);
                assert!((written - recorded).abs().max().into_scalar::<f32>() < 1e-4);
            }
        }
    }
}
