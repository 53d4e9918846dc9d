//! The index of a folder of photographs that one keeps.

mod changes;
mod find;
mod index;
mod indexer;
mod item;

pub use changes::Changes;
pub use find::Found;
pub use index::PhotoIndex;
pub use indexer::Indexer;
pub use item::{Item, LeftOut};
