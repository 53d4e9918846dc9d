//! Products of queries with blocks of rows, on all cores.

use std::ops::Range;

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

use super::best::{Best, reaching};
use super::{Hit, check_queries};
use crate::error::Result;
use crate::features::Embeddings;
use crate::numerics::vector::LANES;

/// Rows multiplied at once: 256 of 512 f32 fill half of a cache of 1 MB.
pub(super) const BLOCK: usize = 256;

/// Queries multiplied at once: as many as the kernels take without first copying the rows into an order of their own.
const PANEL: usize = 96;

/// Some queries as the kernels read them without copying: `[wide, dim]`, column after column, where `wide` is `count`
/// filled up with zeros to whole vectors.
struct Panel {
    count: usize,
    wide: usize,
    columns: Vec<f32>,
}

impl Panel {
    fn new(values: &[f32], dim: usize) -> Self {
        let count = values.len() / dim;
        let wide = count.next_multiple_of(LANES);
        let mut columns = vec![0.0; wide * dim];
        for (query, values) in values.chunks_exact(dim).enumerate() {
            for (column, &value) in values.iter().enumerate() {
                columns[column * wide + query] = value;
            }
        }
        Self { count, wide, columns }
    }
}

/// The best so far of a panel's queries, and the scores that a row must reach to be among them.
#[derive(Clone)]
struct Standing {
    best: Vec<Best>,
    least: Vec<f32>, // `wide` of them; nothing reaches those of no query
}

impl Standing {
    fn new(panel: &Panel, k: usize) -> Self {
        let best = vec![Best::new(k); panel.count];
        let mut least: Vec<f32> = best.iter().map(Best::least).collect();
        least.resize(panel.wide, f32::INFINITY);
        Self { best, least }
    }

    /// Takes in scores `[rows, wide]`, of rows from `first` on.
    fn take(&mut self, first: usize, scores: &[f32], reached: &mut Vec<usize>) {
        let wide = self.least.len();
        reaching(scores, &self.least, reached);
        for &row in reached.iter() {
            let scores = &scores[row * wide..][..self.best.len()];
            for ((&score, best), least) in scores.iter().zip(&mut self.best).zip(&mut self.least) {
                if score >= *least || score.is_nan() {
                    best.offer(Hit { row: first + row, score });
                    *least = best.least();
                }
            }
        }
    }
}

/// The best `k` of `count` rows for each query. `fill` gives consecutive rows as f32.
pub(super) fn best_of(
    queries: &Embeddings,
    k: usize,
    count: usize,
    dim: usize,
    fill: impl Fn(Range<usize>, &mut Vec<f32>) -> Result<()> + Sync,
) -> Result<Vec<Vec<Hit>>> {
    check_queries(queries, dim)?;
    let k = k.min(count);
    if k == 0 {
        return Ok(vec![Vec::new(); queries.rows()]);
    }
    let panels: Vec<Panel> =
        queries.values().chunks(PANEL * dim).map(|values| Panel::new(values, dim)).collect();
    let blocks = count.div_ceil(BLOCK);
    // As many pieces as threads, each of consecutive blocks, so that the heaps of a thread soon keep most rows out.
    let pieces = rayon::current_num_threads().min(blocks);
    let found: Vec<Result<Vec<Standing>>> = (0..pieces)
        .into_par_iter()
        .map(|piece| {
            let mut standings: Vec<Standing> = panels.iter().map(|panel| Standing::new(panel, k)).collect();
            let (mut block, mut scores, mut reached) = (Vec::new(), Vec::new(), Vec::new());
            for at in piece * blocks / pieces..(piece + 1) * blocks / pieces {
                let rows = at * BLOCK..((at + 1) * BLOCK).min(count);
                fill(rows.clone(), &mut block)?;
                for (panel, standing) in panels.iter().zip(&mut standings) {
                    multiply(panel, &block, dim, &mut scores);
                    standing.take(rows.start, &scores, &mut reached);
                }
            }
            Ok(standings)
        })
        .collect();
    let mut all: Vec<Best> = vec![Best::new(k); queries.rows()];
    for standings in found {
        let found = standings?.into_iter().flat_map(|standing| standing.best);
        all.iter_mut().zip(found).for_each(|(all, found)| all.merge(found));
    }
    Ok(all.into_iter().map(Best::into_hits).collect())
}

/// The scores of a block's rows, `[rows, wide]`.
fn multiply(panel: &Panel, block: &[f32], dim: usize, scores: &mut Vec<f32>) {
    let rows = block.len() / dim;
    scores.resize(rows * panel.wide, 0.0);
    let gallery = MatRef::from_row_major_slice(block, rows, dim);
    let queries = MatRef::from_column_major_slice(&panel.columns, panel.wide, dim);
    let product = MatMut::from_column_major_slice_mut(scores, panel.wide, rows);
    matmul(product, Accum::Replace, queries, gallery.transpose(), 1.0, Par::Seq);
}
