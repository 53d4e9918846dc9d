//! What an adapter is made of: a file a structure.

mod bottleneck;

pub use bottleneck::{Activation, Adapter, AdapterConfig};
