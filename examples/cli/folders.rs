//! Folders to read, and folders to write into.

use std::{io, path::Path};

use clip_adapter::{Error, Result, input::ImageFolder};

/// A sub-folder a class; `river_boat` is called `river boat`.
pub fn open(folder: &Path) -> Result<ImageFolder> {
    Ok(ImageFolder::open(folder)?.map_class_names(|name| name.replace('_', " ")))
}

/// Minutes of work should not end at a folder that is not there.
pub fn check_for(out: &Path) -> Result<()> {
    match out.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
            Err(Error::write(out, io::ErrorKind::NotFound.into()))
        }
        _ => Ok(()),
    }
}
