//! The first frame of a GIF, on the canvas that Pillow puts it on.

use std::num::NonZeroU64;
use std::path::Path;

use gif::{ColorOutput, DecodeOptions, MemoryLimit};
use image::{Rgb, RgbImage};

use super::limits;
use crate::error::{Error, Result};

/// As [`limits::MAX_BYTES`].
const MEMORY: NonZeroU64 = NonZeroU64::new(limits::MAX_BYTES).unwrap();

/// Decodes a GIF, and leaves every other file to others.
///
/// What the frame does not cover has the transparent colour where there is one, else the first of the palette, whatever
/// the file says of a background; a frame that is larger than the canvas makes it larger (Pillow's
/// GifImagePlugin.py). An index beyond the palette is black.
pub(super) fn decode(bytes: &[u8], name: &Path) -> Result<Option<RgbImage>> {
    if ![b"GIF87a", b"GIF89a"].iter().any(|magic| bytes.starts_with(*magic)) {
        return Ok(None);
    }
    let failed = |error| Error::image(name, error);
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    options.set_memory_limit(MemoryLimit::Bytes(MEMORY));
    let mut decoder = options.read_info(bytes).map_err(failed)?;
    let palette = decoder.global_palette().map(<[u8]>::to_vec);
    let canvas = (u32::from(decoder.width()), u32::from(decoder.height()));
    let frame = decoder.read_next_frame().map_err(failed)?;
    let frame = frame.ok_or_else(|| Error::image(name, "a GIF without an image"))?;
    let (left, top) = (u32::from(frame.left), u32::from(frame.top));
    let (width, height) = (u32::from(frame.width), u32::from(frame.height));
    let size = (canvas.0.max(left + width), canvas.1.max(top + height));
    limits::check(size.0, size.1, name)?;
    let palette = frame.palette.as_ref().or(palette.as_ref());
    let colour = |index: u8| {
        let colour =
            palette.and_then(|palette| palette.get(3 * usize::from(index)..3 * usize::from(index) + 3));
        Rgb(colour.map_or([0; 3], |colour| [colour[0], colour[1], colour[2]]))
    };
    let mut image = RgbImage::from_pixel(size.0, size.1, colour(frame.transparent.unwrap_or(0)));
    for (at, &index) in frame.buffer.iter().enumerate().take((width * height) as usize) {
        image.put_pixel(left + at as u32 % width, top + at as u32 / width, colour(index));
    }
    Ok(Some(image))
}
