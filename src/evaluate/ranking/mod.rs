//! How well recommended lists hold what a user then chose: hit rate, NDCG, MRR, recall and coverage, of the whole
//! catalogue without what the user has seen.
//!
//! Places are those of [`places`](super::retrieval::places): items with the same score share the mean of their ranks.
//! A rule that favours the item sought makes scores with many ties look many times as good as they are.

mod lists;
mod report;

pub use lists::{Lists, best, hit_rate_at, recall_at};
pub use report::RankingReport;
