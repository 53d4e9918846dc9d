use std::fmt;

use hnsw_rs::anndists::dist::distances::Distance;
use hnsw_rs::hnsw::Hnsw;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::block::BLOCK;
use super::{Hit, Index, Rows, check_queries};
use crate::error::{Error, Result};
use crate::features::Embeddings;
use crate::numerics::vector::{LANES, widest};

/// Levels of a graph, more than any number of rows needs.
const LEVELS: usize = 16;

/// The most links that the library takes.
const MOST_LINKS: usize = 256;

/// Rows handed to the threads at once.
const AT_ONCE: usize = 64 * BLOCK;

/// A little above the largest product of two unit rows, so that no distance is negative.
const BOUND: f32 = 1.0001;

/// Settings of an approximate index: a hierarchical navigable small-world graph over the rows, by the crate `hnsw_rs`.
///
/// HNSW (Malkov and Yashunin, 2016, <https://arxiv.org/abs/1603.09320>). A search walks from row to row towards those
/// that score higher, and sees a few thousand rows whatever their number; some of the best may be missed. Rows need
/// not have unit length: the graph is of `(g / M, sqrt(1 - |g|^2 / M^2))`, where `M` is the length of the longest, so
/// that the nearest of these is the row with the largest inner product (Bachrach et al., 2014,
/// <https://doi.org/10.1145/2645710.2645741>), also where a column holds a bias.
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `links` | 32 | 2..=256 | rows that each row is linked to, a level; memory grows with it |
/// | `effort` | 200 | 1 or more | candidates looked at when a row is put in; the time of the build grows with it |
/// | `breadth` | 128 | 1 or more | candidates kept in a search: recall and time grow with it |
///
/// Exact search of a million rows takes milliseconds a query in a batch: this is for more, or for single queries.
///
/// # Examples
/// ```
/// use clip_adapter::features::Embeddings;
/// use clip_adapter::tasks::search::{Ann, Index, Rows};
///
/// let rows = (0..500).flat_map(|at| { let angle = at as f32; [angle.cos(), angle.sin()] }).collect();
/// let rows = Embeddings::new(rows, 2)?;
/// let index = Ann::default().build(&Rows::floats(&rows))?;
/// let found = index.search(&rows.select(&[7]), 1)?;
/// assert_eq!(found[0][0].row, 7);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ann {
    /// Rows that each row is linked to.
    pub links: usize,
    /// Candidates looked at when a row is put in.
    pub effort: usize,
    /// Candidates kept in a search.
    pub breadth: usize,
}

impl Default for Ann {
    fn default() -> Self {
        Self { links: 32, effort: 200, breadth: 128 }
    }
}

impl Ann {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first one outside.
    pub fn validate(&self) -> Result<()> {
        if !(2..=MOST_LINKS).contains(&self.links) {
            return Err(Error::setting("links", format!("2..={MOST_LINKS}"), self.links));
        }
        for (name, value) in [("effort", self.effort), ("breadth", self.breadth)] {
            if value == 0 {
                return Err(Error::setting(name, "1 or more", 0));
            }
        }
        Ok(())
    }

    /// Builds the graph on all cores. It holds the rows in 32 bits.
    ///
    /// Levels are drawn by a seed of the library's own, but threads race to put rows in: two builds differ in a few
    /// links, unless they run on one thread.
    ///
    /// # Errors
    /// [`Error::Setting`] for a setting out of range; [`Error::Read`] if the rows are on disk and cannot be read.
    pub fn build(&self, rows: &Rows) -> Result<AnnIndex> {
        self.validate()?;
        let (len, dim) = (rows.len(), rows.dim());
        let graph = Hnsw::new(self.links, len.max(1), LEVELS, self.effort, Apart);
        let mut longest = 0f32;
        rows.each(&mut |block| {
            longest = block.chunks_exact(dim).map(|row| dot(row, row)).fold(longest, f32::max);
            Ok(())
        })?;
        let longest = longest.sqrt().max(f32::MIN_POSITIVE);
        let (mut block, mut lifted) = (Vec::new(), Vec::new());
        for first in (0..len).step_by(AT_ONCE) {
            rows.fill(first..(first + AT_ONCE).min(len), &mut block)?;
            lifted.clear();
            for row in block.chunks_exact(dim) {
                let start = lifted.len();
                lifted.extend(row.iter().map(|value| value / longest));
                let square = dot(&lifted[start..], &lifted[start..]);
                lifted.push((1.0 - square).max(0.0).sqrt());
            }
            let put: Vec<(&[f32], usize)> =
                lifted.chunks_exact(dim + 1).enumerate().map(|(at, row)| (row, first + at)).collect();
            graph.parallel_insert_slice(&put);
        }
        Ok(AnnIndex { graph, longest, len, dim, breadth: self.breadth })
    }
}

/// Rows in a graph, which answers queries nearly: built by [`Ann::build`].
///
/// The rows that it finds have their exact scores, in f32; of the best rows some may be missed.
pub struct AnnIndex {
    graph: Hnsw<'static, f32, Apart>,
    longest: f32,
    len: usize,
    dim: usize,
    breadth: usize,
}

impl fmt::Debug for AnnIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnnIndex")
            .field("len", &self.len)
            .field("dim", &self.dim)
            .field("breadth", &self.breadth)
            .finish_non_exhaustive()
    }
}

impl AnnIndex {
    /// The same graph searched with another [`Ann::breadth`].
    ///
    /// # Errors
    /// [`Error::Setting`] if it is 0.
    pub fn with_breadth(mut self, breadth: usize) -> Result<Self> {
        Ann { breadth, ..Ann::default() }.validate()?;
        self.breadth = breadth;
        Ok(self)
    }

    fn answer(&self, query: &[f32], k: usize) -> Vec<Hit> {
        let norm = dot(query, query).sqrt().max(f32::MIN_POSITIVE);
        let asked: Vec<f32> = query.iter().map(|value| value / norm).chain([0.0]).collect();
        let near = self.graph.search(&asked, k, self.breadth.max(k));
        let hit = |near: hnsw_rs::hnsw::Neighbour| Hit {
            row: near.d_id,
            score: (BOUND - near.distance) * self.longest * norm,
        };
        let mut hits: Vec<Hit> = near.into_iter().map(hit).collect();
        hits.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.row.cmp(&b.row)));
        hits
    }
}

impl Index for AnnIndex {
    fn len(&self) -> usize {
        self.len
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn search(&self, queries: &Embeddings, k: usize) -> Result<Vec<Vec<Hit>>> {
        check_queries(queries, self.dim)?;
        let k = k.min(self.len);
        if k == 0 {
            return Ok(vec![Vec::new(); queries.rows()]);
        }
        Ok((0..queries.rows()).into_par_iter().map(|at| self.answer(queries.row(at), k)).collect())
    }
}

/// How far two unit rows are apart: a bound less their product.
#[derive(Debug, Clone, Copy, Default)]
struct Apart;

impl Distance<f32> for Apart {
    fn eval(&self, a: &[f32], b: &[f32]) -> f32 {
        (BOUND - dot(a, b)).max(0.0)
    }
}

/// The inner product, in four vectors of sums so that one addition does not wait for the one before.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const WIDE: usize = 4 * LANES;
    widest(
        #[inline(always)]
        || {
            let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<WIDE>(), b.as_chunks::<WIDE>());
            let mut sums = [0f32; WIDE];
            for (a, b) in a.iter().zip(b) {
                for lane in 0..WIDE {
                    sums[lane] += a[lane] * b[lane];
                }
            }
            let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
            sums.iter().sum::<f32>() + rest
        },
    )
}
