//! Teach a frozen CLIP your own classes from a few labelled images.
//!
//! CLIP recognises what a sentence names. Where your classes are not what its training data called them, it is
//! often wrong; a few labelled images of each class and seconds on a laptop CPU are enough to correct it. CLIP
//! itself stays frozen. What learns is a small adapter on its features, blended with the original ones so that
//! what CLIP knew is kept (CLIP-Adapter, Gao et al., 2021, <https://arxiv.org/abs/2110.04544>).
//!
//! ```
//! use clip_adapter::prelude::*;
//!
//! let file = FeatureFile::synthetic(0)?; // or FeatureFile::read("photos.safetensors")?
//! let support = file.support(16, 1)?; // 16 images of each class
//! let test = file.test_set("test")?; // no `fit` takes it
//! let device = Device::flex();
//!
//! let before = ZeroShot::default().fit(&support, file.classifier(), &device)?.evaluate(&test)?;
//! let after = ClipAdapter::default().fit(&support, file.classifier(), &device)?.evaluate(&test)?;
//! assert!(after.accuracy > before.accuracy + 10.0);
//! # Ok::<(), clip_adapter::Error>(())
//! ```
//!
//! From a folder of images to a saved adapter and labels: [`guide::first_minute`]. The [`guide`] also has how to
//! write [a method of your own](guide::own_method), what the methods gain, and what was and was not tried.
//!
//! # Where things are
//!
//! In the order of imports: a module knows only those above it.
//!
//! | Module | Holds |
//! | --- | --- |
//! | [`device`] | [`DeviceSpec`]: CPUs and GPUs by name |
//! | [`archive`] | files that are whole or not there |
//! | [`input`] | decoding and preprocessing, sources of images, the tokenizer, [`Prompts`] |
//! | [`features`] | embeddings with labels, the text classifier, few-shot draws, pairs, the files of these |
//! | [`backbone`] | [`ClipBackbone`]: the frozen towers, read from public checkpoint layouts |
//! | [`extract`] | from images to features: threads, stores, parts of a cluster's job |
//! | [`adapter`] | [`Adapter`] and [`ResidualFusion`], Burn modules that compose with any other |
//! | [`evaluate`] | accuracy, F1, calibration, conformal sets, retrieval, the protocol, the report |
//! | [`model`] | what everything fitted is: [`Classifier`], how it is saved, opened and moved |
//! | [`train`] | what a [`Method`] is, the registry, one loop for all that trains |
//! | [`methods`] | one file a method: [`AutoAdapter`], [`ClipAdapter`], [`TipAdapter`] and others |
//! | [`pretrain`] | what is learned before the few examples come: a CLIP of one's own |
//! | [`tasks`] | the same parts put to other uses: [`tasks::Predictor`], other domains, retrieval, questions, videos, taste |
//! | [`explain`] | what an adapter learned, and whether to trust it |
//! | [`guide`] | the long form, one page a subject |
//!
//! [`prelude`] has the names that most programs need. `burn` and `image` are re-exported, in the
//! versions that the signatures have.
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
//! All but the last six add devices, and none of those changes what another computes; [`DeviceSpec`] names them.
//!
//! - `flex` (default): Burn's portable CPU backend, pure Rust.
//! - `ndarray`: Burn's older CPU backend, which Burn deprecates; an independent check of the numbers.
//! - `wgpu`, `vulkan`, `metal`: GPUs through wgpu. With `vulkan` every kernel is SPIR-V, also that of `wgpu` devices,
//!   and drivers that compute on the CPU are refused, since they crash on it.
//! - `cuda`: NVIDIA GPUs. The build downloads a prebuilt LLVM from GitHub.
//! - `tch`: LibTorch 2.9.0 on CPUs, NVIDIA and Apple GPUs; which Burn deprecates too.
//! - `fusion`, `autotune`: faster on GPUs, and wrong in places upstream; off unless asked for.
//! - `hub`: checkpoints by `org/name` from the Hugging Face hub.
//! - `ann`: [`tasks::search`] by a graph, for more than a million images; pure Rust, some thirty crates more.
//! - `parquet`: an index of images and a table of choices as Parquet files; pure Rust, seven crates more.
//! - `server`: what the examples `serve` and `search` are built with; no part of the library.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(missing_debug_implementations, missing_docs, unnameable_types)]

pub mod adapter;
pub mod archive;
pub mod backbone;
mod choose;
pub mod device;
mod error;
pub mod evaluate;
pub mod explain;
pub mod extract;
pub mod features;
mod fingerprint;
pub mod guide;
pub mod input;
pub mod methods;
pub mod model;
mod numerics;
pub mod pretrain;
pub mod tasks;
pub mod train;

pub use burn;
pub use image;

pub use adapter::{Activation, Adapter, AdapterConfig, ResidualFusion, ResidualFusionConfig};
pub use backbone::ClipBackbone;
pub use device::DeviceSpec;
pub use error::{Cause, Error, Result};
pub use evaluate::{Protocol, Report};
pub use features::{FeatureFile, FeatureSet, Support, TestSet, TextClassifier};
pub use fingerprint::Fingerprint;
pub use input::Prompts;
pub use methods::{
    Ape, AutoAdapter, Clap, ClipAdapter, CrossModal, Ensemble, FittedClipAdapter, Gda, LinearProbe,
    LpPlusPlus, ProKeR, ProLip, Rla, SsText, TaskRes, TipAdapter, TipAdapterF, ZeroShot,
};
pub use model::Classifier;
pub use train::{Method, Progress, Run};

/// What most programs need: `use clip_adapter::prelude::*`.
pub mod prelude {
    pub use burn::tensor::Device;

    pub use crate::input::{ImageBytes, ImageFolder};
    pub use crate::model::{Model, Save};
    pub use crate::tasks::Predictor;
    pub use crate::{
        AutoAdapter, Classifier, ClipAdapter, ClipBackbone, DeviceSpec, Error, FeatureFile, FeatureSet,
        Method, Progress, Prompts, Report, Result, Run, Support, TestSet, TextClassifier, TipAdapter,
        ZeroShot,
    };
}
