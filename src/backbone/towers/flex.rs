//! What the towers do differently on Flex, Burn's CPU backend: one part of the batch a thread, and what is not a
//! product as one pass that the compiler turns into the widest vector instructions there are.
//!
//! Threads inside a product wait for each other at the end of each; threads with an image each do not. Only where there
//! are fewer images than threads do all of them share each product.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fmt, ops::Range, sync::Arc, thread};

use burn::tensor::{DType, Device, Tensor, TensorData};
use faer::{Accum, MatMut, MatRef, Par, linalg::matmul::matmul};
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::TowerActivation;
use crate::numerics::vector::{LANES, exp, fold, largest, widest};

/// Whether tensors of this device are Flex's, and so already in this process's memory.
#[cfg(feature = "flex")]
pub(crate) fn is_flex(device: &Device) -> bool {
    *device == Device::flex()
}

/// Without the backend, none is.
#[cfg(not(feature = "flex"))]
pub(crate) fn is_flex(_: &Device) -> bool {
    false
}

/// Threads that each encode a part of a batch. None on devices that share the work out themselves.
#[derive(Clone)]
pub(in crate::backbone) struct Lanes {
    pools: Arc<[ThreadPool]>,
    /// All threads together.
    shared: Option<Arc<ThreadPool>>,
    /// Where the next batch begins, so that small batches of several threads do not all wait for the first lane.
    next: Arc<AtomicUsize>,
}

impl Lanes {
    pub fn new(device: &Device) -> Self {
        let count = if is_flex(device) { thread::available_parallelism().map_or(1, usize::from) } else { 0 };
        // Each lane is a pool of one: what runs in it finds no other thread to share a product with.
        let pool = |threads: usize| ThreadPoolBuilder::new().num_threads(threads).build().ok();
        let shared = if count > 1 { pool(count).map(Arc::new) } else { None };
        Self { pools: (0..count).filter_map(|_| pool(1)).collect(), shared, next: Arc::default() }
    }

    /// How many parts of a batch are encoded side by side.
    pub fn count(&self) -> usize {
        self.pools.len().max(1)
    }

    /// The rows that `encode` makes of `0..rows`, which it gets in consecutive ranges: a lane takes its share `at_once`
    /// rows at a time. What a layer makes of a few rows stays in the cache, and is memory that the allocator keeps. What
    /// is over after all lanes had as many as each other, and would leave half of them idle, all threads share.
    pub fn encode(
        &self,
        rows: usize,
        at_once: usize,
        encode: impl Fn(Range<usize>) -> Tensor<2> + Sync,
    ) -> Tensor<2> {
        let (lanes, encode) = (self.pools.len(), &encode);
        if lanes == 0 {
            return encode(0..rows);
        }
        let over = rows % lanes;
        match &self.shared {
            Some(shared) if over > 0 && 2 * over <= lanes => {
                let rest = || shared.install(|| encode(rows - over..rows));
                if over == rows {
                    return rest();
                }
                Tensor::cat(vec![self.each(rows - over, at_once, encode), rest()], 0)
            }
            _ => self.each(rows, at_once, encode),
        }
    }

    fn each(
        &self,
        rows: usize,
        at_once: usize,
        encode: &(impl Fn(Range<usize>) -> Tensor<2> + Sync),
    ) -> Tensor<2> {
        let count = self.pools.len().min(rows);
        let bound = |lane: usize| lane * rows / count;
        let share = |lane: usize| -> Vec<Tensor<2>> {
            let end = bound(lane + 1);
            let starts = (bound(lane)..end).step_by(at_once);
            starts.map(|start| encode(start..(start + at_once).min(end))).collect()
        };
        let first = self.next.fetch_add(count, Ordering::Relaxed);
        let parts = thread::scope(|scope| {
            let start = |lane: usize| {
                let pool = &self.pools[first.wrapping_add(lane) % self.pools.len()];
                scope.spawn(move || pool.install(|| share(lane)))
            };
            let lanes: Vec<_> = (0..count).map(start).collect();
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

/// The non-linearity of `x + bias` in one pass over memory.
pub(super) fn activate<const D: usize>(
    x: Tensor<D>,
    bias: Tensor<1>,
    activation: TowerActivation,
) -> Tensor<D> {
    let bias = bias.into_data();
    let bias = bias.as_slice::<f32>().expect("a plain tensor");
    in_place(
        x,
        #[inline(always)]
        |values| match activation {
            TowerActivation::QuickGelu => add_and_map(values, bias, quick_gelu),
            TowerActivation::Gelu => add_and_map(values, bias, gelu),
        },
    )
}

/// `of` each number of the rows and of what stands in its column.
#[inline(always)]
fn add_and_map(rows: &mut [f32], row: &[f32], of: impl Fn(f32) -> f32) {
    for values in rows.chunks_exact_mut(row.len()) {
        values.iter_mut().zip(row).for_each(|(x, added)| *x = of(*x + added));
    }
}

impl TowerActivation {
    /// The non-linearity of every number, in its place.
    #[inline(always)]
    pub(super) fn apply(self, x: &mut [f32]) {
        match self {
            Self::QuickGelu => x.iter_mut().for_each(|x| *x = quick_gelu(*x)),
            Self::Gelu => x.iter_mut().for_each(|x| *x = gelu(*x)),
        }
    }
}

/// `softmax(q k^T / sqrt(head)) v`, in which a causal query sees the keys up to its own place: of every head from
/// where it stands to where it belongs, so that nothing is moved, and one after the other, so that the cache holds
/// what there is between the two products.
///
/// # Shapes
/// - `qkv`: `[batch, tokens, 3 width]`: the queries of all heads, the keys, the values
/// - returns: `[batch, tokens, width]`
pub(super) fn attend(qkv: Tensor<3>, heads: usize, causal: bool) -> Tensor<3> {
    let [batch, tokens, stride] = qkv.dims();
    let (width, device) = (stride / 3, qkv.device());
    let head = width / heads;
    let scale = (head as f32).sqrt().recip();
    let data = qkv.into_data();
    let qkv = data.as_slice::<f32>().expect("a plain tensor");
    let mut mixed = vec![0.0; batch * tokens * width];
    let columns = tokens.next_multiple_of(LANES);
    let mut scores = vec![0.0; tokens * columns];
    for (image, mixed) in qkv.chunks_exact(tokens * stride).zip(mixed.chunks_exact_mut(tokens * width)) {
        for first in (0..width).step_by(head) {
            let part = |part: usize| {
                MatRef::from_row_major_slice_with_stride(&image[part * width + first..], tokens, head, stride)
            };
            let products = rows_mut(&mut scores, tokens, tokens, columns);
            matmul(products, Accum::Replace, part(0), part(1).transpose(), 1.0, Par::Seq);
            widest(
                #[inline(always)]
                || {
                    for (query, scores) in scores.chunks_exact_mut(columns).enumerate() {
                        softmax(scores, if causal { query + 1 } else { tokens }, scale);
                    }
                },
            );
            let weights = MatRef::from_row_major_slice_with_stride(&scores, tokens, tokens, columns);
            let mixed = rows_mut(&mut mixed[first..], tokens, head, width);
            matmul(mixed, Accum::Replace, weights, part(2), 1.0, Par::Seq);
        }
    }
    Tensor::from_data(TensorData::new(mixed, [batch, tokens, width]), &device)
}

/// A matrix of rows so far apart. By way of its transpose, as faer 0.24's own function for it mistakes rows for columns.
pub(super) fn rows_mut(values: &mut [f32], rows: usize, columns: usize, stride: usize) -> MatMut<'_, f32> {
    MatMut::from_column_major_slice_with_stride_mut(values, columns, rows, stride).transpose_mut()
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

/// `softmax(scale x)` in place of the first `seen` numbers, and 0 behind them.
#[inline(always)]
pub(super) fn softmax(x: &mut [f32], seen: usize, scale: f32) {
    x[seen..].fill(f32::NEG_INFINITY);
    let most = largest(x);
    x.iter_mut().for_each(|x| *x = exp(scale * (*x - most)));
    x[seen..].fill(0.0);
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
    use burn::tensor::{Distribution, module::attention, ops::AttentionModuleOptions};

    use super::*;

    fn samples() -> impl Iterator<Item = f32> {
        (-40_000..=40_000).map(|step| step as f32 / 2_000.0)
    }

    #[test]
    fn the_activations_are_burns() {
        let device = Device::flex();
        let x = Tensor::<1>::from_floats(samples().collect::<Vec<f32>>().as_slice(), &device);
        let x = x.narrow(0, 0, 80_000).reshape([8, -1, 2]);
        let bias = Tensor::<1>::from_floats([0.5, -1.0], &device);
        for activation in [TowerActivation::QuickGelu, TowerActivation::Gelu] {
            let here = activate(x.clone(), bias.clone(), activation);
            let there = activation.forward(x.clone() + bias.clone().unsqueeze());
            let difference = (here - there).abs().max().into_scalar::<f32>();
            assert!(difference < 2e-6, "{activation:?}: {difference}");
        }
    }

    #[test]
    fn attention_is_burns() {
        let device = Device::flex();
        device.seed(5);
        for (causal, tokens) in [(false, 50), (false, 17), (false, 1), (true, 33), (true, 7)] {
            let qkv = Tensor::<3>::random([2, tokens, 3 * 3 * 8], Distribution::Normal(0.0, 1.5), &device);
            let here = attend(qkv.clone(), 3, causal);
            let heads = qkv.reshape([2, tokens, 3, 3, 8]).permute([2, 0, 3, 1, 4]);
            let part = |index: usize| -> Tensor<4> { heads.clone().narrow(0, index, 1).squeeze_dim(0) };
            let options = AttentionModuleOptions { is_causal: causal, ..Default::default() };
            let there = attention(part(0), part(1), part(2), None, None, options);
            let there = there.swap_dims(1, 2).reshape([2, tokens, 24]);
            let difference = (here - there).abs().max().into_scalar::<f32>();
            assert!(difference < 3e-6, "{causal} {tokens}: {difference}");
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
