//! The loop that every trained method shares: shuffled mini-batches, an optimiser, a schedule, a monitor that
//! looks at the network after each epoch, progress, cancelling and resuming.

use std::ops::ControlFlow;

use burn::{
    module::Module,
    optim::{GradientsParams, ModuleOptimizer, OptimizerRecord},
    store::ModuleRecord,
    tensor::{Bytes, Int, Tensor, TensorData},
};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::{
    monitor::Monitor,
    optimiser::Optimiser,
    schedule::Schedule,
    session::{Session, Snapshot},
};
use crate::{Error, FeatureSet, Progress, Result};

/// Images and targets on the device: `[n, dim]` and `[n, classes]`, rows that sum to the weight of the image.
#[derive(Clone)]
pub(crate) struct Examples {
    pub images: Tensor<2>,
    pub targets: Tensor<2>,
}

impl Examples {
    /// One-hot targets, of which `smoothing` is spread evenly over all classes.
    pub fn new(set: &FeatureSet, smoothing: f64, device: &burn::tensor::Device) -> Self {
        Self { images: set.embeddings().tensor(device), targets: set.targets(smoothing, device) }
    }

    /// Unit images and one-hot targets.
    pub fn unit(set: &FeatureSet, device: &burn::tensor::Device) -> Self {
        Self { images: set.embeddings().normalised().tensor(device), targets: set.targets(0.0, device) }
    }

    fn len(&self) -> usize {
        self.images.dims()[0]
    }

    fn permuted(&self, order: &[usize]) -> Self {
        let order: Vec<i64> = order.iter().map(|&row| row as i64).collect();
        let order = Tensor::<1, Int>::from_data(TensorData::new(order, [self.len()]), &self.images.device());
        Self {
            images: self.images.clone().select(0, order.clone()),
            targets: self.targets.clone().select(0, order),
        }
    }

    fn batch(&self, start: usize, end: usize) -> (Tensor<2>, Tensor<2>) {
        let rows = start..end;
        (self.images.clone().slice(rows.clone()), self.targets.clone().slice(rows))
    }
}

/// How to train, for one stage of a fit.
#[derive(Debug, Clone)]
pub(crate) struct Trainer {
    pub schedule: Schedule,
    /// 0 is all images at once.
    pub batch_size: usize,
    pub optimiser: Optimiser,
    pub seed: u64,
}

impl Trainer {
    /// The same for logits of another scale than the learning rates are for.
    pub fn at_scale(self, logit_scale: f64) -> Self {
        Self { schedule: self.schedule.at_scale(logit_scale), ..self }
    }

    /// Trains `net` and returns what the monitor makes of it. `gradients` gives the mean loss of a batch and the
    /// gradient of each of the network's parameters, and nothing else is ever changed.
    pub fn train<M: Module>(
        &self,
        mut net: M,
        examples: &Examples,
        gradients: impl Fn(&M, Tensor<2>, Tensor<2>) -> (Tensor<1>, GradientsParams),
        monitor: &mut impl Monitor<M>,
        stage: &str,
        session: &mut Session<'_, '_>,
    ) -> Result<M> {
        let (count, epochs) = (examples.len(), self.schedule.epochs);
        let batch_size = if self.batch_size == 0 { count } else { self.batch_size.min(count) };
        let steps = count.div_ceil(batch_size);
        let mut optimiser = self.optimiser.init();
        let mut first = 0;
        if let Some(snapshot) = session.take_snapshot() {
            net = from_bytes(net, snapshot.net)?;
            optimiser = load_optimiser(optimiser, snapshot.optimiser)?;
            net = monitor.restore(snapshot.monitor, net)?;
            first = snapshot.epoch;
        }
        for epoch in first..epochs {
            let shuffled = examples.permuted(&permutation(count, self.seed, epoch));
            let mut sum = Tensor::<1>::zeros([1], &examples.images.device());
            for step in 0..steps {
                let rate = self.schedule.rate(epoch, step as f64 / steps as f64);
                let (start, end) = (step * batch_size, ((step + 1) * batch_size).min(count));
                let (images, targets) = shuffled.batch(start, end);
                let (loss, gradients) = gradients(&net, images, targets);
                net = optimiser.step(rate, net, gradients);
                sum = sum + loss.mul_scalar((end - start) as f64 / count as f64);
            }
            let loss = scalar(sum, "training")?;
            if !loss.is_finite() {
                return Err(Error::Diverged { epoch: epoch + 1, loss });
            }
            let (observed, monitored) = monitor.observe(net)?;
            net = observed;

            let snapshot = || -> Result<Snapshot> {
                Ok(Snapshot {
                    epoch: epoch + 1,
                    net: to_bytes(&net)?,
                    optimiser: optimiser
                        .into_bytes()
                        .map_err(|e| Error::execution("saving state", e))?
                        .to_vec(),
                    monitor: monitor.save()?,
                })
            };
            let progress = Progress {
                stage: stage.to_owned(),
                epoch: epoch + 1,
                epochs,
                loss,
                done: session.done((epoch + 1) as f64 / epochs as f64),
            };
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

/// The parameters with their identities, so that the optimiser's state finds them again.
pub(crate) fn to_bytes<M: Module>(net: &M) -> Result<Vec<u8>> {
    let bytes =
        net.clone().into_record().into_bytes().map_err(|error| Error::execution("saving state", error))?;
    Ok(bytes.to_vec())
}

/// Replaces the parameters of `net` by saved ones.
pub(crate) fn from_bytes<M: Module>(net: M, bytes: Vec<u8>) -> Result<M> {
    ModuleRecord::from_bytes(Bytes::from_bytes_vec(bytes))
        .and_then(|record| net.try_load_record(record))
        .map_err(|error| Error::execution("reading saved state", error))
}

fn load_optimiser(optimiser: ModuleOptimizer, bytes: Vec<u8>) -> Result<ModuleOptimizer> {
    let record = OptimizerRecord::from_bytes(Bytes::from_bytes_vec(bytes))
        .map_err(|error| Error::execution("reading saved state", error))?;
    Ok(optimiser.load_record(record))
}

/// Each epoch's order depends on the seed and the epoch only, so that a resumed fit needs no generator state.
pub(crate) fn permutation(count: usize, seed: u64, epoch: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(epoch as u64);
    order.shuffle(&mut random);
    order
}

/// Whether an epoch's end is also the end of the stage.
pub(crate) const GO_ON: ControlFlow<()> = ControlFlow::Continue(());

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::features::Embeddings;

    #[test]
    fn smoothing_spreads_part_of_the_target() {
        let set =
            FeatureSet::new(Embeddings::new(vec![1.0; 4], 2).unwrap(), vec![1, 0], ["a", "b", "c", "d"]);
        let targets =
            Examples::new(&set.unwrap(), 0.2, &Device::flex()).targets.try_to_vec_as::<f32>().unwrap();
        let expected = [0.05, 0.85, 0.05, 0.05, 0.85, 0.05, 0.05, 0.05];
        approx::assert_abs_diff_eq!(&targets[..], &expected[..], epsilon = 1e-6);
    }

    #[test]
    fn every_epoch_sees_every_image_in_another_order() {
        let (first, second) = (permutation(50, 7, 0), permutation(50, 7, 1));
        assert_ne!(first, second);
        assert_eq!(first, permutation(50, 7, 0));
        for mut order in [first, second] {
            order.sort_unstable();
            assert!(order.into_iter().eq(0..50));
        }
    }
}
