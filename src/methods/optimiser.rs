use burn::optim::{
    AdamConfig, AdamWConfig, ModuleOptimizer, SgdConfig, decay::WeightDecayConfig, momentum::MomentumConfig,
};

/// How a gradient becomes a step. Every number means what it means in PyTorch.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Optimiser {
    Sgd { momentum: f64, weight_decay: f64 },
    Adam { epsilon: f64 },
    AdamW { epsilon: f64, weight_decay: f64 },
}

impl Optimiser {
    /// PyTorch's default epsilon of Adam and AdamW; Burn's is 1e-5.
    pub const EPSILON: f64 = 1e-8;

    pub fn init(self) -> ModuleOptimizer {
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
        }
    }
}
