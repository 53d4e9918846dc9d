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
    Ok(named(ImageFolder::open(folder)?))
}

/// The same. A command that was asked to leave out images that cannot be read does so with classes of none.
pub fn open_with(folder: &Path, skip_broken: bool) -> Result<ImageFolder> {
    if !skip_broken {
        return open(folder);
    }
    let (folder, empty) = ImageFolder::open_leaving_out(folder)?;
    say_left_out(&empty);
    Ok(named(folder))
}

fn named(folder: ImageFolder) -> ImageFolder {
    folder.map_class_names(|name| name.replace('_', " "))
}

/// One line a class that is no part of the result.
pub fn say_left_out(classes: &[String]) {
    for name in classes {
        eprintln!("left out: class `{name}`, of which no image can be read");
    }
}

/// That `found`, which are the classes of `what`, are those expected; else the error names one that is not in both.
pub fn check_same_classes(what: &str, expected: &[String], found: &[String]) -> Result<()> {
    let missing = |from: &[String], of: &[String]| of.iter().find(|name| !from.contains(name)).cloned();
    let what = format!("classes of `{what}`");
    match (missing(found, expected), missing(expected, found)) {
        (Some(name), _) => Err(Error::data(what, format!("`{name}` among them"), "none")),
        (None, Some(name)) => Err(Error::data(what, "no other classes", format!("`{name}` too"))),
        (None, None) if expected != found => Err(Error::data(what, "the same order", "another")),
        (None, None) => Ok(()),
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
