//! The same parts put to other uses than fitting a method to shots.

mod predictor;
pub mod unlabelled;

pub use predictor::Predictor;
