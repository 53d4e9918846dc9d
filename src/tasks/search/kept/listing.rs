//! The images of a folder, each with what it is recognised by.

use std::fs;
use std::path::Path;
use std::time::UNIX_EPOCH;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::{Item, LeftOut};
use crate::error::{Error, Result};
use crate::input::{ImageList, ImageSource, readable};

/// The images of a folder and its sub-folders, those that can be read and those that cannot, sorted by path. Only files
/// whose length or time of change is not what `known` says are read.
pub(super) fn list<'a>(
    root: &Path,
    known: impl Fn(&str) -> Option<&'a Item> + Sync,
) -> Result<(Vec<Item>, Vec<LeftOut>)> {
    let files = ImageList::of_folder(root)?;
    if files.is_empty() {
        return Err(Error::data(readable(root), "an image", "none"));
    }
    let looked: Vec<std::result::Result<Item, LeftOut>> =
        (0..files.len()).into_par_iter().map(|index| look(root, &files, index, &known)).collect();
    let (mut items, mut left_out) = (Vec::new(), Vec::new());
    for looked in looked {
        match looked {
            Ok(item) => items.push(item),
            Err(left) => left_out.push(left),
        }
    }
    items.sort_by(|a, b| a.path.cmp(&b.path));
    Ok((items, left_out))
}

fn look<'a>(
    root: &Path,
    files: &ImageList,
    index: usize,
    known: &impl Fn(&str) -> Option<&'a Item>,
) -> std::result::Result<Item, LeftOut> {
    let file = &files.files()[index];
    let relative = file.strip_prefix(root).unwrap_or(file);
    let parts: Option<Vec<&str>> = relative.iter().map(|part| part.to_str()).collect();
    let left = |path: String, reason: String| LeftOut { path, reason };
    let Some(path) = parts.map(|parts| parts.join("/")) else {
        return Err(left(readable(relative), "a name that is not UTF-8".into()));
    };
    let found = match fs::metadata(file) {
        Ok(found) => found,
        Err(error) => return Err(left(path, error.to_string())),
    };
    let since = found.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let changed = since.and_then(|time| u64::try_from(time.as_nanos()).ok()).unwrap_or(0);
    match known(&path) {
        Some(item) if item.bytes == found.len() && item.changed == changed => Ok(item.clone()),
        _ => match files.bytes(index) {
            Ok(bytes) => Ok(Item { path, bytes: found.len(), changed, digest: digest(&bytes) }),
            Err(Error::Read { source, .. }) => Err(left(path, source.to_string())),
            Err(Error::Image { reason, .. }) => Err(left(path, reason)),
            Err(error) => Err(left(path, error.to_string())),
        },
    }
}

/// The first 32 hexadecimal digits of the SHA-256.
fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
