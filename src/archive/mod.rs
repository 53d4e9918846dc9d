//! Files that are whole or not there: safetensors as this crate reads and writes them, with typed errors that name the
//! file and the tensor, and the parameters of modules by the names that files have for them.

mod atomic;
pub(crate) mod parameters;
mod reader;
mod writer;

pub use atomic::write_atomically;

pub(crate) use reader::{Archive, Place, decode_floats, stand_in};
pub(crate) use writer::{ArchiveWriter, PutFloats};
