use std::fmt;

use crate::error::{brief, listed};

/// Something that is no part of the result, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeftOut {
    /// The image, the line or entry, or both.
    pub what: String,
    /// Why.
    pub why: Why,
}

/// Why something is no part of the result.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// Nothing is said of an image.
    NoCaption,
    /// What is said is of no image of the folder.
    NoImage,
    /// What is said is nothing but blanks.
    EmptyCaption,
    /// A line or entry is not as the others are.
    Unreadable {
        /// What the format asks for.
        expected: String,
        /// What stands there.
        found: String,
    },
}

impl Why {
    pub(super) fn unreadable(expected: impl ToString, found: impl ToString) -> Self {
        Self::Unreadable { expected: brief(expected), found: brief(found) }
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = brief(&self.what);
        match &self.why {
            Why::NoCaption => write!(f, "{what}: an image without a caption"),
            Why::NoImage => write!(f, "{what}: a caption without an image"),
            Why::EmptyCaption => write!(f, "{what}: an empty caption"),
            Why::Unreadable { expected, found } => write!(f, "{what}: expected {expected}, found {found}"),
        }
    }
}

/// The list for a person to read: at most one line a reason, with how many there are and the first of them.
///
/// # Examples
/// ```
/// use clip_adapter::input::{CaptionedImages, left_out_lines};
///
/// let folder = tempfile::tempdir().unwrap();
/// let file = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
/// file("a.jpg", "");
/// file("a.txt", "a cat");
/// (0..9).for_each(|at| file(&format!("{at}.jpg"), ""));
/// let photos = CaptionedImages::beside(folder.path())?;
/// let [line] = &left_out_lines(photos.left_out())[..] else { panic!() };
/// assert_eq!(line, "9 images without a caption: `0.jpg`, `1.jpg`, `2.jpg`, `3.jpg` and 5 more");
/// # Ok::<(), clip_adapter::Error>(())
/// ```
pub fn left_out_lines(list: &[LeftOut]) -> Vec<String> {
    type Is = fn(&Why) -> bool;
    let kinds: [(&str, &str, Is); 4] = [
        ("line that is not as it should be", "lines that are not as they should be", |why| {
            matches!(why, Why::Unreadable { .. })
        }),
        ("empty caption", "empty captions", |why| *why == Why::EmptyCaption),
        ("caption without an image", "captions without an image", |why| *why == Why::NoImage),
        ("image without a caption", "images without a caption", |why| *why == Why::NoCaption),
    ];
    let line = |(one, many, is): (&str, &str, Is)| {
        let name = |left: &LeftOut| match left.why {
            Why::Unreadable { .. } => left.to_string(),
            _ => brief(&left.what),
        };
        let names: Vec<String> = list.iter().filter(|left| is(&left.why)).map(name).collect();
        let what = if names.len() == 1 { one } else { many };
        (!names.is_empty()).then(|| format!("{} {what}: {}", names.len(), listed(&names)))
    };
    kinds.into_iter().filter_map(line).collect()
}
