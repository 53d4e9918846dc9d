//! A folder of pictures, which are the frames of a video, one a second.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};

use super::{Frame, Frames, Sampling, chosen};
use crate::error::{Error, Result};
use crate::input::decode::{decode_turned, read};

/// File names that are taken for pictures.
const PICTURES: [&str; 9] = ["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "jpe"];

pub(super) fn frames(folder: &Path, sampling: Sampling) -> Result<Frames> {
    let files = pictures(folder)?;
    if files.is_empty() {
        return Err(Error::image(folder, "a folder without pictures"));
    }
    let places = sampling.places(files.len());
    let frame = |(at, file): (usize, PathBuf)| {
        let image = decode_turned(&read(&file)?, &file, false)?;
        Ok(Frame { time: at as f64, image })
    };
    // Only those that are wanted are decoded, each once.
    let mut wanted = places.clone();
    wanted.dedup();
    let order: Vec<usize> =
        places.iter().map(|place| wanted.partition_point(|known| known < place)).collect();
    let wanted: Vec<(usize, PathBuf)> =
        wanted.into_iter().map(|place| (place, files[place].clone())).collect();
    Ok(chosen(Box::new(wanted.into_iter().map(frame)), order))
}

/// In natural order.
pub(super) fn pictures(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(|source| Error::read(folder, source))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|source| Error::read(folder, source))?.path();
        let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_lowercase);
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !hidden && ending.is_some_and(|ending| PICTURES.contains(&ending.as_str())) && path.is_file() {
            files.push(path);
        }
    }
    let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    files.sort_by(|a, b| natural(&name(a), &name(b)));
    Ok(files)
}

/// Digits as numbers: `frame_2` before `frame_10`.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let digits = |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (first, second) = (digits(a), digits(b));
        if first > 0 && second > 0 {
            let number = |text: &str, count: usize| text[..count].trim_start_matches('0').to_owned();
            let (one, other) = (number(a, first), number(b, second));
            let order = one.len().cmp(&other.len()).then(one.cmp(&other)).then(first.cmp(&second));
            if order != Ordering::Equal {
                return order;
            }
            (a, b) = (&a[first..], &b[second..]);
            continue;
        }
        match (a.chars().next(), b.chars().next()) {
            (Some(one), Some(other)) if one == other => {
                (a, b) = (&a[one.len_utf8()..], &b[other.len_utf8()..]);
            }
            (one, other) => return one.cmp(&other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_count() {
        let mut names = ["f10", "f2", "f02", "f1b", "f1", "g", "f", "f9999999999999999999999"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["f", "f1", "f1b", "f2", "f02", "f10", "f9999999999999999999999", "g"]);
    }
}
