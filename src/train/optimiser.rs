use burn::{
    grad_clipping::GradientClippingConfig,
    optim::{
        AdamConfig, AdamWConfig, ModuleOptimizer, SgdConfig, decay::WeightDecayConfig,
        momentum::MomentumConfig,
    },
};

/// How a gradient becomes a step. Every number means what it means in PyTorch.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Optimiser {
    /// Stochastic gradient descent, without dampening.
    Sgd {
        /// Of the velocity.
        momentum: f64,
        /// Added to the gradient.
        weight_decay: f64,
    },
    /// Adam (Kingma and Ba, 2015, <https://arxiv.org/abs/1412.6980>).
    Adam {
        /// Added to the root of the second moment; PyTorch's default is [`EPSILON`](Self::EPSILON).
        epsilon: f64,
    },
    /// Adam with decoupled weight decay (Loshchilov and Hutter, 2019, <https://arxiv.org/abs/1711.05101>).
    AdamW {
        /// Added to the root of the second moment.
        epsilon: f64,
        /// Of every parameter.
        weight_decay: f64,
    },
    /// What CLIP was pre-trained with: AdamW with a second decay of 0.98 and an epsilon of 1e-6 (Radford et al., 2021,
    /// table 19, <https://arxiv.org/abs/2103.00020>); here each gradient is shortened to a length of 1.
    Clip {
        /// Of every parameter.
        weight_decay: f64,
    },
}

impl Optimiser {
    /// PyTorch's default epsilon of Adam and AdamW; Burn's is 1e-5.
    pub const EPSILON: f64 = 1e-8;

    pub(super) fn init(self) -> ModuleOptimizer {
        match self {
            // Burn dampens momentum by default; PyTorch, and so the released recipes, does not.
            Self::Sgd { momentum, weight_decay } => SgdConfig::new()
                .with_momentum(Some(MomentumConfig::new().with_momentum(momentum).with_dampening(0.0)))
                .with_weight_decay((weight_decay > 0.0).then(|| WeightDecayConfig::new(weight_decay as f32)))
                .init(),
            Self::Adam { epsilon } => AdamConfig::new().with_epsilon(epsilon as f32).init(),
            Self::AdamW { epsilon, weight_decay } => {
                AdamWConfig::new().with_epsilon(epsilon as f32).with_weight_decay(weight_decay as f32).init()
            }
            Self::Clip { weight_decay } => AdamWConfig::new()
                .with_beta_2(0.98)
                .with_epsilon(1e-6)
                .with_weight_decay(weight_decay as f32)
                .with_grad_clipping(Some(GradientClippingConfig::Norm(1.0)))
                .init(),
        }
    }
}
