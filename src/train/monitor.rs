//! What looks at a network after each epoch: nothing, a validation set, or a held-out shot that tunes the ratio.

use std::ops::ControlFlow;

use burn::module::Module;

use super::parameters::{from_bytes, to_bytes};
use super::session::MonitorState;
use crate::error::Result;

/// Looks at a network after each epoch: to keep the best, to stop, to change what does not train, to save on the way.
pub trait Monitor<M: Module> {
    /// Looks at the network, and may change what does not train; a break ends the stage.
    ///
    /// # Errors
    /// Whatever looking fails with; it ends the fit.
    fn observe(&mut self, net: M) -> Result<(M, ControlFlow<()>)>;

    /// What the stage gives in the end.
    ///
    /// # Errors
    /// As [`observe`](Self::observe).
    fn finish(&mut self, net: M) -> Result<M> {
        Ok(net)
    }

    /// What it remembers, for a checkpoint.
    ///
    /// # Errors
    /// [`Error::Execution`](crate::Error::Execution) if a network cannot be read from its device.
    fn save(&self) -> Result<MonitorState> {
        Ok(MonitorState::default())
    }

    /// Takes up what [`save`](Self::save) gave, and gives `net` what is not among its parameters.
    ///
    /// # Errors
    /// [`Error::Execution`](crate::Error::Execution) if it is of another network.
    fn restore(&mut self, _state: MonitorState, net: M) -> Result<M> {
        Ok(net)
    }
}

/// That the epoch's end is not the end of the stage.
pub(crate) const GO_ON: ControlFlow<()> = ControlFlow::Continue(());

/// Lets every epoch pass.
#[derive(Debug, Clone, Copy)]
pub struct NoMonitor;

impl<M: Module> Monitor<M> for NoMonitor {
    fn observe(&mut self, net: M) -> Result<(M, ControlFlow<()>)> {
        Ok((net, GO_ON))
    }
}

/// Keeps the network of the best epoch, and stops when it has not improved for some epochs.
#[derive(Debug)]
pub struct EarlyStopping<M, F> {
    validate: F,
    patience: usize,
    best: Option<(f64, f64, M)>,
    since: usize,
}

impl<M: Module, F: Fn(&M) -> Result<(f64, f64)>> EarlyStopping<M, F> {
    /// Ends a stage after `patience` epochs without a better one. `validate` gives accuracy in percent and negative
    /// log-likelihood on validation images.
    pub fn new(patience: usize, validate: F) -> Self {
        Self { validate, patience, best: None, since: 0 }
    }

    /// Accuracy and negative log-likelihood of the best epoch, once there was one.
    pub fn best(&self) -> Option<(f64, f64)> {
        self.best.as_ref().map(|(accuracy, nll, _)| (*accuracy, *nll))
    }
}

/// Higher accuracy is better, and of equal ones the lower negative log-likelihood.
pub(crate) fn is_better((accuracy, nll): (f64, f64), than: (f64, f64)) -> bool {
    accuracy > than.0 || (accuracy == than.0 && nll < than.1)
}

impl<M: Module, F: Fn(&M) -> Result<(f64, f64)>> Monitor<M> for EarlyStopping<M, F> {
    fn observe(&mut self, net: M) -> Result<(M, ControlFlow<()>)> {
        let (accuracy, nll) = (self.validate)(&net)?;
        if self.best().is_none_or(|best| is_better((accuracy, nll), best)) {
            self.best = Some((accuracy, nll, net.clone()));
            self.since = 0;
        } else {
            self.since += 1;
        }
        let flow = if self.since >= self.patience { ControlFlow::Break(()) } else { GO_ON };
        Ok((net, flow))
    }

    fn finish(&mut self, net: M) -> Result<M> {
        Ok(self.best.as_ref().map_or(net, |(_, _, best)| best.clone()))
    }

    fn save(&self) -> Result<MonitorState> {
        let Some((accuracy, nll, net)) = &self.best else { return Ok(MonitorState::default()) };
        Ok(MonitorState { numbers: vec![*accuracy, *nll, self.since as f64], net: to_bytes(net)? })
    }

    fn restore(&mut self, state: MonitorState, net: M) -> Result<M> {
        if let [accuracy, nll, since] = state.numbers[..] {
            self.best = Some((accuracy, nll, from_bytes(net.clone(), state.net)?));
            self.since = since as usize;
        }
        Ok(net)
    }
}
