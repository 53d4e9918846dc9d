use std::{fs, path::Path};

use crate::error::{Error, Result};

/// Reads texts from a file in UTF-8: a JSON array of strings if it ends in `.json`, else one a line, blank ones
/// included. Lines end as on Unix or as on Windows, and a byte order mark at the start is no letter.
///
/// # Errors
/// [`Error::Read`] if it cannot be read; [`Error::Malformed`] if it is not in UTF-8, with the line, or no JSON array
/// of strings.
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
    let text = read_text(path)?;
    if path.extension().is_none_or(|ending| !ending.eq_ignore_ascii_case("json")) {
        return Ok(text.lines().map(String::from).collect());
    }
    serde_json::from_str(&text)
        .map_err(|error| Error::malformed(path, "JSON", "an array of strings", &error).because(error))
}

/// A text file without its byte order mark.
pub(super) fn read_text(path: &Path) -> Result<String> {
    let bytes = fs::read(path).map_err(|source| Error::read(path, source))?;
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(Error::malformed(path, "encoding", "UTF-8", "UTF-16"));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let (valid, rest) = error.as_bytes().split_at(error.utf8_error().valid_up_to());
        let line = 1 + valid.iter().filter(|&&byte| byte == b'\n').count();
        let found = rest.first().map_or(String::new(), |byte| format!("the byte 0x{byte:02X}"));
        Error::malformed(path, format!("line {line}"), "UTF-8", found).because(error)
    })?;
    Ok(text.strip_prefix('\u{feff}').map(String::from).unwrap_or(text))
}
