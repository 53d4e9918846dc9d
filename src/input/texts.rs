use std::{fs, path::Path};

use crate::error::{Error, Result};

/// Reads texts from a file: a JSON array of strings if it ends in `.json`, else one a line, blank ones included.
///
/// # Errors
/// [`Error::Read`] if it cannot be read as UTF-8; [`Error::Malformed`] if it is no JSON array of strings.
///
/// # Examples
/// ```
/// use clip_adapter::input::read_texts;
///
/// let folder = tempfile::tempdir().unwrap();
/// let (lines, array) = (folder.path().join("a.txt"), folder.path().join("a.json"));
/// std::fs::write(&lines, "a cat\n\na dog\n").unwrap();
/// std::fs::write(&array, r#"["a cat", "", "a dog"]"#).unwrap();
/// assert_eq!(read_texts(&lines)?, ["a cat", "", "a dog"]);
/// assert_eq!(read_texts(&array)?, read_texts(&lines)?);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
pub fn read_texts(path: impl AsRef<Path>) -> Result<Vec<String>> {
    let path = path.as_ref();
    let text = fs::read_to_string(path).map_err(|source| Error::read(path, source))?;
    if path.extension().is_none_or(|ending| !ending.eq_ignore_ascii_case("json")) {
        return Ok(text.lines().map(String::from).collect());
    }
    serde_json::from_str(&text)
        .map_err(|error| Error::malformed(path, "JSON", "an array of strings", &error).because(error))
}
