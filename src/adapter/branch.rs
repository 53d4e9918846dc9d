use burn::{
    module::Module,
    optim::GradientsParams,
    tensor::{Tensor, activation},
};

use super::{Activation, Adapter, ResidualFusion};
use crate::features::{contrastive_logits, normalise, norms};

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
    /// - `images`: `[batch, dim]`; `targets`: `[batch, classes]`, rows that sum to 1; `classes`: `[classes, dim]`,
    ///   all on a plain device
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

/// `-mean_i sum_c t_ic log softmax(l_i)_c`: `[batch, classes]` twice to `[1]`.
pub(crate) fn cross_entropy(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    let batch = logits.dims()[0] as f64;
    (activation::log_softmax(logits, 1) * targets).sum().mul_scalar(-1.0 / batch)
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
        let batch = x.dims()[0] as f64;

        let h = activation::relu(x.clone().matmul(w1)); // [batch, hidden]
        let a = activation::relu(h.clone().matmul(w2.clone())); // [batch, dim]
        let blend = self.fusion.forward(a.clone(), x.clone());
        let norm = norms(blend.clone()); // [batch, 1]
        let f = blend / norm.clone();
        let log_p = activation::log_softmax(contrastive_logits(f.clone(), classes.clone(), scale), 1);
        let loss = (log_p.clone() * targets.clone()).sum().mul_scalar(-1.0 / batch);

        let d_logits = (log_p.exp() - targets).mul_scalar(scale / batch); // [batch, classes]
        let d_f = d_logits.matmul(classes);
        let radial = (d_f.clone() * f.clone()).sum_dim(1); // normalising removes what points along f
        let d_blend = (d_f - f * radial) / norm;
        let d_a = d_blend.mul_scalar(ratio).mask_fill(a.lower_equal_elem(0.0), 0.0);
        let d_w2 = h.clone().transpose().matmul(d_a.clone());
        // (W2 d_a^T)^T rather than d_a W2^T: the product then packs the small matrix, not the large one.
        let d_h = w2.matmul(d_a.transpose()).transpose().mask_fill(h.lower_equal_elem(0.0), 0.0);
        let d_w1 = x.transpose().matmul(d_h);

        let mut gradients = GradientsParams::new();
        gradients.register(down.id, d_w1);
        gradients.register(up.id, d_w2);
        (loss, gradients)
    }
}
