use burn::{
    module::{Module, Param},
    nn::Linear,
    optim::GradientsParams,
    tensor::{Device, Tensor, TensorData},
};

use crate::adapter::cross_entropy;
use crate::archive::parameters::Parameter;
use crate::features::{TextClassifier, contrastive_logits, normalise};

/// The one parameter: a linear layer without its bias, which does not train.
#[derive(Module, Debug)]
pub(super) struct Projector {
    pub visual_projection: Linear,
}

impl Projector {
    pub fn new(weight: &Parameter, device: &Device) -> Self {
        let weight = TensorData::new(weight.values.clone(), weight.shape.clone());
        let weight = Param::from_data(weight, &device.clone().autodiff());
        Self { visual_projection: Linear { weight, bias: None } }
    }
}

/// What is minimised.
pub(super) struct Objective {
    initial: Tensor<2>,       // P0, [features, dim]
    bias: Option<Tensor<1>>,  // [dim]
    class_weights: Tensor<2>, // W, [classes, dim]
    scale: f64,
    lambda: f64,
}

impl Objective {
    pub fn new(
        weight: &Parameter,
        bias: Option<&Parameter>,
        classes: &TextClassifier,
        lambda: f64,
        device: &Device,
    ) -> Self {
        Self {
            initial: tensor(weight, device),
            bias: bias.map(|bias| tensor(bias, device)),
            class_weights: classes.tensor(device),
            scale: classes.logit_scale(),
            lambda,
        }
    }

    /// The mean cross-entropy plus the pull, and the gradient of the projection.
    pub fn gradients(
        &self,
        net: &Projector,
        images: Tensor<2>,
        targets: Tensor<2>,
    ) -> (Tensor<1>, GradientsParams) {
        let projected = with_bias(net.visual_projection.forward(images), self.bias.as_ref());
        let logits = contrastive_logits(normalise(projected), self.class_weights.clone(), self.scale);
        let shift = net.visual_projection.weight.val() - self.initial.clone();
        let pull = (shift.clone() * shift).sum().mul_scalar(self.lambda);
        let loss = cross_entropy(logits, targets) + pull;
        let gradients = GradientsParams::from_grads(loss.backward(), net);
        (loss.inner(), gradients)
    }
}

pub(super) fn tensor<const D: usize>(parameter: &Parameter, device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(parameter.values.clone(), parameter.shape.clone()), device)
}

pub(super) fn with_bias(rows: Tensor<2>, bias: Option<&Tensor<1>>) -> Tensor<2> {
    match bias {
        Some(bias) => rows + bias.clone().unsqueeze::<2>(),
        None => rows,
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const FEATURES: usize = 5;
    const DIM: usize = 3;
    const LAMBDA: f64 = 0.3;

    fn numbers(count: usize, random: &mut ChaCha8Rng) -> Vec<f32> {
        (0..count).map(|_| random.random_range(-1.0..1.0)).collect()
    }

    /// `CE + lambda ||P - P0||^2` in plain loops, of one row of features for each of the two classes.
    fn loss(x: &[f32], p: &[f64], p0: &[f32], b: &[f32], classes: &TextClassifier) -> f64 {
        let mut sum = 0.0;
        for (label, x) in x.chunks(FEATURES).enumerate() {
            let z: Vec<f64> = (0..DIM)
                .map(|d| {
                    (0..FEATURES).map(|i| f64::from(x[i]) * p[i * DIM + d]).sum::<f64>() + f64::from(b[d])
                })
                .collect();
            let norm = z.iter().map(|z| z * z).sum::<f64>().sqrt();
            let logit = |class: usize| {
                let text = classes.weights().row(class).iter();
                10.0 * z.iter().zip(text).map(|(z, &w)| z / norm * f64::from(w)).sum::<f64>()
            };
            sum += (logit(0).exp() + logit(1).exp()).ln() - logit(label);
        }
        let pull: f64 = p.iter().zip(p0).map(|(p, &p0)| (p - f64::from(p0)).powi(2)).sum();
        sum / 2.0 + LAMBDA * pull
    }

    #[test]
    fn the_objective_is_the_formula_and_its_gradient_the_slope() {
        let device = Device::flex();
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let text = numbers(2 * DIM, &mut random);
        let classes = TextClassifier::new(text, DIM, ["a", "b"], ["a {}."], 10.0, "tiny").unwrap();
        let (x, p, p0) = (
            numbers(2 * FEATURES, &mut random),
            numbers(FEATURES * DIM, &mut random),
            numbers(FEATURES * DIM, &mut random),
        );
        let b = numbers(DIM, &mut random);
        let matrix = |values: &[f32]| Parameter { shape: vec![FEATURES, DIM], values: values.to_vec() };
        let bias = Parameter { shape: vec![DIM], values: b.clone() };
        let objective = Objective::new(&matrix(&p0), Some(&bias), &classes, LAMBDA, &device);
        let net = Projector::new(&matrix(&p), &device);
        let images = Tensor::from_data(TensorData::new(x.clone(), [2, FEATURES]), &device);
        let targets = Tensor::from_data([[1.0, 0.0], [0.0, 1.0]], &device);
        let (found, gradients) = objective.gradients(&net, images, targets);
        assert_eq!(gradients.len(), 1, "the bias does not train");

        let at: Vec<f64> = p.iter().map(|&p| f64::from(p)).collect();
        let expected = loss(&x, &at, &p0, &b, &classes);
        assert!((f64::from(found.into_scalar::<f32>()) - expected).abs() < 1e-4 * expected);
        let gradient = gradients.get::<2>(net.visual_projection.weight.id).unwrap();
        let gradient: Vec<f32> = gradient.into_data().iter().collect();
        for (index, &gradient) in gradient.iter().enumerate() {
            let moved = |by: f64| {
                let mut p = at.clone();
                p[index] += by;
                loss(&x, &p, &p0, &b, &classes)
            };
            let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!((slope - f64::from(gradient)).abs() < 1e-3, "{index}: {slope} {gradient}");
        }
    }
}
