//! The best of many scores, held in a heap whose top is the worst of them.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::Hit;
use crate::numerics::vector::{LANES, largest, widest};

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

    /// The score that a hit must reach.
    fn least(&self) -> f32 {
        match self.heap.peek() {
            Some(Reverse(worst)) if self.heap.len() == self.k => worst.0.score,
            _ => f32::NEG_INFINITY,
        }
    }

    fn offer(&mut self, hit: Hit) {
        if self.heap.len() < self.k {
            self.heap.push(Reverse(Ranked(hit)));
        } else if let Some(mut worst) = self.heap.peek_mut()
            && Ranked(hit) > worst.0
        {
            *worst = Reverse(Ranked(hit));
        }
    }

    /// Takes in the scores of consecutive rows from `first` on. Most are below the worst that is held, and are passed
    /// over a vector at a time.
    pub fn take(&mut self, first: usize, scores: &[f32]) {
        if self.k == 0 {
            return;
        }
        for (at, scores) in scores.chunks(4 * LANES).enumerate() {
            let most = widest(
                #[inline(always)]
                || largest(scores),
            );
            if most < self.least() {
                continue;
            }
            for (row, &score) in scores.iter().enumerate() {
                self.offer(Hit { row: first + at * 4 * LANES + row, score });
            }
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
