//! A list of images cut into shards, and what is known of some of its images.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::input::ImageSource;

/// A list of images cut into shards of one size, of which the last may be smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shards {
    pub images: usize,
    pub size: usize,
}

impl Shards {
    pub fn count(self) -> usize {
        self.images.div_ceil(self.size)
    }

    /// The images of one shard.
    pub fn range(self, shard: usize) -> Range<usize> {
        self.images_of(&(shard..shard + 1))
    }

    /// The images of consecutive shards.
    pub fn images_of(self, shards: &Range<usize>) -> Range<usize> {
        let bound = |shard: usize| shard.saturating_mul(self.size).min(self.images);
        bound(shards.start)..bound(shards.end)
    }

    /// The shards of part `index` of `count`, counted from 1: consecutive, as many in each part as can be.
    pub fn part(self, (index, count): (usize, usize)) -> Range<usize> {
        let start = |part: usize| (part as u128 * self.count() as u128 / count as u128) as usize;
        start(index - 1)..start(index)
    }
}

/// An image left out, by its place in the list, and why.
pub(super) type Skipped = (usize, String);

/// The embeddings of consecutive images, without those that were left out.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Rows {
    pub values: Vec<f32>,
    pub skipped: Vec<Skipped>,
}

impl Rows {
    pub fn append(&mut self, next: Self) {
        self.values.extend_from_slice(&next.values);
        self.skipped.extend(next.skipped);
    }
}

/// The images of `images` that were not left out. `skipped` is in order.
pub(super) fn kept(images: Range<usize>, skipped: &[Skipped]) -> Vec<usize> {
    let mut skipped = skipped.iter().map(|&(image, _)| image).peekable();
    images.filter(|image| skipped.next_if_eq(image).is_none()).collect()
}

/// The error that an image left out would have been.
pub(super) fn broken(key: &Path, reason: &str) -> Error {
    Error::image(key, reason)
}

/// The images left out, each with its error.
pub(super) fn name_skipped(source: &dyn ImageSource, skipped: &[Skipped]) -> Vec<(PathBuf, Error)> {
    let name = |(image, reason): &Skipped| {
        let key = source.key(*image).into_owned();
        let error = broken(&key, reason);
        (key, error)
    };
    skipped.iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_every_shard_once_and_evenly() {
        for (images, size, count) in [(0, 4, 3), (1, 4, 3), (40, 4, 3), (41, 4, 3), (41, 4, 11), (41, 4, 40)]
        {
            let shards = Shards { images, size };
            let parts: Vec<_> = (1..=count).map(|index| shards.part((index, count))).collect();
            let covered: Vec<usize> = parts.iter().cloned().flatten().collect();
            assert_eq!(covered, (0..shards.count()).collect::<Vec<_>>());
            let sizes = parts.iter().map(Range::len);
            assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
            let images_of: usize = parts.iter().map(|part| shards.images_of(part).len()).sum();
            assert_eq!(images_of, images);
        }
    }

    #[test]
    fn what_is_skipped_is_not_kept() {
        let skipped = [(3, "dark".to_owned()), (5, "torn".to_owned())];
        assert_eq!(kept(2..6, &skipped), [2, 4]);
        assert_eq!(kept(2..4, &[]), [2, 3]);
    }
}
