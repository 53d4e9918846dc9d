//! What the towers do differently on Flex, Burn's CPU backend: one part of the batch a thread, and what is not a
//! product as one pass that the compiler turns into the widest vector instructions there are.
//!
//! Threads inside a product wait for each other at the end of each; threads with an image each do not.

use std::{fmt, ops::Range, sync::Arc, thread};

use burn::tensor::{DType, Device, Tensor};
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::TowerActivation;
use crate::vector::{exp, fold, largest, widest};

/// Whether tensors of this device are Flex's, and so already in this process's memory.
pub(super) fn is_flex(device: &Device) -> bool {
    #[cfg(feature = "flex")]
    return *device == Device::flex();
    #[cfg(not(feature = "flex"))]
    return false;
}

/// Threads that each encode a part of a batch. None on devices that share the work out themselves.
#[derive(Clone)]
pub(super) struct Lanes(Arc<[ThreadPool]>);

impl Lanes {
    pub fn new(device: &Device) -> Self {
        let count = if is_flex(device) { thread::available_parallelism().map_or(1, usize::from) } else { 0 };
        // Each lane is a pool of one: what runs in it finds no other thread to share a product with.
        let pools = (0..count).filter_map(|_| ThreadPoolBuilder::new().num_threads(1).build().ok());
        Self(pools.collect())
    }

    /// How many parts of a batch are encoded side by side.
    pub fn count(&self) -> usize {
        self.0.len().max(1)
    }

    /// The rows that `encode` makes of `0..rows`, which it gets in consecutive ranges: a lane takes its share `at_once`
    /// rows at a time. What a layer makes of a few rows stays in the cache, and is memory that the allocator keeps.
    pub fn encode(
        &self,
        rows: usize,
        at_once: usize,
        encode: impl Fn(Range<usize>) -> Tensor<2> + Sync,
    ) -> Tensor<2> {
        let (count, encode) = (self.0.len().min(rows), &encode);
        if count == 0 {
            return encode(0..rows);
        }
        let bound = |lane: usize| lane * rows / count;
        let share = |lane: usize| -> Vec<Tensor<2>> {
            let end = bound(lane + 1);
            let starts = (bound(lane)..end).step_by(at_once);
            starts.map(|start| encode(start..(start + at_once).min(end))).collect()
        };
        let parts = thread::scope(|scope| {
            let lanes: Vec<_> = (0..count)
                .zip(self.0.iter())
                .map(|(lane, pool)| scope.spawn(move || pool.install(|| share(lane))))
                .collect();
            let join = |lane: thread::ScopedJoinHandle<'_, _>| {
                lane.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            lanes.into_iter().flat_map(join).collect()
        });
        Tensor::cat(parts, 0)
    }
}

impl fmt::Debug for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lanes({})", self.count())
    }
}

/// Whether what follows may stand for the tensor's own operations: not on other devices, while gradients are
/// recorded, and in half precision.
pub(super) fn is_plain<const D: usize>(x: &Tensor<D>) -> bool {
    is_flex(&x.device()) && !x.is_autodiff() && x.dtype() == DType::F32
}

/// The non-linearity in one pass over memory.
pub(super) fn activate(x: Tensor<3>, activation: TowerActivation) -> Tensor<3> {
    in_place(
        x,
        #[inline(always)]
        |values| match activation {
            TowerActivation::QuickGelu => values.iter_mut().for_each(|x| *x = quick_gelu(*x)),
            TowerActivation::Gelu => values.iter_mut().for_each(|x| *x = gelu(*x)),
        },
    )
}

/// `softmax(q k^T / sqrt(head)) v`, in which a causal query sees the keys up to its own place.
///
/// # Shapes
/// - `queries`: `[batch, heads, count, head]`
/// - `keys`, `values`: `[batch, heads, tokens, head]`
/// - returns: `[batch, heads, count, head]`
pub(super) fn attend(queries: Tensor<4>, keys: Tensor<4>, values: Tensor<4>, causal: bool) -> Tensor<4> {
    let [_, _, count, head] = queries.dims();
    let tokens = keys.dims()[2];
    let scale = (head as f32).sqrt().recip();
    let scores = queries.matmul(keys.swap_dims(2, 3)); // [batch, heads, count, tokens]
    let weights = in_place(
        scores,
        #[inline(always)]
        |scores| {
            for (row, scores) in scores.chunks_exact_mut(tokens).enumerate() {
                let seen = if causal { row % count + 1 } else { tokens };
                let (seen, hidden) = scores.split_at_mut(seen);
                softmax(seen, scale);
                hidden.fill(0.0);
            }
        },
    );
    weights.matmul(values)
}

/// Changes the numbers of a tensor where they are, with the instructions of the processor that it runs on.
fn in_place<const D: usize>(x: Tensor<D>, change: impl FnOnce(&mut [f32])) -> Tensor<D> {
    let device = x.device();
    let mut data = x.into_data(); // moves the memory, unless somebody else holds it too
    if let Ok(values) = data.as_mut_slice::<f32>() {
        widest(
            #[inline(always)]
            || change(values),
        );
    }
    Tensor::from_data(data, &device)
}

/// `softmax(scale x)` in place.
#[inline(always)]
fn softmax(x: &mut [f32], scale: f32) {
    let most = largest(x);
    x.iter_mut().for_each(|x| *x = exp(scale * (*x - most)));
    let part = fold(x, 0.0, |x| x, |a, b| a + b).recip();
    x.iter_mut().for_each(|x| *x *= part);
}

/// `x sigmoid(1.702 x)`.
#[inline(always)]
fn quick_gelu(x: f32) -> f32 {
    x / (1.0 + exp(-1.702 * x))
}

/// `x Phi(x)`, in which `erf` is formula 7.1.26 of Abramowitz and Stegun, off by at most 1.5e-7.
#[inline(always)]
fn gelu(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let series = (1.061_405_4 * t - 1.453_152) * t + 1.421_413_7;
    let tail = ((series * t - 0.284_496_74) * t + 0.254_829_6) * t * exp(-z * z); // 1 - erf(z)
    0.5 * (x + x.abs() * (1.0 - tail))
}

#[cfg(test)]
mod tests {
    use burn::tensor::{module::attention, ops::AttentionModuleOptions};

    use super::*;

    fn samples() -> impl Iterator<Item = f32> {
        (-40_000..=40_000).map(|step| step as f32 / 2_000.0)
    }

    #[test]
    fn the_activations_are_burns() {
        let device = Device::flex();
        let x = Tensor::<1>::from_floats(samples().collect::<Vec<f32>>().as_slice(), &device);
        let x = x.reshape([1, 1, -1]);
        for activation in [TowerActivation::QuickGelu, TowerActivation::Gelu] {
            let here = activate(x.clone(), activation);
            let there = activation.forward_in_tensors(x.clone());
            let difference = (here - there).abs().max().into_scalar::<f32>();
            assert!(difference < 2e-6, "{activation:?}: {difference}");
        }
    }

    #[test]
    fn attention_is_burns() {
        let device = Device::flex();
        device.seed(5);
        for (causal, tokens, count) in [(false, 50, 50), (false, 17, 1), (true, 33, 33), (true, 7, 1)] {
            let random = |rows: usize| {
                Tensor::<4>::random([2, 3, rows, 8], burn::tensor::Distribution::Normal(0.0, 1.5), &device)
            };
            let (queries, keys, values) = (random(count), random(tokens), random(tokens));
            let here = attend(queries.clone(), keys.clone(), values.clone(), causal);
            // Burn masks causally from the end, and a last block's first queries stand at the beginning.
            let mask = (causal && count < tokens)
                .then(|| Tensor::<4>::ones([2, 3, count, tokens], &device).triu(1).bool());
            let options =
                AttentionModuleOptions { is_causal: causal && mask.is_none(), ..Default::default() };
            let there = attention(queries, keys, values, mask, None, options);
            let difference = (here - there).abs().max().into_scalar::<f32>();
            assert!(difference < 3e-6, "{causal} {tokens} {count}: {difference}");
        }
    }

    #[test]
    fn lanes_keep_the_order_of_rows() {
        let device = Device::flex();
        let lanes = Lanes::new(&device);
        for rows in [1, 2, 3, 17] {
            let x = Tensor::<1, burn::tensor::Int>::arange(0..rows as i64, &device).float().reshape([-1, 1]);
            let same = lanes.encode(rows, 3, |range| x.clone().slice([range]));
            assert_eq!(same.to_data(), x.to_data());
        }
    }
}
