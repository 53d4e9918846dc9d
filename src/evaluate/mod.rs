//! Honest numbers: accuracy, F1, confusion, calibration, conformal sets, rejection, retrieval, recommended
//! lists, the protocol they were reached under, and the report.

pub mod answers;
mod calibration;
mod conformal;
mod logits;
mod protocol;
pub mod ranking;
mod reject;
mod report;
pub mod retrieval;
mod scores;

pub use calibration::{TemperatureScaling, scale_to_zero_shot};
pub use conformal::{Conformal, SetReport};
pub use logits::{Logits, Ranked};
pub use protocol::Protocol;
pub use reject::{Reject, RejectReport, RiskCoverage};
pub use report::{ClassReport, Report};
pub use scores::Scores;
