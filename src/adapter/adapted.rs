use burn::{
    module::Module,
    optim::GradientsParams,
    tensor::{Tensor, activation},
};

use super::{Activation, Adapter, ResidualFusion, cross_entropy, cross_entropy_slope};
use crate::features::{contrastive_logits, normalise, normalise_slope, norms};

/// One adapted side of CLIP: `normalise(r A(x) + (1 - r) x)`.
#[derive(Module, Debug)]
pub(crate) struct Branch {
    pub adapter: Adapter,
    pub fusion: ResidualFusion,
}

impl Branch {
    /// `[rows, dim]` to unit rows `[rows, dim]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        normalise(self.fusion.forward(self.adapter.forward(x.clone()), x))
    }
}

/// CLIP-Adapter's figure as a module: an adapted image side, an adapted text side, or both.
#[derive(Module, Debug)]
pub(crate) struct AdaptedClip {
    pub image: Option<Branch>,
    pub text: Option<Branch>,
}

impl AdaptedClip {
    /// `f*`: `[batch, dim]` to unit rows.
    pub fn images(&self, images: Tensor<2>) -> Tensor<2> {
        match &self.image {
            Some(branch) => branch.forward(images),
            None => normalise(images),
        }
    }

    /// `W*`: `[classes, dim]` to unit rows.
    pub fn classes(&self, classes: Tensor<2>) -> Tensor<2> {
        match &self.text {
            Some(branch) => branch.forward(classes),
            None => classes,
        }
    }

    /// `s f* W*^T`: `[batch, dim]` and `[classes, dim]` to `[batch, classes]`.
    pub fn logits(&self, images: Tensor<2>, classes: Tensor<2>, scale: f64) -> Tensor<2> {
        contrastive_logits(self.images(images), self.classes(classes), scale)
    }

    /// Replaces the ratio of every branch that has a constant one.
    pub fn set_ratio(&mut self, ratio: f64) {
        for branch in [&mut self.image, &mut self.text].into_iter().flatten() {
            branch.fusion.set_fixed(ratio);
        }
    }

    /// The constant ratio, or the one that learned ratios started from.
    pub fn constant_ratio(&self) -> f64 {
        let branch = self.image.as_ref().or(self.text.as_ref());
        branch.map_or(0.0, |branch| branch.fusion.constant())
    }

    /// The mean cross-entropy of a batch and its gradients with respect to every parameter.
    ///
    /// # Shapes
    /// - `images`: `[batch, dim]`; `targets`: `[batch, classes]`, rows that sum to the weight of the image; `classes`:
    ///   `[classes, dim]`, all on a plain device
    /// - returns: `[1]`, and one gradient a parameter
    pub fn gradients(
        &self,
        images: Tensor<2>,
        targets: Tensor<2>,
        classes: Tensor<2>,
        scale: f64,
    ) -> (Tensor<1>, GradientsParams) {
        if let (Some(branch), None) = (&self.image, &self.text)
            && let Some(ratio) = branch.derivable()
        {
            return branch.gradients(ratio, images, targets, classes, scale);
        }
        let loss = cross_entropy(self.logits(images, classes, scale), targets);
        let gradients = GradientsParams::from_grads(loss.backward(), self);
        (loss.inner(), gradients)
    }
}

impl Branch {
    /// The ratio of the published adapter: two bias-free layers with ReLU and a constant ratio. Its gradient is
    /// written out below.
    fn derivable(&self) -> Option<f64> {
        let Adapter { down, up, activation } = &self.adapter;
        let published = *activation == Activation::Relu && down.bias.is_none() && up.bias.is_none();
        published.then(|| self.fusion.fixed()).flatten()
    }

    /// What automatic differentiation gives, without recording a tape.
    ///
    /// On a CPU the recorded step spends as long on the tape and on one badly laid out product as on the
    /// arithmetic. A test holds the two against each other.
    fn gradients(
        &self,
        ratio: f64,
        x: Tensor<2>,
        targets: Tensor<2>,
        classes: Tensor<2>,
        scale: f64,
    ) -> (Tensor<1>, GradientsParams) {
        let (down, up) = (&self.adapter.down.weight, &self.adapter.up.weight);
        let (w1, w2) = (down.val().inner(), up.val().inner()); // [dim, hidden], [hidden, dim]

        let h = activation::relu(x.clone().matmul(w1)); // [batch, hidden]
        let a = activation::relu(h.clone().matmul(w2.clone())); // [batch, dim]
        let blend = self.fusion.forward(a.clone(), x.clone());
        let norm = norms(blend.clone()); // [batch, 1]
        let f = blend / norm.clone();
        let logits = contrastive_logits(f.clone(), classes.clone(), scale);

        let (loss, d_cosines) = cross_entropy_slope(logits, targets, scale); // [1], [batch, classes]
        let d_blend = normalise_slope(d_cosines.matmul(classes), f, norm);
        let d_a = d_blend.mul_scalar(ratio) * a.greater_elem(0.0).float();
        let d_w2 = h.clone().transpose().matmul(d_a.clone());
        // (W2 d_a^T)^T rather than d_a W2^T: the product then packs the small matrix, not the large one.
        let d_h = w2.matmul(d_a.transpose()).transpose() * h.greater_elem(0.0).float();
        let d_w1 = x.transpose().matmul(d_h);

        let mut gradients = GradientsParams::new();
        gradients.register(down.id, d_w1);
        gradients.register(up.id, d_w2);
        (loss, gradients)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::adapter::{AdapterConfig, RatioKind, ResidualFusionConfig};
    use crate::archive::parameters;

    fn branch(kind: RatioKind, device: &Device) -> Branch {
        Branch {
            adapter: AdapterConfig::new(12).init(device),
            fusion: ResidualFusionConfig::new().with_ratio(0.3).with_kind(kind).init(device),
        }
    }

    fn batch() -> (Tensor<2>, Tensor<2>, Tensor<2>) {
        let device = Device::flex();
        // Not from the device: its generator is shared by all tests of the process.
        let mut random = ChaCha8Rng::seed_from_u64(0);
        let mut random = |[rows, columns]: [usize; 2]| {
            let values: Vec<f32> = (0..rows * columns).map(|_| random.random_range(-2.0..2.0)).collect();
            Tensor::<2>::from_data(TensorData::new(values, [rows, columns]), &device)
        };
        // The second image weighs half as much again as the first.
        let targets = Tensor::from_data([[1.0, 0.0, 0.0], [0.0, 1.35, 0.15]], &device);
        (random([2, 12]), targets, normalise(random([3, 12])))
    }

    #[test]
    fn the_written_out_gradient_is_the_recorded_one() {
        let net =
            AdaptedClip { image: Some(branch(RatioKind::Fixed, &Device::flex().autodiff())), text: None };
        let (images, targets, classes) = batch();
        let (loss, written) = net.gradients(images.clone(), targets.clone(), classes.clone(), 10.0);
        let recorded = cross_entropy(net.logits(images, classes, 10.0), targets);
        loss.into_data().assert_approx_eq::<f32>(&recorded.clone().inner().into_data(), Default::default());
        let recorded = GradientsParams::from_grads(recorded.backward(), &net);
        let adapter = &net.image.as_ref().unwrap().adapter;
        for id in [adapter.down.weight.id, adapter.up.weight.id] {
            let (written, recorded) = (written.get::<2>(id).unwrap(), recorded.get::<2>(id).unwrap());
            assert!(recorded.clone().abs().max().into_scalar::<f32>() > 1e-3);
            assert!((written - recorded).abs().max().into_scalar::<f32>() < 1e-5);
        }
    }

    /// Moves one weight and looks at the loss, which knows nothing of gradients.
    #[test]
    fn the_gradient_is_the_slope_of_the_loss() {
        let device = Device::flex().autodiff();
        let net = AdaptedClip { image: Some(branch(RatioKind::Fixed, &device)), text: None };
        let (images, targets, classes) = batch();
        let (_, gradients) = net.gradients(images.clone(), targets.clone(), classes.clone(), 10.0);
        let id = net.image.as_ref().unwrap().adapter.down.weight.id;
        let gradient: Vec<f32> = gradients.get::<2>(id).unwrap().transpose().into_data().iter().collect();
        let loss_with = |index: usize, change: f32| {
            let mut parameters = parameters::collect(&net);
            parameters.get_mut("image.adapter.down.weight").unwrap().values[index] += change;
            let net = parameters::load(net.clone(), &parameters).unwrap();
            let loss =
                cross_entropy(net.valid().logits(images.clone(), classes.clone(), 10.0), targets.clone());
            f64::from(loss.into_scalar::<f32>())
        };
        for (index, &gradient) in gradient.iter().enumerate() {
            // Small enough to stay on one side of every ReLU's kink, large enough for f32.
            let slope = (loss_with(index, 1e-3) - loss_with(index, -1e-3)) / 2e-3;
            assert!((slope - f64::from(gradient)).abs() < 1e-2, "{index}: {slope} {gradient}");
        }
    }

    #[test]
    fn exactly_the_adapters_parameters_get_gradients() {
        let device = Device::flex().autodiff();
        let (images, targets, classes) = batch();
        let count = |image: Option<RatioKind>, text: Option<RatioKind>| {
            let net = AdaptedClip {
                image: image.map(|k| branch(k, &device)),
                text: text.map(|k| branch(k, &device)),
            };
            let (_, gradients) = net.gradients(images.clone(), targets.clone(), classes.clone(), 10.0);
            assert_eq!(gradients.len(), parameters::collect(&net).len());
            gradients.len()
        };
        assert_eq!(count(Some(RatioKind::Fixed), None), 2);
        assert_eq!(count(Some(RatioKind::Learned), None), 3);
        assert_eq!(count(None, Some(RatioKind::PerRow { rows: 3 })), 3);
        assert_eq!(count(Some(RatioKind::Fixed), Some(RatioKind::Fixed)), 4);
        assert!(!images.is_autodiff() && !classes.is_autodiff());
    }
}
