//! `y = x W + b`, with `W` laid out once for the kernels that multiply with it.

use std::{fmt, ops::Range, sync::LazyLock};

use rayon::prelude::*;
use rten_gemm::{GemmExecutor, GemmInT, GemmInputA, GemmInputB, GemmOptions, GemmOutT, PackedBMatrix};
use rten_tensor::NdTensorView;

use super::levels::{Levels, quantise};
use crate::numerics::vector::widest;

/// Columns of a piece of the weights at most: with 256 numbers or 1,024 bytes a column, what a thread works with fits the
/// cache that it has for itself, and two threads that share a piece have as much to do.
const PIECE: usize = 768;

/// The kernels' columns come in multiples of this.
const STEP: usize = 64;

/// Rows of the identity multiplied at once.
const IDENTITY_ROWS: usize = 256;

thread_local! {
    static FLOATS: GemmExecutor<f32> = GemmExecutor::default();
    static BYTES: GemmExecutor<u8, i8, i32> = GemmExecutor::default();
}

/// The highest level of an activation. Without instructions for it, eight bits times eight are added in sixteen, which
/// holds two products of seven.
static TOP: LazyLock<f32> =
    LazyLock::new(|| if BYTES.with(GemmExecutor::may_saturate) { 127.0 } else { 255.0 });

/// The weights and the bias of a product, in f32 or in eight bits.
///
/// Every number of an outcome is summed in the same order whatever other rows there are and whichever thread does it.
pub(super) struct Product {
    inputs: usize,
    outputs: usize,
    bias: Vec<f32>,
    weights: Weights,
}

enum Weights {
    F32(Vec<PackedBMatrix<f32>>),
    /// With the sum of the levels of each column, which a row's zero is multiplied with. `rten-gemm` 0.27 could subtract
    /// the zeros itself, but takes those of a block's first rows for all of its rows.
    Int8 {
        pieces: Vec<PackedBMatrix<i8>>,
        scales: Vec<f32>,
        totals: Vec<i32>,
    },
}

/// Weights as they were before they were laid out.
pub(in crate::backbone) enum Stored {
    Floats(Vec<f32>),
    Levels(Levels),
}

/// What a product takes: rows of numbers, or of levels with a scale and a zero each.
#[derive(Default)]
pub(super) struct Rows {
    count: usize,
    floats: Vec<f32>,
    levels: Vec<u8>,
    scales: Vec<f32>,
    zeros: Vec<i32>,
}

/// What a product gives, piece after piece, until somebody asks for a row: then as numbers with the bias.
#[derive(Default)]
pub(super) struct Sums {
    floats: Vec<f32>,
    integers: Vec<i32>,
}

impl Product {
    /// # Shapes
    /// - `weights`: `[inputs, bias.len()]`
    pub fn floats(weights: &[f32], bias: Vec<f32>) -> Self {
        let (outputs, inputs) = (bias.len(), weights.len() / bias.len());
        let pieces = FLOATS.with(|kernels| pack(kernels, weights, inputs, outputs));
        Self { inputs, outputs, bias, weights: Weights::F32(pieces) }
    }

    /// # Shapes
    /// - `weights`: `[inputs, bias.len()]`
    pub fn bytes(weights: Levels, bias: Vec<f32>) -> Self {
        let (outputs, inputs) = (bias.len(), weights.levels.len() / bias.len());
        let pieces = BYTES.with(|kernels| pack(kernels, &weights.levels, inputs, outputs));
        let mut totals = vec![0; outputs];
        for row in weights.levels.chunks_exact(outputs) {
            totals.iter_mut().zip(row).for_each(|(total, &level)| *total += i32::from(level));
        }
        Self { inputs, outputs, bias, weights: Weights::Int8 { pieces, scales: weights.scales, totals } }
    }

    pub fn inputs(&self) -> usize {
        self.inputs
    }

    pub fn outputs(&self) -> usize {
        self.outputs
    }

    pub fn bias(&self) -> &[f32] {
        &self.bias
    }

    /// The weights `[inputs, outputs]`, in eight bits if that is what they are.
    ///
    /// How they are laid out is the kernels' affair: they come back as the product with the identity, which is exact.
    pub fn weights(&self) -> Stored {
        let mut sums = Sums::default();
        let (mut floats, mut levels) = (Vec::new(), Vec::new());
        let rows: Vec<usize> = (0..self.inputs).collect();
        for rows in rows.chunks(IDENTITY_ROWS) {
            let (count, inputs) = (rows.len(), self.inputs);
            let mut identity = Rows { count, ..Rows::default() };
            let places = rows.iter().enumerate().map(|(at, row)| at * inputs + row);
            match self.weights {
                Weights::F32(_) => {
                    identity.floats = vec![0.0; count * inputs];
                    places.for_each(|place| identity.floats[place] = 1.0);
                }
                Weights::Int8 { .. } => {
                    identity.levels = vec![0; count * inputs];
                    places.for_each(|place| identity.levels[place] = 1);
                }
            }
            self.multiply(&identity, &mut sums);
            for (row, piece) in (0..count).flat_map(|row| pieces(self.outputs).map(move |piece| (row, piece)))
            {
                let part = count * piece.start + row * piece.len();
                match self.weights {
                    Weights::F32(_) => floats.extend(&sums.floats[part..part + piece.len()]),
                    Weights::Int8 { .. } => {
                        levels
                            .extend(sums.integers[part..part + piece.len()].iter().map(|&level| level as i8));
                    }
                }
            }
        }
        match &self.weights {
            Weights::F32(_) => Stored::Floats(floats),
            Weights::Int8 { scales, .. } => Stored::Levels(Levels { levels, scales: scales.clone() }),
        }
    }

    /// The weights as numbers.
    pub fn numbers(&self) -> Vec<f32> {
        match self.weights() {
            Stored::Floats(weights) => weights,
            Stored::Levels(levels) => levels.floats(),
        }
    }

    /// Makes `rows` of `count` rows of which `fill` writes each.
    pub fn fill(&self, rows: &mut Rows, count: usize, fill: impl Fn(usize, &mut [f32]) + Sync) {
        let inputs = self.inputs;
        rows.count = count;
        if let Weights::F32(_) = self.weights {
            rows.floats.resize(count * inputs, 0.0);
            let each = rows.floats.par_chunks_exact_mut(inputs).enumerate();
            each.for_each(|(row, x)| {
                widest(
                    #[inline(always)]
                    || fill(row, x),
                )
            });
            return;
        }
        rows.levels.resize(count * inputs, 0);
        rows.scales.resize(count, 0.0);
        rows.zeros.resize(count, 0);
        let parts = rows.scales.par_iter_mut().zip(&mut rows.zeros);
        let each = rows.levels.par_chunks_exact_mut(inputs).zip(parts).enumerate();
        each.for_each_init(
            || vec![0.0; inputs],
            |x, (row, (levels, (scale, zero)))| {
                widest(
                    #[inline(always)]
                    || {
                        fill(row, x);
                        (*scale, *zero) = quantise(x, levels, *TOP);
                    },
                );
            },
        );
    }

    /// `x W` of all rows. Those threads share it that the caller's pool has.
    pub fn multiply(&self, rows: &Rows, sums: &mut Sums) {
        let (count, inputs) = (rows.count, self.inputs);
        match &self.weights {
            Weights::F32(pieces) => {
                sums.floats.resize(count * self.outputs, 0.0);
                FLOATS.with(|kernels| {
                    product(kernels, &rows.floats, [count, inputs], pieces, &mut sums.floats)
                });
            }
            Weights::Int8 { pieces, .. } => {
                sums.integers.resize(count * self.outputs, 0);
                BYTES.with(|kernels| {
                    product(kernels, &rows.levels, [count, inputs], pieces, &mut sums.integers)
                });
            }
        }
    }

    /// Some columns of a row of `x W + b`.
    #[inline(always)]
    pub fn read(&self, rows: &Rows, sums: &Sums, row: usize, columns: Range<usize>, out: &mut [f32]) {
        let mut done = 0;
        for piece in pieces(self.outputs) {
            let (first, last) = (piece.start.max(columns.start), piece.end.min(columns.end));
            if first >= last {
                continue;
            }
            let start = rows.count * piece.start + row * piece.len() + first - piece.start;
            let (out, bias) = (&mut out[done..done + last - first], &self.bias[first..last]);
            match &self.weights {
                Weights::F32(_) => {
                    let sums = &sums.floats[start..start + last - first];
                    out.iter_mut().zip(sums).zip(bias).for_each(|((y, sum), bias)| *y = sum + bias);
                }
                Weights::Int8 { scales, totals, .. } => {
                    let (scale, zero) = (rows.scales[row], rows.zeros[row]);
                    let sums = sums.integers[start..start + last - first].iter().zip(&totals[first..last]);
                    let parts = sums.zip(&scales[first..last]).zip(bias);
                    for (y, (((sum, total), part), bias)) in out.iter_mut().zip(parts) {
                        *y = (sum - zero * total) as f32 * (scale * part) + bias;
                    }
                }
            }
            done += last - first;
        }
    }

    /// Adds `x W + b` to `y`.
    pub fn add(&self, rows: &Rows, sums: &Sums, y: &mut [f32]) {
        let each = y.par_chunks_exact_mut(self.outputs).enumerate();
        each.for_each_init(
            || vec![0.0; self.outputs],
            |part, (row, y)| {
                widest(
                    #[inline(always)]
                    || {
                        self.read(rows, sums, row, 0..part.len(), part);
                        y.iter_mut().zip(&*part).for_each(|(y, part)| *y += part);
                    },
                );
            },
        );
    }

    /// `x W + b` of all rows of `x`.
    pub fn all(&self, x: &[f32]) -> Vec<f32> {
        let count = x.len() / self.inputs;
        let (mut rows, mut sums, mut y) = (Rows::default(), Sums::default(), vec![0.0; count * self.outputs]);
        self.fill(&mut rows, count, |row, part| part.copy_from_slice(&x[row * part.len()..][..part.len()]));
        self.multiply(&rows, &mut sums);
        self.add(&rows, &sums, &mut y);
        y
    }
}

/// The columns of each piece.
#[inline(always)]
fn pieces(outputs: usize) -> impl Iterator<Item = Range<usize>> {
    let width = outputs.div_ceil(outputs.div_ceil(PIECE)).next_multiple_of(STEP);
    (0..outputs).step_by(width).map(move |start| start..(start + width).min(outputs))
}

fn pack<L: GemmInT, R: GemmInT, O: GemmOutT>(
    kernels: &GemmExecutor<L, R, O>,
    weights: &[R],
    inputs: usize,
    outputs: usize,
) -> Vec<PackedBMatrix<R>> {
    let all = NdTensorView::from_data([inputs, outputs], weights);
    pieces(outputs).map(|columns| kernels.prepack_b(all.slice((.., columns)))).collect()
}

fn product<L: GemmInT, R: GemmInT, O: GemmOutT>(
    kernels: &GemmExecutor<L, R, O>,
    rows: &[L],
    shape: [usize; 2],
    pieces: &[PackedBMatrix<R>],
    mut sums: &mut [O],
) {
    for piece in pieces {
        let (part, rest) = sums.split_at_mut(shape[0] * piece.cols());
        let rows = GemmInputA::Unpacked(NdTensorView::from_data(shape, rows));
        kernels.gemm(part, rows, GemmInputB::Packed(piece), GemmOptions::default()).expect("shapes that fit");
        sums = rest;
    }
}

impl fmt::Debug for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Product({} x {})", self.inputs, self.outputs)
    }
}
