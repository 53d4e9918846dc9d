//! The index of a folder of photographs that one keeps.

mod changes;
mod export;
mod find;
mod index;
mod indexer;
mod item;
mod listing;
mod work;

pub use changes::Changes;
pub use find::Found;
pub use index::{INDEX_FORMAT, PhotoIndex};
pub use indexer::Indexer;
pub use item::{Item, LeftOut};
