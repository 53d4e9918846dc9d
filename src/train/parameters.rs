//! A network's parameters as bytes, for checkpoints.

use burn::module::Module;
use burn::store::ModuleRecord;
use burn::tensor::Bytes;

use crate::error::{Error, Result};

/// The parameters with their identities, so that the optimiser's state finds them again.
pub(super) fn to_bytes<M: Module>(net: &M) -> Result<Vec<u8>> {
    let bytes =
        net.clone().into_record().into_bytes().map_err(|error| Error::execution("saving state", error))?;
    Ok(bytes.to_vec())
}

/// Replaces the parameters of `net` by saved ones.
pub(super) fn from_bytes<M: Module>(net: M, bytes: Vec<u8>) -> Result<M> {
    ModuleRecord::from_bytes(Bytes::from_bytes_vec(bytes))
        .and_then(|record| net.try_load_record(record))
        .map_err(|error| Error::execution("reading saved state", error))
}
