//! What one person likes, from a few thumbs up and down: results of a search that improve with every thumb, and
//! photographs in the order of a taste.
//!
//! [`Taste`] is the solver, [`Gallery`] what thumbs are given on, [`FittedTaste`] what was learned; [`Lessons`] makes
//! pairs of sentences and liked images of the same thumbs, for an adapter.

mod fitted;
mod gallery;
mod lessons;
mod solver;

pub use fitted::FittedTaste;
pub use gallery::Gallery;
pub use lessons::Lessons;
pub use solver::Taste;
