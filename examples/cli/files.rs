//! Files of results.

use std::path::Path;

use clip_adapter::{Error, Result, archive::write_atomically};
use serde::Serialize;

/// Writes a file, whole or not at all.
pub fn write(path: &Path, contents: impl AsRef<[u8]>) -> Result<()> {
    write_atomically(path, |file| {
        file.write_all(contents.as_ref()).map_err(|source| Error::write(path, source))
    })
}

/// Writes a result for another program.
pub fn write_json(path: &Path, result: &impl Serialize) -> Result<()> {
    let json = serde_json::to_value(result).map_err(|error| Error::write(path, error.into()))?;
    write(path, format!("{json:#}\n"))
}
