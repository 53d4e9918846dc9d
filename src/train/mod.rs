//! Finding the part that learns: what a method is, one loop for everything that trains, and what a fit reports and
//! keeps.

mod batches;
mod matrix;
mod method;
mod monitor;
mod optimiser;
mod parameters;
mod registry;
mod run;
mod schedule;
mod session;
mod spec;
mod trainer;

pub use batches::{Batches, Epoch, Examples, Shuffled, permutation};
pub use method::{AnyMethod, Method};
pub use monitor::{EarlyStopping, Monitor, NoMonitor};
pub use optimiser::Optimiser;
pub use registry::Registry;
pub use run::{Progress, Run};
pub use schedule::{Schedule, Warmup};
pub use session::{MonitorState, Session};
pub use spec::MethodSpec;
pub use trainer::Trainer;

pub(crate) use matrix::{MatrixFit, linear_slope, on_host, unit_linear_slope};
pub(crate) use monitor::{GO_ON, is_better};
pub(crate) use trainer::scalar;
