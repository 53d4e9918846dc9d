//! Products of queries with blocks of rows, on all cores.

use std::ops::Range;

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

use super::best::Best;
use super::{Hit, check_queries};
use crate::error::Result;
use crate::features::Embeddings;

/// Rows multiplied at once: 512 f32 each fill half of a second-level cache of 1 MB.
pub(super) const BLOCK: usize = 256;

/// Queries multiplied at once with a block that is in the cache.
const QUERIES: usize = 128;

/// What a thread works in: a block of rows as f32, and the scores of some queries.
#[derive(Debug, Default)]
struct Space {
    rows: Vec<f32>,
    scores: Vec<f32>,
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
    let none = || vec![Best::new(k.min(count)); queries.rows()];
    let blocks = count.div_ceil(BLOCK);
    // As many pieces as threads, each of consecutive blocks, so that a query's heap is filled once a thread.
    let pieces = rayon::current_num_threads().min(blocks).max(1);
    let found: Vec<Result<Vec<Best>>> = (0..pieces)
        .into_par_iter()
        .map(|piece| {
            let (mut best, mut space) = (none(), Space::default());
            for block in piece * blocks / pieces..(piece + 1) * blocks / pieces {
                let rows = block * BLOCK..((block + 1) * BLOCK).min(count);
                fill(rows.clone(), &mut space.rows)?;
                score(queries, rows, &mut space, &mut best);
            }
            Ok(best)
        })
        .collect();
    let mut all = none();
    for best in found {
        all.iter_mut().zip(best?).for_each(|(all, best)| all.merge(best));
    }
    Ok(all.into_iter().map(Best::into_hits).collect())
}

/// Offers the scores of a block's rows to every query.
fn score(queries: &Embeddings, rows: Range<usize>, space: &mut Space, best: &mut [Best]) {
    let (count, dim) = (rows.len(), queries.dim());
    let gallery = MatRef::from_row_major_slice(&space.rows, count, dim);
    space.scores.resize(QUERIES * count, 0.0);
    for (values, best) in queries.values().chunks(QUERIES * dim).zip(best.chunks_mut(QUERIES)) {
        let queries = MatRef::from_row_major_slice(values, best.len(), dim);
        let scores = &mut space.scores[..best.len() * count];
        // [rows, queries], column after column, so that the scores of a query lie together.
        let product = MatMut::from_column_major_slice_mut(&mut *scores, count, best.len());
        matmul(product, Accum::Replace, gallery, queries.transpose(), 1.0, Par::Seq);
        for (best, scores) in best.iter_mut().zip(scores.chunks_exact(count)) {
            best.take(rows.start, scores);
        }
    }
}
