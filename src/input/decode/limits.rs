//! How much of a file is believed. What says it is larger is refused before memory is taken for it.

use std::path::Path;

use crate::error::{Error, Result};

/// No image of a data set is this wide, in pixels.
pub(in crate::input) const MAX_SIDE: u32 = 1 << 15;

/// Bytes that decoding one image may take.
pub(in crate::input) const MAX_BYTES: u64 = 1 << 30;

/// Bytes of a file that is to be an image.
pub(in crate::input) const MAX_FILE: u64 = 1 << 30;

/// Pixels that one image may have after resizing, before the crop.
pub(in crate::input) const MAX_RESIZED: u64 = 1 << 25;

/// How much longer than the crop the short side may be after resizing. Public models have 1 to 1.15.
pub(in crate::input) const MAX_MARGIN: usize = 8;

/// Refuses pixels that would take more than is believed, and none.
pub(in crate::input) fn check(width: u32, height: u32, name: &Path) -> Result<()> {
    let reason = format!("{width} x {height} pixels: 1 to {MAX_SIDE} a side and {MAX_BYTES} bytes are read");
    let bytes = 3 * u64::from(width) * u64::from(height);
    match (1..=MAX_SIDE).contains(&width) && (1..=MAX_SIDE).contains(&height) && bytes <= MAX_BYTES {
        true => Ok(()),
        false => Err(Error::image(name, reason)),
    }
}
