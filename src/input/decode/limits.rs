//! How much of a file is believed. What says it is larger is refused before memory is taken for it.

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
