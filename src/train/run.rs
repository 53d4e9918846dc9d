use std::fmt;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use burn::tensor::Device;

use super::Registry;

/// How many epochs may be lost when the process is killed rather than cancelled, where nothing else is asked for.
const EVERY: usize = 50;

/// What a fit reports after each epoch.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// What this stage trains on.
    pub stage: String,
    /// The epoch just finished, counted from 1.
    pub epoch: usize,
    /// Epochs in this stage.
    pub epochs: usize,
    /// Mean training loss of the epoch, in nats.
    pub loss: f64,
    /// Part of the whole fit that is done, 0..=1.
    pub done: f64,
}

impl Progress {
    /// An epoch of a fit of one stage, of which it is the `epoch / epochs`-th part.
    pub fn new(stage: impl Into<String>, epoch: usize, epochs: usize, loss: f64) -> Self {
        Self { stage: stage.into(), epoch, epochs, loss, done: epoch as f64 / epochs.max(1) as f64 }
    }
}

type Callback<'a> = Box<dyn FnMut(&Progress) -> ControlFlow<()> + 'a>;

/// Where a fit computes, whom it tells, and where it keeps its state.
///
/// # Examples
/// Stop after three epochs, keep the state, and go on from it later:
/// ```
/// use std::ops::ControlFlow;
/// use clip_adapter::prelude::*;
///
/// let file = FeatureFile::synthetic(0)?;
/// let (support, classes) = (file.support(2, 1)?, file.classifier());
/// # let folder = tempfile::tempdir().unwrap();
/// # let state = folder.path().join("fit.state");
/// let device = Device::flex();
/// let mut epochs = 0;
/// let mut run = Run::new(&device).checkpoint(&state).on_progress(|_| {
///     epochs += 1;
///     if epochs < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
/// });
/// let stopped = ClipAdapter::default().fit_with(&support, classes, &mut run);
/// assert!(matches!(stopped, Err(Error::Cancelled { epoch: 3, .. })));
///
/// let mut run = Run::new(&device).checkpoint(&state);
/// let model = ClipAdapter::default().fit_with(&support, classes, &mut run)?;
/// # Ok::<(), clip_adapter::Error>(())
/// ```
pub struct Run<'a> {
    device: Device,
    progress: Option<Callback<'a>>,
    checkpoint: Option<PathBuf>,
    every: usize,
    registry: Option<Registry>,
}

impl<'a> Run<'a> {
    /// A silent run without a checkpoint. Give a plain device; what trains makes its own autodiff device of it.
    pub fn new(device: &Device) -> Self {
        Self {
            device: device.clone().without_autodiff(),
            progress: None,
            checkpoint: None,
            every: EVERY,
            registry: None,
        }
    }

    /// Calls back after every epoch. [`ControlFlow::Break`] ends the fit with
    /// [`Error::Cancelled`](crate::Error::Cancelled).
    pub fn on_progress(mut self, callback: impl FnMut(&Progress) -> ControlFlow<()> + 'a) -> Self {
        self.progress = Some(Box::new(callback));
        self
    }

    /// Keeps the state of the fit in this file: written when it is cancelled and every 50 epochs, or as often as
    /// [`checkpoint_every`](Self::checkpoint_every) says, read when the same fit starts again, removed when it is done.
    /// A resumed fit gives the bits of an uninterrupted one.
    pub fn checkpoint(mut self, path: impl AsRef<Path>) -> Self {
        self.checkpoint = Some(path.as_ref().to_owned());
        self
    }

    /// Writes the checkpoint after every so many epochs instead of 50.
    pub fn checkpoint_every(mut self, epochs: usize) -> Self {
        self.every = epochs.max(1);
        self
    }

    /// Finds methods within a method, such as the one that is guarded, in this registry instead of the crate's own.
    pub fn registry(mut self, registry: &Registry) -> Self {
        self.registry = Some(registry.clone());
        self
    }

    /// Where to compute, without autodiff.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The file that keeps the state of the fit, if one was asked for.
    pub fn checkpoint_path(&self) -> Option<&Path> {
        self.checkpoint.as_deref()
    }

    pub(super) fn every(&self) -> usize {
        self.every
    }

    /// What [`registry`](Self::registry) was given.
    pub(crate) fn given_registry(&self) -> Option<&Registry> {
        self.registry.as_ref()
    }

    /// Tells the callback how far the fit is; it should end if this breaks.
    pub fn report(&mut self, progress: &Progress) -> ControlFlow<()> {
        match &mut self.progress {
            Some(callback) => callback(progress),
            None => ControlFlow::Continue(()),
        }
    }

    /// A run for the fit `at` of `count` that are one, counted from 0: it reports its part of the whole, its stages
    /// behind `label`, and keeps no state.
    pub fn part(&mut self, at: usize, count: usize, label: impl Into<String>) -> Run<'_> {
        let (device, registry, label) = (self.device.clone(), self.registry.clone(), label.into());
        let every = self.every;
        let report = move |progress: &Progress| {
            let stage = match label.is_empty() {
                true => progress.stage.clone(),
                false => format!("{label}: {}", progress.stage),
            };
            let done = (at as f64 + progress.done) / count as f64;
            self.report(&Progress { stage, done, ..progress.clone() })
        };
        Run { registry, every, ..Run::new(&device).on_progress(report) }
    }
}

impl fmt::Debug for Run<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (device, checkpoint) = (&self.device, &self.checkpoint);
        f.debug_struct("Run").field("device", device).field("checkpoint", checkpoint).finish_non_exhaustive()
    }
}
