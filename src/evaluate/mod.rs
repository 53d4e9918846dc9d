//! Honest numbers: accuracy, F1, confusion, calibration, the protocol they were reached under, and the report.

mod logits;
mod protocol;
mod report;
mod scores;

pub use logits::Logits;
pub use protocol::Protocol;
pub use report::{ClassReport, Report};
pub use scores::Scores;

pub(crate) use logits::{argmax, log_sum_exp};
