use std::ops::Range;

use faer::{Accum, MatRef, Par, linalg::matmul::matmul};
use rayon::prelude::*;

use super::product::{Product, Rows, Sums};
use crate::backbone::towers::TowerActivation;
use crate::backbone::towers::flex::{rows_mut, softmax};
use crate::numerics::vector::{LANES, fold, widest};

/// `gain (x - mean) / sqrt(variance + epsilon) + shift` of a row.
pub(super) struct Norm {
    pub gain: Vec<f32>,
    pub shift: Vec<f32>,
    pub epsilon: f32,
}

impl Norm {
    #[inline(always)]
    pub fn apply(&self, x: &[f32], y: &mut [f32]) {
        let part = (x.len() as f32).recip();
        let mean = part * fold(x, 0.0, |x| x, |a, b| a + b);
        let variance = part * fold(x, 0.0, |x| (x - mean) * (x - mean), |a, b| a + b);
        let scale = (variance + self.epsilon).sqrt().recip();
        let parts = self.gain.iter().zip(&self.shift);
        for ((y, x), (gain, shift)) in y.iter_mut().zip(x).zip(parts) {
            *y = (x - mean) * scale * gain + shift;
        }
    }

    /// The norm of every row, in its place.
    pub fn apply_to(&self, x: &mut [f32]) {
        let mut row = vec![0.0; self.gain.len()];
        for x in x.chunks_exact_mut(self.gain.len()) {
            row.copy_from_slice(x);
            widest(
                #[inline(always)]
                || self.apply(&row, x),
            );
        }
    }
}

/// A pre-norm transformer block on rows of numbers: what [`Block`](super::super::transformer::Block) is on tensors.
pub(super) struct PackedBlock {
    pub norm1: Norm,
    pub qkv: Product,
    pub out: Product,
    pub norm2: Norm,
    pub fc1: Product,
    pub fc2: Product,
    pub heads: usize,
    pub causal: bool,
    pub activation: TowerActivation,
}

/// The rows of every image or text, one after the other.
pub(super) struct Sequences {
    starts: Vec<usize>, // and the end
    owners: Vec<usize>, // of each row
}

impl Sequences {
    pub fn of(lengths: impl IntoIterator<Item = usize>) -> Self {
        let (mut starts, mut owners) = (vec![0], Vec::new());
        for (sequence, length) in lengths.into_iter().enumerate() {
            owners.resize(owners.len() + length, sequence);
            starts.push(owners.len());
        }
        Self { starts, owners }
    }

    pub fn count(&self) -> usize {
        self.starts.len() - 1
    }

    pub fn rows_in_all(&self) -> usize {
        self.owners.len()
    }

    fn rows(&self, sequence: usize) -> Range<usize> {
        self.starts[sequence]..self.starts[sequence + 1]
    }
}

/// Memory that the blocks of a tower use one after the other.
#[derive(Default)]
pub(super) struct Space {
    rows: Rows,
    sums: Sums,
    hidden: Rows,
}

impl PackedBlock {
    /// `x + Attention(norm(x))`; where places are given, of that token alone of every sequence.
    ///
    /// # Shapes
    /// - `x`: `[rows, width]`
    /// - returns: the same, or `[sequences, width]`
    pub fn attend(
        &self,
        x: Vec<f32>,
        sequences: &Sequences,
        places: Option<&[usize]>,
        space: &mut Space,
    ) -> Vec<f32> {
        let (width, heads) = (self.out.outputs(), self.heads);
        let Space { rows, sums, .. } = space;
        self.qkv.fill(
            rows,
            x.len() / width,
            #[inline(always)]
            |row, y| self.norm1.apply(&x[row * width..][..width], y),
        );
        self.qkv.multiply(rows, sums);
        let parts = (0..sequences.count() * heads).into_par_iter();
        let mixed: Vec<Vec<f32>> = parts
            .map_init(Vec::new, |scratch, at| {
                let (sequence, head) = (at / heads, at % heads);
                let place = places.map(|places| places[sequence]);
                self.mix(rows, sums, sequences.rows(sequence), place, head, scratch)
            })
            .collect();
        let mut x = match places {
            None => x,
            Some(places) => {
                let kept = places.iter().zip(&sequences.starts).map(|(place, start)| (start + place) * width);
                kept.flat_map(|start| &x[start..start + width]).copied().collect()
            }
        };
        let head = width / heads;
        self.out.fill(
            rows,
            x.len() / width,
            #[inline(always)]
            |row, y| {
                let (sequence, query) = match places {
                    None => (sequences.owners[row], row - sequences.starts[sequences.owners[row]]),
                    Some(_) => (row, 0),
                };
                for (mixed, y) in mixed[sequence * heads..].iter().zip(y.chunks_exact_mut(head)) {
                    y.copy_from_slice(&mixed[query * head..][..head]);
                }
            },
        );
        self.out.multiply(rows, sums);
        self.out.add(rows, sums, &mut x);
        x
    }

    /// What the attention has to take of each row: its value through the output's weights.
    pub fn values(&self, x: &[f32]) -> Vec<f32> {
        let width = self.out.outputs();
        let (mut rows, mut sums, mut values) = (Rows::default(), Sums::default(), vec![0.0; x.len()]);
        let count = x.len() / width;
        self.qkv.fill(&mut rows, count, |row, y| self.norm1.apply(&x[row * width..][..width], y));
        self.qkv.multiply(&rows, &mut sums);
        let mut mixed = Rows::default();
        self.out.fill(&mut mixed, count, |row, y| {
            self.qkv.read(&rows, &sums, row, 2 * width..3 * width, y);
        });
        self.out.multiply(&mixed, &mut sums);
        self.out.add(&mixed, &sums, &mut values);
        values
    }

    /// `softmax(q k^T / sqrt(head)) v` of one head of one sequence, for one query or for all: `[queries, head]`.
    fn mix(
        &self,
        rows: &Rows,
        sums: &Sums,
        sequence: Range<usize>,
        place: Option<usize>,
        index: usize,
        scratch: &mut Vec<f32>,
    ) -> Vec<f32> {
        let (tokens, width) = (sequence.len(), self.out.outputs());
        let (head, columns) = (width / self.heads, tokens.next_multiple_of(LANES));
        let (first, queries) = place.map_or((0, tokens), |place| (place, 1));
        scratch.resize(3 * tokens * head + queries * columns, 0.0);
        let (parts, scores) = scratch.split_at_mut(3 * tokens * head);
        widest(
            #[inline(always)]
            || {
                for (part, values) in parts.chunks_exact_mut(tokens * head).enumerate() {
                    let first = part * width + index * head;
                    for (row, values) in sequence.clone().zip(values.chunks_exact_mut(head)) {
                        self.qkv.read(rows, sums, row, first..first + head, values);
                    }
                }
            },
        );
        let part = |part: usize, first: usize, count: usize| {
            let start = (part * tokens + first) * head;
            MatRef::from_row_major_slice(&parts[start..start + count * head], count, head)
        };
        let products = rows_mut(scores, queries, tokens, columns);
        let keys = part(1, 0, tokens).transpose();
        matmul(products, Accum::Replace, part(0, first, queries), keys, 1.0, Par::Seq);
        let scale = (head as f32).sqrt().recip();
        widest(
            #[inline(always)]
            || {
                for (query, scores) in scores.chunks_exact_mut(columns).enumerate() {
                    softmax(scores, if self.causal { first + query + 1 } else { tokens }, scale);
                }
            },
        );
        let weights = MatRef::from_row_major_slice_with_stride(scores, queries, tokens, columns);
        let mut mixed = vec![0.0; queries * head];
        matmul(
            rows_mut(&mut mixed, queries, head, head),
            Accum::Replace,
            weights,
            part(2, 0, tokens),
            1.0,
            Par::Seq,
        );
        mixed
    }

    /// `x + MLP(norm(x))`.
    pub fn mlp(&self, x: &mut [f32], space: &mut Space) {
        let width = self.fc2.outputs();
        let count = x.len() / width;
        let Space { rows, sums, hidden, .. } = space;
        self.fc1.fill(
            rows,
            count,
            #[inline(always)]
            |row, y| self.norm2.apply(&x[row * width..][..width], y),
        );
        self.fc1.multiply(rows, sums);
        self.fc2.fill(
            hidden,
            count,
            #[inline(always)]
            |row, y| {
                self.fc1.read(rows, sums, row, 0..y.len(), y);
                self.activation.apply(y);
            },
        );
        self.fc2.multiply(hidden, sums);
        self.fc2.add(hidden, sums, x);
    }
}

/// What blocks make of `x`, `[rows, width]`; where places are given, of that token alone of every sequence.
pub(super) fn forward(
    blocks: &[PackedBlock],
    mut x: Vec<f32>,
    sequences: &Sequences,
    places: Option<&[usize]>,
) -> Vec<f32> {
    let mut space = Space::default();
    for (at, block) in blocks.iter().enumerate() {
        x = block.attend(x, sequences, places.filter(|_| at + 1 == blocks.len()), &mut space);
        block.mlp(&mut x, &mut space);
    }
    x
}
