//! The best of many scores, held in a heap whose top is the worst of them.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::Hit;
use crate::numerics::vector::{LANES, widest};

/// Ordered so that a better hit is greater: the higher score and, of equal scores, the lower row.
#[derive(Debug, Clone, Copy)]
struct Ranked(Hit);

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.score.total_cmp(&other.0.score).then(other.0.row.cmp(&self.0.row))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ranked {}

/// The `k` best hits so far of one query.
#[derive(Debug, Clone)]
pub(super) struct Best {
    k: usize,
    heap: BinaryHeap<Reverse<Ranked>>,
}

impl Best {
    pub fn new(k: usize) -> Self {
        Self { k, heap: BinaryHeap::new() }
    }

    /// The score below which nothing is taken any more.
    pub fn least(&self) -> f32 {
        match self.heap.peek() {
            Some(Reverse(worst)) if self.heap.len() >= self.k => worst.0.score,
            _ => f32::NEG_INFINITY,
        }
    }

    pub fn offer(&mut self, hit: Hit) {
        if self.heap.len() < self.k {
            self.heap.push(Reverse(Ranked(hit)));
        } else if let Some(mut worst) = self.heap.peek_mut()
            && Ranked(hit) > worst.0
        {
            *worst = Reverse(Ranked(hit));
        }
    }

    /// Takes in what another has held of other rows.
    pub fn merge(&mut self, other: Self) {
        other.heap.into_iter().for_each(|Reverse(ranked)| self.offer(ranked.0));
    }

    /// Best first.
    pub fn into_hits(self) -> Vec<Hit> {
        self.heap.into_sorted_vec().into_iter().map(|Reverse(ranked)| ranked.0).collect()
    }
}

/// The rows of which a score is not below the `least` in its column: few, once the heaps are full. `least` is whole
/// vectors long, and so is each row.
pub(super) fn reaching(scores: &[f32], least: &[f32], rows: &mut Vec<usize>) {
    rows.clear();
    widest(
        #[inline(always)]
        || {
            for (row, scores) in scores.chunks_exact(least.len()).enumerate() {
                let mut reached = [0u32; LANES];
                for (scores, least) in scores.as_chunks::<LANES>().0.iter().zip(least.as_chunks::<LANES>().0)
                {
                    for lane in 0..LANES {
                        let score = scores[lane];
                        reached[lane] |= u32::from(score >= least[lane]) | u32::from(score.is_nan());
                    }
                }
                if reached.iter().any(|&reached| reached > 0) {
                    rows.push(row);
                }
            }
        },
    );
}
