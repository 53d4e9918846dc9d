//! Folders to read, and folders to write into.

use std::{
    io,
    path::{Path, PathBuf},
};

use clip_adapter::{
    Error, Result,
    input::{ImageFolder, readable},
};

/// A sub-folder a class; `river_boat` is called `river boat`.
pub fn open(folder: &Path) -> Result<ImageFolder> {
    Ok(ImageFolder::open(folder)?.map_class_names(|name| name.replace('_', " ")))
}

/// The same, for a command that was asked to leave out images that cannot be read: so it does with classes of none.
pub fn open_leaving_out(folder: &Path) -> Result<ImageFolder> {
    let (folder, empty) = ImageFolder::open_leaving_out(folder)?;
    say_left_out(&empty);
    Ok(folder.map_class_names(|name| name.replace('_', " ")))
}

/// One line a class that is no part of the result.
pub fn say_left_out(classes: &[String]) {
    for name in classes {
        eprintln!("left out: class `{name}`, of which no image can be read");
    }
}

/// That there is something to choose between.
pub fn check_classes(names: &[String]) -> Result<()> {
    match names {
        [_, _, ..] => Ok(()),
        _ => Err(Error::data("classes", "two or more", alone(names))),
    }
}

/// What one class is good for.
pub fn alone(names: &[String]) -> String {
    names.first().map_or("none".into(), |name| format!("`{name}` alone: every image would be of it"))
}

/// Minutes of work should not end at a folder that is not there, nor one result replace the other.
pub fn check_for(outs: &[Option<&PathBuf>]) -> Result<()> {
    let outs: Vec<&PathBuf> = outs.iter().copied().flatten().collect();
    for (at, out) in outs.iter().enumerate() {
        match out.parent() {
            Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
                return Err(Error::write(out, io::ErrorKind::NotFound.into()));
            }
            _ if outs[..at].contains(out) && (out.is_file() || !out.exists()) => {
                return Err(Error::data(readable(out), "one result", "two that go to the same file"));
            }
            _ => {}
        }
    }
    Ok(())
}
