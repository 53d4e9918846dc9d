use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::Serialize;

use super::{Item, LeftOut};

/// What an update of an index found, each list in the order of the paths.
///
/// `added + removed` account for every row: as many rows as before, and those added, less those removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Changes {
    /// Images that are new.
    pub added: Vec<String>,
    /// Images whose content is another than it was.
    pub changed: Vec<String>,
    /// Images that have no row any more: they are gone, or left out now.
    pub removed: Vec<String>,
    /// Images that were moved: the path before, and the path now.
    pub renamed: Vec<(String, String)>,
    /// Images that are as they were.
    pub unchanged: usize,
    /// Images that the backbone encoded in this run: those of a new content, each content once.
    pub encoded: usize,
    /// Images that have no row, whether that was found now or before.
    pub left_out: Vec<LeftOut>,
}

impl Changes {
    /// Whether the index is as it was.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty() && self.renamed.is_empty()
    }

    /// Compares two lists of images, both sorted by path. A path that is new and has the content of one that is gone is
    /// that one, moved.
    pub(super) fn between(before: &[Item], now: &[Item]) -> Self {
        let mut changes = Self::default();
        let now_by_path: HashMap<&str, &Item> = now.iter().map(|item| (item.path.as_str(), item)).collect();
        let mut gone: BTreeMap<&str, VecDeque<&str>> = BTreeMap::new(); // by content
        for item in before {
            match now_by_path.get(item.path.as_str()) {
                Some(found) if found.digest == item.digest => changes.unchanged += 1,
                Some(_) => changes.changed.push(item.path.clone()),
                None => gone.entry(&item.digest).or_default().push_back(&item.path),
            }
        }
        let known: HashMap<&str, &Item> = before.iter().map(|item| (item.path.as_str(), item)).collect();
        for item in now.iter().filter(|item| !known.contains_key(item.path.as_str())) {
            match gone.get_mut(item.digest.as_str()).and_then(VecDeque::pop_front) {
                Some(from) => changes.renamed.push((from.to_owned(), item.path.clone())),
                None => changes.added.push(item.path.clone()),
            }
        }
        changes.removed = gone.into_values().flatten().map(str::to_owned).collect();
        changes.removed.sort();
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(pairs: &[(&str, &str)]) -> Vec<Item> {
        let item = |&(path, digest): &(&str, &str)| Item {
            path: path.into(),
            bytes: 1,
            changed: 1,
            digest: digest.into(),
        };
        pairs.iter().map(item).collect()
    }

    #[test]
    fn a_content_that_is_gone_and_comes_back_elsewhere_was_moved() {
        let before = items(&[("a", "1"), ("b", "2"), ("c", "2"), ("d", "4"), ("e", "5"), ("f", "6")]);
        let now = items(&[("a", "1"), ("d", "9"), ("f", "6"), ("x", "2"), ("y", "6"), ("z", "5")]);
        let changes = Changes::between(&before, &now);
        assert_eq!(changes.renamed, [("b".into(), "x".into()), ("e".into(), "z".into())]);
        assert_eq!((changes.changed, changes.unchanged), (vec!["d".to_owned()], 2));
        assert_eq!((changes.added, changes.removed), (vec!["y".to_owned()], vec!["c".to_owned()]));
        assert!(Changes::between(&now, &now).is_empty());

        let swapped = items(&[("a", "2"), ("b", "1")]);
        assert_eq!(Changes::between(&before[..2], &swapped).changed, ["a", "b"]);
    }
}
