//! Settings found without test data: shots held out in turn, candidates compared on them, weights near a proposed one,
//! and the grid of a cache.

mod choice;
mod folds;
mod grid;
mod proposal;

pub(crate) use choice::{Choice, Chosen};
pub(crate) use folds::{Fold, ROTATIONS, folds, hold_out, hold_outs, rotations};
pub(crate) use grid::{Steps, TipGrid, host};
pub(crate) use proposal::{NearChoice, Proposal};
