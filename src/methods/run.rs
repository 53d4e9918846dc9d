use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use burn::tensor::Device;

/// What a trained method reports after each epoch.
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

type Callback<'a> = Box<dyn FnMut(&Progress) -> ControlFlow<()> + 'a>;

/// Where a fit computes, whom it tells, and where it keeps its state.
///
/// # Examples
/// Stop after three epochs, keep the state, and go on from it later:
/// ```
/// use std::ops::ControlFlow;
/// use burn::tensor::Device;
/// use clip_adapter::{ClipAdapter, Error, FeatureFile, Method, Run};
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
}

impl<'a> Run<'a> {
    /// A silent run without a checkpoint. Give a plain device; what trains makes its own autodiff device of it.
    pub fn new(device: &Device) -> Self {
        Self { device: device.clone().without_autodiff(), progress: None, checkpoint: None }
    }

    /// Calls back after every epoch. [`ControlFlow::Break`] ends the fit with
    /// [`Error::Cancelled`](crate::Error::Cancelled).
    pub fn on_progress(mut self, callback: impl FnMut(&Progress) -> ControlFlow<()> + 'a) -> Self {
        self.progress = Some(Box::new(callback));
        self
    }

    /// Keeps the state of the fit in this file: written when it is cancelled and every 50 epochs, read when the
    /// same fit starts again, removed when it is done. A resumed fit gives the bits of an uninterrupted one.
    pub fn checkpoint(mut self, path: impl AsRef<Path>) -> Self {
        self.checkpoint = Some(path.as_ref().to_owned());
        self
    }

    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    pub(crate) fn checkpoint_path(&self) -> Option<&Path> {
        self.checkpoint.as_deref()
    }

    pub(crate) fn report(&mut self, progress: &Progress) -> ControlFlow<()> {
        match &mut self.progress {
            Some(callback) => callback(progress),
            None => ControlFlow::Continue(()),
        }
    }
}
