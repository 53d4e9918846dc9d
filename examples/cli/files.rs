//! What the examples that write files have in common.

use std::{fs, path::Path};

use clip_adapter::{Error, Result};

/// Writes a file, whole or not at all.
pub fn write(path: &Path, contents: impl AsRef<[u8]>) -> Result<()> {
    let failed = |source| Error::Write { path: path.into(), source };
    let half_written = path.with_extension("part");
    fs::write(&half_written, contents).map_err(failed)?;
    fs::rename(&half_written, path).map_err(failed)
}
