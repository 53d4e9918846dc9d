//! JPEGs of colours and of grey as PIL and torchvision decode them.

use std::path::Path;

use image::{RgbImage, metadata::Orientation};
use jpeg_decoder::{Decoder, PixelFormat};

use super::limits::{MAX_BYTES, MAX_SIDE};
use crate::error::{Error, Result};

/// The first bytes of every JPEG: start of image, and the start of the next marker.
const MAGIC: [u8; 3] = [0xff, 0xd8, 0xff];

/// Decodes a JPEG of colours or of grey, also how the camera was held, and leaves every other file to the general
/// reader; of one of four inks it makes sure that it is whole.
///
/// Most photos store colour at half the resolution. libjpeg interpolates it with a triangle filter, and CLIP was
/// trained on what it makes of them; this decoder does the same, the general one does not, which turns a feature by
/// ten times the angle.
pub(super) fn decode(bytes: &[u8], name: &Path) -> Result<Option<(RgbImage, Orientation)>> {
    if !bytes.starts_with(&MAGIC) {
        return Ok(None);
    }
    let failed = |reason: String| Error::image(name, reason);
    let mut decoder = Decoder::new(bytes);
    decoder.set_max_decoding_buffer_size(MAX_BYTES as usize);
    decoder.read_info().map_err(|error| Error::image(name, error))?;
    let Some(info) = decoder.info().filter(|info| info.pixel_format != PixelFormat::L16) else {
        return Ok(None);
    };
    let (width, height) = (u32::from(info.width), u32::from(info.height));
    if width.max(height) > MAX_SIDE {
        return Err(failed(format!("{width} x {height} pixels: at most {MAX_SIDE} a side are read")));
    }
    let bytes = decoder.decode().map_err(|error| Error::image(name, error))?;
    let bytes = match info.pixel_format {
        PixelFormat::RGB24 => bytes,
        PixelFormat::L8 => bytes.into_iter().flat_map(|grey| [grey; 3]).collect(),
        // Whole, as is known now: the general reader makes colours of the inks, and would not mind a file that is cut.
        _ => return Ok(None),
    };
    let orientation = decoder.exif_data().and_then(Orientation::from_exif_chunk);
    let image = RgbImage::from_raw(width, height, bytes).ok_or_else(|| failed("too few pixels".into()))?;
    Ok(Some((image, orientation.unwrap_or(Orientation::NoTransforms))))
}
