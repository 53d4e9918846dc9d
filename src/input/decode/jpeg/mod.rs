//! JPEGs as libjpeg-turbo, and with it Pillow and torchvision, decodes them: to the bit.

mod markers;

use std::path::Path;

use image::{RgbImage, metadata::Orientation};
use libjpeg_turbo_rs::common::types::DecodeLimits;
use libjpeg_turbo_rs::decode::pipeline::{Decoder, Image};
use libjpeg_turbo_rs::{DecodeWarning, PixelFormat};

use self::markers::Markers;
use super::ink;
use super::limits::{MAX_BYTES, MAX_SIDE};
use crate::error::{Error, Result};

/// The first bytes of every JPEG: start of image, and the start of the next marker.
const MAGIC: [u8; 3] = [0xff, 0xd8, 0xff];

/// Blocks of all components that lie together in a scan, as the standard has it (ITU-T T.81, B.2.3).
const MOST_BLOCKS: usize = 10;

/// Bytes after the picture that libjpeg may look at before it is done with it.
const AHEAD: usize = 64;

/// Decodes a JPEG, also how the camera was held, and leaves every other file to others.
///
/// Most photos store colour at half the resolution. libjpeg interpolates it with a triangle filter, and CLIP was
/// trained on what it makes of them; other decoders do not, which turns a feature by ten times the angle.
///
/// What is damaged is read as libjpeg reads it, with grey where the data say nothing, and what is cut off is refused,
/// as Pillow does.
pub(super) fn decode(bytes: &[u8], name: &Path) -> Result<Option<(RgbImage, Orientation)>> {
    if !bytes.starts_with(&MAGIC) {
        return Ok(None);
    }
    let markers = Markers::of(bytes);
    let image = match markers.ended {
        true => match markers.resynchronised(bytes) {
            Some(bytes) => decoded(&bytes, &markers, name)?,
            None => return Err(Error::image(name, "a JPEG that lacks two restart markers in a row")),
        },
        // Nothing says that the picture is whole, but it may be: some cameras write zeros to the end of a block.
        false => {
            let shorter = bytes.len().saturating_sub(AHEAD);
            let image = decoded(&bytes[..shorter], &markers, name);
            let whole = image.as_ref().is_ok_and(|image| markers.scans == 1 && !is_cut(image));
            if !whole {
                return Err(Error::image(name, "a JPEG that is cut off: it has no end"));
            }
            image?
        }
    };
    let orientation = image.exif_data.as_deref().and_then(Orientation::from_exif_chunk);
    let (width, height) = (image.width as u32, image.height as u32);
    let levels = match image.pixel_format {
        PixelFormat::Cmyk => image.data.chunks_exact(4).flat_map(ink::of_light).collect(),
        _ => image.data,
    };
    let image =
        RgbImage::from_raw(width, height, levels).ok_or_else(|| Error::image(name, "too few pixels"))?;
    Ok(Some((image, orientation.unwrap_or(Orientation::NoTransforms))))
}

/// Colours, or the four inks of a print.
fn decoded(bytes: &[u8], markers: &Markers, name: &Path) -> Result<Image> {
    let failed = |error| Error::image(name, error);
    let side = MAX_SIDE as usize;
    let limits =
        DecodeLimits { max_width: side, max_height: side, max_memory: Some(MAX_BYTES), ..Default::default() };
    let mut decoder = Decoder::new_with_limits(bytes, limits).map_err(failed)?;
    let frame = decoder.header();
    let mut ids: Vec<u8> = frame.components.iter().map(|component| component.id).collect();
    ids.sort_unstable();
    ids.dedup();
    let blocks = frame.components.iter().map(|part| part.horizontal_sampling * part.vertical_sampling);
    let together: usize = blocks.map(usize::from).sum();
    if markers.interleaved == frame.components.len() && markers.interleaved > 1 && together > MOST_BLOCKS {
        return Err(Error::image(
            name,
            format!("a JPEG with {together} blocks together: {MOST_BLOCKS} at most"),
        ));
    }
    let format = match (ids.len(), frame.components.len(), frame.precision) {
        (1, 1, 8) | (3, 3, 8) => PixelFormat::Rgb,
        (4, 4, 8) => PixelFormat::Cmyk,
        (_, count, bits) => {
            let reason = format!("a JPEG of {count} components of {bits} bits, {} of them unlike", ids.len());
            return Err(Error::image(name, reason));
        }
    };
    decoder.set_output_format(format);
    decoder.set_lenient(true);
    decoder.set_block_smoothing(true);
    decoder.decode_image().map_err(failed)
}

/// Whether the data ended before the picture.
fn is_cut(image: &Image) -> bool {
    image.warnings.iter().any(|warning| matches!(warning, DecodeWarning::TruncatedData { .. }))
}
