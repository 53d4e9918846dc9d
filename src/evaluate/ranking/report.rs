use std::fmt;

use serde::{Deserialize, Serialize};

/// How well recommended lists hold what users then chose. Shares are percent, 0..=100.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RankingReport {
    /// Lists scored.
    pub users: usize,
    /// Items of the catalogue.
    pub catalogue: usize,
    /// The length of a list.
    pub k: usize,
    /// Lists with at least one relevant item.
    pub hit_rate: f64,
    /// Normalised discounted gain of the lists.
    pub ndcg: f64,
    /// The mean part of the relevant items that is in the list.
    pub recall: f64,
    /// The mean of 1 / rank of the first relevant item in the whole order, 0..=1.
    pub mrr: f64,
    /// Items of the catalogue that stand in at least one list.
    pub coverage: f64,
}

impl fmt::Display for RankingReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { k, hit_rate, ndcg, mrr, coverage, .. } = self;
        write!(
            f,
            "HR@{k} {hit_rate:.2} %, NDCG@{k} {ndcg:.2} %, MRR {mrr:.4}, {coverage:.1} % of the items shown"
        )
    }
}
