//! A ratio learned on one held-out shot of each class, so that no validation image is needed.

use std::ops::ControlFlow;

use crate::adapter::AdaptedClip;
use crate::error::Result;
use crate::train::{GO_ON, Monitor, MonitorState};

/// Half the width of the central difference, in units of rho.
const DIFFERENCE: f64 = 0.05;

/// Adam's step in rho after each epoch, and its two decays.
const STEP: f64 = 0.05;
const DECAYS: (f64, f64) = (0.9, 0.99);

/// Learns `r = sigmoid(rho)` on the held-out shots while the adapter trains on the others.
///
/// HOSO-Adapter (arXiv 2603.04341): the two are decoupled, an epoch of the adapter with `r` fixed, then a step
/// of `r` with the adapter fixed. The derivative of one number needs no tape: it is a central difference of the
/// held-out loss, and Adam follows it.
pub(crate) struct HoldOut<F> {
    /// Mean cross-entropy of the held-out shots, in nats.
    loss: F,
    rho: f64,
    moments: (f64, f64),
    steps: i32,
}

impl<F: Fn(&AdaptedClip) -> Result<f64>> HoldOut<F> {
    pub fn new(ratio: f64, loss: F) -> Self {
        Self { loss, rho: (ratio / (1.0 - ratio)).ln(), moments: (0.0, 0.0), steps: 0 }
    }

    pub fn rho(&self) -> f64 {
        self.rho
    }

    fn loss_at(&self, net: &mut AdaptedClip, rho: f64) -> Result<f64> {
        net.set_ratio(sigmoid(rho));
        (self.loss)(net)
    }
}

pub(crate) fn sigmoid(rho: f64) -> f64 {
    1.0 / (1.0 + (-rho).exp())
}

impl<F: Fn(&AdaptedClip) -> Result<f64>> Monitor<AdaptedClip> for HoldOut<F> {
    fn observe(&mut self, mut net: AdaptedClip) -> Result<(AdaptedClip, ControlFlow<()>)> {
        let above = self.loss_at(&mut net, self.rho + DIFFERENCE)?;
        let below = self.loss_at(&mut net, self.rho - DIFFERENCE)?;
        let slope = (above - below) / (2.0 * DIFFERENCE);
        self.steps += 1;
        self.moments.0 = DECAYS.0 * self.moments.0 + (1.0 - DECAYS.0) * slope;
        self.moments.1 = DECAYS.1 * self.moments.1 + (1.0 - DECAYS.1) * slope * slope;
        let mean = self.moments.0 / (1.0 - DECAYS.0.powi(self.steps));
        let square = self.moments.1 / (1.0 - DECAYS.1.powi(self.steps));
        self.rho -= STEP * mean / (square.sqrt() + 1e-8);
        net.set_ratio(sigmoid(self.rho));
        Ok((net, GO_ON))
    }

    fn save(&self) -> Result<MonitorState> {
        let numbers = vec![self.rho, self.moments.0, self.moments.1, f64::from(self.steps)];
        Ok(MonitorState { numbers, net: Vec::new() })
    }

    fn restore(&mut self, state: MonitorState, mut net: AdaptedClip) -> Result<AdaptedClip> {
        if let [rho, first, second, steps] = state.numbers[..] {
            (self.rho, self.moments, self.steps) = (rho, (first, second), steps as i32);
        }
        net.set_ratio(sigmoid(self.rho));
        Ok(net)
    }
}
