//! The part that learns: the bottleneck adapter and the residual fusion that keeps CLIP's knowledge.
//!
//! Both are ordinary Burn modules. They compose with any other module and with any optimiser:
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use clip_adapter::{AdapterConfig, ResidualFusionConfig, features::normalise};
//!
//! let device = Device::flex();
//! let adapter = AdapterConfig::new(8).init(&device);
//! let fusion = ResidualFusionConfig::new().with_ratio(0.2).init(&device);
//!
//! let features = Tensor::<2>::ones([3, 8], &device);
//! let adapted = normalise(fusion.forward(adapter.forward(features.clone()), features));
//! assert_eq!(adapted.dims(), [3, 8]);
//! ```

mod adapted;
mod fusion;
mod loss;
mod structures;

pub use fusion::{RatioKind, ResidualFusion, ResidualFusionConfig};
pub use structures::{Activation, Adapter, AdapterConfig, TemporalAdapter, TemporalAdapterConfig};

pub(crate) use adapted::{AdaptedClip, Branch};
pub(crate) use loss::{cross_entropy, cross_entropy_slope};
pub(crate) use structures::seeded_linear;
