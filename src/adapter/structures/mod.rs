//! What an adapter is made of: a file a structure.

mod bottleneck;
mod temporal;

pub use bottleneck::{Activation, Adapter, AdapterConfig};
pub use temporal::{TemporalAdapter, TemporalAdapterConfig};

pub(crate) use bottleneck::seeded_linear;
