//! How well one thing finds another: recall, ranks, precision and hubs, with ties as they fall.
//!
//! Everything goes back to the *places* of the relevant items in a query's list, counted from 0: items with a higher
//! score stand before it, and so does half of the irrelevant items with the same score. One list has then one place a
//! relevant item, and not several, and a model that gives all items the same score finds nothing.

mod hubness;
mod measures;
mod ranks;
mod report;
mod similarities;

pub use hubness::Hubness;
pub use measures::{average_precision, map_at_r, ndcg_at, places, precision_at, reciprocal_rank};
pub use ranks::Ranks;
pub use report::{DirectionReport, RetrievalReport};
pub use similarities::{Similarities, dot, each_row};
