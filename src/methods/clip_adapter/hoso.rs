//! A ratio learned on one held-out shot of each class, so that no validation image is needed.

use std::ops::ControlFlow;

use crate::{
    FeatureSet, Result,
    adapter::AdaptedClip,
    methods::{monitor::Monitor, session::MonitorState, trainer::GO_ON},
};

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

/// How often a shot can be held out, up to `limit` times: never where no class has two.
pub(crate) fn rotations(set: &FeatureSet, limit: usize) -> usize {
    let most = set.class_counts().into_iter().max().unwrap_or(0);
    if most < 2 { 0 } else { most.min(limit) }
}

/// The rows of one shot of each class, and all others. A class with a single shot is never held out.
pub(crate) fn hold_out(set: &FeatureSet, rotation: usize) -> (Vec<usize>, Vec<usize>) {
    let counts = set.class_counts();
    let mut seen = vec![0; counts.len()];
    (0..set.len()).partition(|&row| {
        let class = set.labels()[row];
        seen[class] += 1;
        counts[class] > 1 && seen[class] - 1 == rotation % counts[class]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::Embeddings;

    #[test]
    fn one_shot_of_each_class_is_held_out_in_turn() {
        let rows = Embeddings::new(vec![1.0; 6], 1).unwrap();
        let set = FeatureSet::new(rows, vec![0, 1, 0, 0, 1, 2], ["a", "b", "c"]).unwrap();
        assert_eq!(hold_out(&set, 0), (vec![0, 1], vec![2, 3, 4, 5]));
        assert_eq!(hold_out(&set, 1), (vec![2, 4], vec![0, 1, 3, 5]));
        assert_eq!(hold_out(&set, 2), (vec![1, 3], vec![0, 2, 4, 5]));
    }
}
