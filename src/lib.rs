//! Teach a frozen CLIP your own classes from a few labelled images.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod adapter;
mod archive;
mod device;
mod error;
pub mod evaluate;
pub mod features;
mod fingerprint;
pub mod methods;

pub use adapter::{Activation, Adapter, AdapterConfig, ResidualFusion, ResidualFusionConfig};
pub use device::DeviceSpec;
pub use error::{Error, Result};
pub use evaluate::{Protocol, Report};
pub use features::{FeatureFile, FeatureSet, Support, TestSet, TextClassifier};
pub use fingerprint::Fingerprint;
pub use methods::{ClipAdapter, Fitted, FittedClipAdapter, Method, Progress, Run, ZeroShot};
