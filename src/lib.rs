//! Teach a frozen CLIP your own classes from a few labelled images.
//!
//! CLIP recognises what a sentence names. Where your classes are not what its training data called them, it is
//! often wrong; a few labelled images of each class and seconds on a laptop CPU are enough to correct it. CLIP
//! itself stays frozen. What learns is a small adapter on its features, blended with the original ones so that
//! what CLIP knew is kept (CLIP-Adapter, Gao et al., 2021, <https://arxiv.org/abs/2110.04544>).
//!
//! ```
//! use burn::tensor::Device;
//! use clip_adapter::{ClipAdapter, FeatureFile, Fitted, Method, ZeroShot};
//!
//! let file = FeatureFile::synthetic(0)?; // or FeatureFile::read("photos.safetensors")?
//! let support = file.support(16, 1)?; // 16 images of each class
//! let test = file.test_set("test")?;
//! let device = Device::flex();
//!
//! let before = ZeroShot::default().fit(&support, file.classifier(), &device)?.evaluate(&test)?;
//! let model = ClipAdapter::default().fit(&support, file.classifier(), &device)?;
//! let after = model.evaluate(&test)?;
//! assert!(after.accuracy > before.accuracy + 10.0);
//!
//! # let folder = tempfile::tempdir().unwrap();
//! # let path = folder.path().join("photos.adapter.safetensors");
//! model.save(&path)?;
//! # Ok::<(), clip_adapter::Error>(())
//! ```
//!
//! # Where things are
//!
//! | Module | Holds |
//! | --- | --- |
//! | [`device`] | [`DeviceSpec`]: CPUs and GPUs by name |
//! | [`input`] | image decoding and preprocessing, the tokenizer |
//! | [`backbone`] | [`ClipBackbone`]: the frozen towers, read from public checkpoint layouts |
//! | [`features`] | embeddings with labels, extraction, the text classifier, few-shot draws, the feature file |
//! | [`adapter`] | [`Adapter`] and [`ResidualFusion`], Burn modules that compose with any other |
//! | [`evaluate`] | accuracy, F1, calibration, the protocol, the report |
//! | [`methods`] | one trait, one file a method: [`AutoAdapter`], [`ClipAdapter`], [`TipAdapter`] and others |
//!
//! # What never happens
//!
//! - A setting is never chosen on test data: what is scored is a [`TestSet`], which no `fit` takes.
//! - A bad file, set or setting never panics: [`Error`] names the thing, what was expected and what was found.
//! - A fit never draws from a hidden generator: the same seed gives the same bits on the same device.
//! - A file is never half written, and an adapter never runs on features of another backbone: [`Fingerprint`].
//!
//! # Crate features
//!
//! All but the last add devices, and none changes what another computes; [`DeviceSpec`] names them.
//!
//! - `flex` (default): Burn's portable CPU backend, pure Rust.
//! - `ndarray`: Burn's older CPU backend, which Burn deprecates; an independent check of the numbers.
//! - `wgpu`, `vulkan`, `metal`: GPUs through wgpu. With `vulkan` every kernel is SPIR-V, also that of `wgpu` devices,
//!   and drivers that compute on the CPU are refused, since they crash on it.
//! - `cuda`: NVIDIA GPUs. The build downloads a prebuilt LLVM from GitHub.
//! - `tch`: LibTorch 2.9.0 on CPUs, NVIDIA and Apple GPUs; which Burn deprecates too.
//! - `fusion`, `autotune`: faster on GPUs, and wrong in places upstream; off unless asked for.
//! - `hub`: checkpoints by `org/name` from the Hugging Face hub.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod adapter;
mod archive;
pub mod backbone;
pub mod device;
mod error;
pub mod evaluate;
pub mod features;
mod fingerprint;
pub mod input;
pub mod methods;
mod vector;

pub use adapter::{Activation, Adapter, AdapterConfig, ResidualFusion, ResidualFusionConfig};
pub use backbone::ClipBackbone;
pub use device::DeviceSpec;
pub use error::{Error, Result};
pub use evaluate::{Protocol, Report};
pub use features::{ExtractOptions, FeatureFile, FeatureSet, Support, TestSet, TextClassifier};
pub use fingerprint::Fingerprint;
pub use input::Prompts;
pub use methods::{
    Ape, AutoAdapter, Clap, ClipAdapter, CrossModal, Ensemble, Fitted, FittedClipAdapter, Gda, LinearProbe,
    LpPlusPlus, Method, ProKeR, ProLip, Progress, Rla, Run, SsText, TaskRes, TipAdapter, TipAdapterF,
    ZeroShot,
};
