use std::path::Path;

use super::PhotoIndex;
use crate::archive::write_atomically;
use crate::error::{Error, Result};

impl PhotoIndex {
    /// Writes one line of JSON a row, `{"row":0,"path":"cat/1.jpg"}`: the names beside [`Rows::write_npy`].
    ///
    /// [`Rows::write_npy`]: crate::tasks::search::Rows::write_npy
    ///
    /// # Errors
    /// [`Error::Write`] if it cannot be written; what was there is then untouched.
    pub fn write_names(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        write_atomically(path, |file| {
            for (row, item) in self.items().iter().enumerate() {
                let line = serde_json::json!({ "row": row, "path": item.path });
                writeln!(file, "{line}").map_err(|source| Error::write(path, source))?;
            }
            Ok(())
        })
    }
}
