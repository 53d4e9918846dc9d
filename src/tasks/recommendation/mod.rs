//! What each user may like next: a catalogue with CLIP features and a log of who chose what.
//!
//! [`Tower`] ranks by pictures, and so also what nobody has chosen yet. [`Popularity`], [`Ease`] and [`Bpr`] know items
//! by who chose them and are the marks to beat: where [`evaluate`] says that they win, pictures do not help.
//! [`HistoryMean`] takes pictures and learns nothing.
//!
//! | Model | Items without a choice | Users who came later | Learns |
//! | --- | --- | --- | --- |
//! | [`Popularity`] | last | yes | counts |
//! | [`Ease`] | last | yes | items × items, in closed form |
//! | [`Bpr`] | last; with pictures, by them | no | a vector a user and an item |
//! | [`HistoryMean`] | as all others | yes | nothing |
//! | [`Tower`] | as all others | yes | an adapter |
//!
//! The likes and dislikes of one person alone are the matter of [`taste`](super::taste).

mod batches;
mod bpr;
mod catalogue;
mod concepts;
mod digest;
mod ease;
mod evaluation;
mod file;
mod fitted_bpr;
mod fitted_tower;
mod histories;
#[cfg(feature = "parquet")]
mod parquet;
mod plain;
mod table;
mod tower;
mod trained_rows;
mod vectors;

pub use bpr::Bpr;
pub use catalogue::Catalogue;
pub use concepts::{Concept, Concepts};
pub use ease::{Ease, FittedEase};
pub use evaluation::{Recommender, evaluate};
pub use fitted_bpr::FittedBpr;
pub use fitted_tower::{FittedTower, Recommendation};
pub use histories::Histories;
pub use plain::{Popularity, Random};
pub use table::{LeftOut, Reading};
pub use tower::Tower;
pub use vectors::{HistoryMean, Reason};
