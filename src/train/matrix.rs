//! What the methods have in common that train a single matrix: the network, its written-out gradients, the fit.

use burn::{
    module::{Module, Param},
    optim::GradientsParams,
    tensor::{Tensor, TensorData},
};

use super::monitor::NoMonitor;
use super::{Batches, Examples, Method, Run, Session, Trainer};
use crate::adapter::cross_entropy_slope;
use crate::error::{Error, Result};
use crate::features::{Support, TextClassifier, contrastive_logits, normalise_slope, norms};

/// A network that is one matrix.
#[derive(Module, Debug)]
struct Matrix {
    matrix: Param<Tensor<2>>,
}

impl Matrix {
    fn new(start: Tensor<2>) -> Self {
        Self { matrix: Param::from_tensor(start.autodiff()) }
    }

    /// On the plain device.
    fn value(&self) -> Tensor<2> {
        self.matrix.val().inner()
    }
}

/// A fit that trains one matrix on all shots, in one stage. Validation images are left aside.
pub(crate) struct MatrixFit<'a, M> {
    pub method: &'a M,
    pub support: &'a Support,
    pub classes: &'a TextClassifier,
    pub trainer: Trainer,
}

impl<M: Method> MatrixFit<'_, M> {
    /// Trains from `start`, on the run's device. `slope` gives the mean loss of a batch, of a matrix and the batch, and
    /// the slope of that loss in the matrix.
    pub fn run<B: Batches>(
        self,
        start: Tensor<2>,
        batches: &B,
        slope: impl Fn(Tensor<2>, B::Batch) -> (Tensor<1>, Tensor<2>),
        run: &mut Run<'_>,
    ) -> Result<Tensor<2>> {
        let device = run.device().clone();
        let images = self.support.set().digest();
        let identity = serde_json::json!([M::NAME, self.method, self.classes.fingerprint(), images]);
        let mut session = Session::open(run, identity.to_string(), 1)?;
        let gradients = |net: &Matrix, batch: B::Batch| {
            let (loss, slope) = slope(net.value(), batch);
            let mut gradients = GradientsParams::new();
            gradients.register(net.matrix.id, slope);
            Ok((loss, gradients))
        };
        let net = Matrix::new(start);
        let trainer = self.trainer.at_scale(self.classes.logit_scale());
        let net = trainer.train(net, batches, gradients, &mut NoMonitor, "all shots", &mut session)?;
        session.close()?;
        // By way of the host, so that it lies in memory as one that was read from a file: to the last bit.
        Ok(Tensor::from_data(on_host(net.value())?, &device))
    }
}

/// What was trained, on the host.
pub(crate) fn on_host(matrix: Tensor<2>) -> Result<TensorData> {
    let shape = matrix.dims();
    let values = matrix.try_into_vec_as::<f32>();
    let values = values.map_err(|error| Error::execution("reading what was trained", error))?;
    Ok(TensorData::new(values, shape))
}

/// The mean cross-entropy of `logits = scale f w^T` and its slope in the weights `w`: two products and no tape.
///
/// # Shapes
/// - `weights`: `[classes, dim]`; images `[batch, dim]`; targets `[batch, classes]`, rows that sum to 1
/// - returns: `[1]` and `[classes, dim]`
pub(crate) fn linear_slope(weights: Tensor<2>, batch: Examples, scale: f64) -> (Tensor<1>, Tensor<2>) {
    let Examples { images, targets } = batch;
    let logits = contrastive_logits(images.clone(), weights, scale);
    let (loss, d_cosines) = cross_entropy_slope(logits, targets, scale);
    (loss, d_cosines.transpose().matmul(images))
}

/// The same of `logits = scale f normalise(w)^T`.
pub(crate) fn unit_linear_slope(weights: Tensor<2>, batch: Examples, scale: f64) -> (Tensor<1>, Tensor<2>) {
    let norm = norms(weights.clone());
    let unit = weights / norm.clone();
    let (loss, d_unit) = linear_slope(unit.clone(), batch, scale);
    (loss, normalise_slope(d_unit, unit, norm))
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::adapter::cross_entropy;
    use crate::features::normalise;

    type Slope = fn(Tensor<2>, Examples, f64) -> (Tensor<1>, Tensor<2>);
    type Head = fn(Tensor<2>) -> Tensor<2>;

    fn wave(rows: usize, columns: usize, phase: f32) -> Tensor<2> {
        let values: Vec<f32> =
            (0..rows * columns).map(|at| (0.37 * (at * at) as f32 + phase).sin()).collect();
        Tensor::from_data(TensorData::new(values, [rows, columns]), &Device::flex())
    }

    #[test]
    fn the_written_out_slopes_are_the_recorded_ones() {
        let (weights, images) = (wave(3, 12, 0.3), normalise(wave(5, 12, 1.1)));
        let targets = wave(5, 3, 2.0).abs();
        let targets = targets.clone() / targets.sum_dim(1);
        let batch = Examples { images: images.clone(), targets: targets.clone() };
        for (slope, head) in [
            (linear_slope as Slope, (|weights: Tensor<2>| weights) as Head),
            (unit_linear_slope as Slope, normalise as Head),
        ] {
            let (loss, written) = slope(weights.clone(), batch.clone(), 4.0);
            let tracked = weights.clone().autodiff().require_grad();
            let logits = contrastive_logits(images.clone(), head(tracked.clone()), 4.0);
            let recorded = cross_entropy(logits, targets.clone());
            loss.into_data()
                .assert_approx_eq::<f32>(&recorded.clone().inner().into_data(), Default::default());
            let recorded = tracked.grad(&recorded.backward()).unwrap();
            assert!(recorded.clone().abs().max().into_scalar::<f32>() > 1e-2);
            assert!((written - recorded).abs().max().into_scalar::<f32>() < 1e-5);
        }
    }
}
