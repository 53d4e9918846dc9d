//! The loop that everything trained shares: batches of any shape, an optimiser, a schedule, a monitor that looks at the
//! network after each epoch, progress, cancelling and resuming.

use burn::{
    module::Module,
    optim::{GradientsParams, ModuleOptimizer, OptimizerRecord},
    tensor::{Bytes, Tensor},
};

use super::monitor::Monitor;
use super::parameters::{from_bytes, to_bytes};
use super::session::{Session, Snapshot};
use super::{Batches, Optimiser, Progress, Schedule};
use crate::error::{Error, Result};

/// How to train, for one stage of a fit.
///
/// # Examples
/// A linear layer that learns to double:
/// ```
/// use clip_adapter::burn::{nn::{Linear, LinearConfig}, optim::GradientsParams};
/// use clip_adapter::features::Embeddings;
/// use clip_adapter::prelude::*;
/// use clip_adapter::train::{Examples, NoMonitor, Optimiser, Schedule, Session, Trainer};
///
/// let set = FeatureSet::new(Embeddings::new(vec![1.0, 2.0, 3.0, 4.0], 1)?, vec![0; 4], ["a"])?;
/// let device = Device::flex();
/// let batches = Examples::new(&set, 0.0, &device).shuffled(2, 7);
/// let trainer = Trainer {
///     schedule: Schedule::cosine(0.05, 50),
///     optimiser: Optimiser::Sgd { momentum: 0.9, weight_decay: 0.0 },
/// };
/// let net = LinearConfig::new(1, 1).with_bias(false).init(&device.clone().autodiff());
/// let mut run = Run::new(&device);
/// let mut session = Session::open(&mut run, "doubling", 1)?;
/// let net = trainer.train(net, &batches, |net: &Linear, [batch]| {
///     let images = batch.images;
///     let loss = (net.forward(images.clone()) - images.mul_scalar(2.0)).powi_scalar(2).mean();
///     Ok((loss.clone().inner(), GradientsParams::from_grads(loss.backward(), net)))
/// }, &mut NoMonitor, "all", &mut session)?;
/// session.close()?;
/// let weight = net.weight.val().into_scalar::<f32>();
/// assert!((weight - 2.0).abs() < 0.01, "{weight}");
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Trainer {
    /// The learning rate of every step.
    pub schedule: Schedule,
    /// How a gradient becomes a step.
    pub optimiser: Optimiser,
}

impl Trainer {
    /// The same for logits of another scale than the learning rates are for.
    pub fn at_scale(self, logit_scale: f64) -> Self {
        Self { schedule: self.schedule.at_scale(logit_scale), ..self }
    }

    /// Trains `net` and returns what the monitor makes of it. `gradients` gives the mean loss of a batch, `[1]` on a
    /// plain device, and the gradient of each of the network's parameters, and nothing else is ever changed.
    ///
    /// # Errors
    /// [`Error::Diverged`] if the loss of an epoch is not finite, [`Error::Cancelled`] if the run's callback says so,
    /// [`Error::Execution`] if the device fails, and whatever batches, gradients and monitor fail with.
    pub fn train<M: Module, B: Batches>(
        &self,
        mut net: M,
        batches: &B,
        mut gradients: impl FnMut(&M, B::Batch) -> Result<(Tensor<1>, GradientsParams)>,
        monitor: &mut impl Monitor<M>,
        stage: &str,
        session: &mut Session<'_, '_>,
    ) -> Result<M> {
        let (epochs, steps) = (self.schedule.epochs, batches.steps());
        let mut optimiser = self.optimiser.init();
        let mut first = 0;
        if let Some(snapshot) = session.take_snapshot() {
            net = from_bytes(net, snapshot.net)?;
            optimiser = load_optimiser(optimiser, snapshot.optimiser)?;
            net = monitor.restore(snapshot.monitor, net)?;
            first = snapshot.epoch;
        }
        for epoch in first..epochs {
            let mut sum: Option<Tensor<1>> = None;
            for (step, batch) in batches.epoch(epoch)?.enumerate() {
                let (batch, share) = batch?;
                let (loss, gradients) = gradients(&net, batch)?;
                net = optimiser.step(self.schedule.rate(epoch, step, steps), net, gradients);
                let part = loss.mul_scalar(share);
                sum = Some(match sum {
                    Some(sum) => sum + part,
                    None => part,
                });
            }
            let loss = sum.map_or(Ok(0.0), |sum| scalar(sum, "training"))?;
            if !loss.is_finite() {
                return Err(Error::Diverged { epoch: epoch + 1, loss });
            }
            let (observed, monitored) = monitor.observe(net)?;
            net = observed;

            let snapshot = || -> Result<Snapshot> {
                let moments =
                    optimiser.into_bytes().map_err(|error| Error::execution("saving state", error))?;
                Ok(Snapshot {
                    // A stage that its monitor ends is not gone on with.
                    epoch: if monitored.is_break() { epochs } else { epoch + 1 },
                    net: to_bytes(&net)?,
                    optimiser: moments.to_vec(),
                    monitor: monitor.save()?,
                })
            };
            let done = session.done((epoch + 1) as f64 / epochs as f64);
            let progress = Progress { done, ..Progress::new(stage, epoch + 1, epochs, loss) };
            session.epoch_done(&progress, snapshot)?;
            if monitored.is_break() {
                break;
            }
        }
        monitor.finish(net)
    }
}

/// A tensor of one number, on the host.
pub(crate) fn scalar(tensor: Tensor<1>, doing: &'static str) -> Result<f64> {
    let value = tensor.try_into_scalar::<f32>().map_err(|error| Error::execution(doing, error))?;
    Ok(f64::from(value))
}

fn load_optimiser(optimiser: ModuleOptimizer, bytes: Vec<u8>) -> Result<ModuleOptimizer> {
    let record = OptimizerRecord::from_bytes(Bytes::from_bytes_vec(bytes))
        .map_err(|error| Error::execution("reading saved state", error))?;
    Ok(optimiser.load_record(record))
}
