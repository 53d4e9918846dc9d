//! From the bytes of a file to RGB, as Pillow makes it.

mod gif;
mod ink;
mod jpeg;
pub(in crate::input) mod limits;
mod png;
mod tiff;

use std::fs::File;
use std::io::{Cursor, Read};
use std::panic;
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, RgbImage};

use self::limits::{MAX_BYTES, MAX_FILE, MAX_SIDE};
use crate::archive::stand_in;
use crate::error::{Error, Result};

/// Decodes the bytes of an image, which errors call `name`: an upload, a member of an archive, a frame.
///
/// JPEG, PNG, WebP, GIF (its first frame), BMP and TIFF, recognised by their content. What becomes RGB is what Pillow's
/// `convert("RGB")` gives: alpha is dropped; of 16 bits the upper 8 are kept, but grey of 16 bits is clipped at 255, which
/// leaves a picture of the full range nearly white. EXIF orientation is not applied, as the reference does not; that of
/// a TIFF always is. The guide's page [`pictures`](crate::guide::pictures) has the rest, and the exceptions.
///
/// # Errors
/// [`Error::Image`] if they are not an image of these formats, are damaged, or it is larger than 32,768 pixels a side
/// or 1 GiB decoded.
///
/// # Examples
/// ```
/// use clip_adapter::input::decode;
///
/// let bytes = std::fs::read("tests/golden/images/alpha.png").unwrap();
/// let image = decode(&bytes, "upload 17")?;
/// assert_eq!(image.dimensions(), (97, 83));
/// let error = decode(b"GIF89a", "upload 18").unwrap_err();
/// assert!(error.to_string().starts_with("upload 18: expected an image"));
/// # Ok::<(), clip_adapter::Error>(())
/// ```
pub fn decode(bytes: &[u8], name: impl AsRef<Path>) -> Result<RgbImage> {
    let (image, _) = with_orientation(bytes, name.as_ref())?;
    Ok(to_rgb(image))
}

/// The same with its alpha, where it has one, and not turned.
pub(super) fn with_alpha(bytes: &[u8], name: &Path) -> Result<DynamicImage> {
    Ok(with_orientation(bytes, name)?.0)
}

/// The same, turned as the camera noted in the EXIF data where `orient` says so.
pub(super) fn decode_turned(bytes: &[u8], name: &Path, orient: bool) -> Result<RgbImage> {
    let (mut image, orientation) = with_orientation(bytes, name)?;
    if orient {
        image.apply_orientation(orientation);
    }
    Ok(to_rgb(image))
}

/// The bytes of a file that is to be an image.
///
/// # Errors
/// [`Error::Read`] if it cannot be read; [`Error::Image`] if it is larger than 1 GiB.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    let failed = |source| Error::read(path, source);
    let mut file = File::open(path).map_err(failed)?;
    let expected = file.metadata().map_err(failed)?.len().min(MAX_FILE);
    let mut bytes = Vec::with_capacity(expected as usize);
    file.by_ref().take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Error::image(path, format!("more than {MAX_FILE} bytes")));
    }
    Ok(bytes)
}

/// Any image, and how it is still to be turned to stand as the camera was held. A decoder that panics on damaged bytes costs that image and no more.
fn with_orientation(bytes: &[u8], name: &Path) -> Result<(DynamicImage, Orientation)> {
    panic::catch_unwind(|| decode_any(bytes, name))
        .unwrap_or_else(|_| Err(Error::image(name, "bytes that make the decoder panic")))
}

fn decode_any(bytes: &[u8], name: &Path) -> Result<(DynamicImage, Orientation)> {
    if let Some(found) = stand_in(bytes) {
        return Err(Error::image(name, found));
    }
    if let Some((image, orientation)) = jpeg::decode(bytes, name)? {
        return Ok((image.into(), orientation));
    }
    let upright = match tiff::decode(bytes, name)? {
        Some(image) => Some(image),
        None => gif::decode(bytes, name)?,
    };
    match upright {
        Some(image) => Ok((image.into(), Orientation::NoTransforms)),
        None => decode_plain(&png::closed(bytes), name),
    }
}

/// PNG, WebP and BMP, of which the general reader makes what Pillow does.
fn decode_plain(bytes: &[u8], name: &Path) -> Result<(DynamicImage, Orientation)> {
    let failed = |error: ImageError| Error::image(name, error);
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|source| Error::read(name, source))?;
    if reader.format() == Some(ImageFormat::WebP) && is_short_riff(bytes) {
        return Err(Error::image(name, "a WebP that is cut off"));
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder().map_err(failed)?;
    limits.reserve(decoder.total_bytes()).map_err(failed)?;
    let orientation = decoder.orientation().map_err(failed)?;
    let image = DynamicImage::from_decoder(decoder).map_err(failed)?;
    limits::check(image.width(), image.height(), name)?;
    Ok((image, orientation))
}

/// Whether a RIFF file has fewer bytes than it says.
fn is_short_riff(bytes: &[u8]) -> bool {
    let length =
        bytes.get(4..8).map_or(0, |length| u32::from_le_bytes([length[0], length[1], length[2], length[3]]));
    (bytes.len() as u64) < 8 + u64::from(length)
}

/// PIL's `convert("RGB")`.
fn to_rgb(image: DynamicImage) -> RgbImage {
    let upper: fn(u16) -> u8 = |value| (value >> 8) as u8;
    let (width, height) = (image.width(), image.height());
    let grey = |values: Vec<u16>, level: fn(u16) -> u8| {
        values.into_iter().flat_map(|value| [level(value); 3]).collect::<Vec<u8>>()
    };
    let bytes = match image {
        // Pillow's mode `I;16` is clipped; with alpha the mode is another.
        DynamicImage::ImageLuma16(image) => grey(image.into_raw(), |value| value.min(255) as u8),
        DynamicImage::ImageLumaA16(image) => grey(image.into_raw().into_iter().step_by(2).collect(), upper),
        DynamicImage::ImageRgb16(image) => image.into_raw().into_iter().map(upper).collect(),
        DynamicImage::ImageRgba16(image) => image
            .into_raw()
            .chunks_exact(4)
            .flat_map(|pixel| [pixel[0], pixel[1], pixel[2]].map(upper))
            .collect(),
        other => return other.into_rgb8(),
    };
    RgbImage::from_raw(width, height, bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bits_keep_their_upper_eight() {
        let image = image::ImageBuffer::from_raw(1, 1, vec![0x12ffu16, 0xff00, 0x00ff]).unwrap();
        assert_eq!(to_rgb(DynamicImage::ImageRgb16(image)).into_raw(), [0x12, 0xff, 0x00]);
    }

    #[test]
    fn grey_of_sixteen_bits_is_clipped() {
        let image = image::ImageBuffer::from_raw(3, 1, vec![0x12u16, 0xff, 0x100]).unwrap();
        let levels = to_rgb(DynamicImage::ImageLuma16(image)).into_raw();
        assert_eq!(levels, [[0x12; 3], [0xff; 3], [0xff; 3]].concat());
    }
}
