use std::ffi::OsStr;
use std::fmt::Write;

/// A file's name as text: what is not UTF-8 in it becomes `\xE9`, so that two names never become one.
///
/// # Examples
/// ```
/// use clip_adapter::input::readable;
///
/// assert_eq!(readable("photos/café.png"), "photos/café.png");
/// # #[cfg(unix)] {
/// use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
/// assert_eq!(readable(OsStr::from_bytes(b"photos/caf\xe9.png")), r"photos/caf\xE9.png");
/// # }
/// ```
pub fn readable(name: impl AsRef<OsStr>) -> String {
    let mut text = String::new();
    for chunk in name.as_ref().as_encoded_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02X}"); // a string takes whatever is written
        }
    }
    text
}
