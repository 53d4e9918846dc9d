//! TIFFs as Pillow reads them: turned as they say, and of the kinds that it knows.

mod kind;
mod levels;

use std::borrow::Cow;
use std::io::Cursor;
use std::path::Path;

use image::{DynamicImage, RgbImage, metadata::Orientation};
use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::tags::Tag;

use self::kind::Kind;
use self::levels::Samples;
use super::limits::{self, MAX_BYTES};
use crate::error::{Error, Result};

/// Photometric interpretations: how the numbers are to be seen.
const WHITE_IS_ZERO: u16 = 0;
const BLACK_IS_ZERO: u16 = 1;
const PALETTE: u16 = 3;
const Y_CB_CR: u16 = 6;

/// Samples of one pixel lie together, or in planes of their own.
const PLANAR: u16 = 2;

/// The JPEG in which colour has its full resolution when it is decoded.
const JPEG: u16 = 7;

/// What a TIFF says of its first image, as far as it changes pixels.
#[derive(Debug, Clone, PartialEq)]
struct Tags {
    photometric: u16,
    /// Unsigned, signed or floating: 1, 2, 3.
    format: u16,
    bits: u16,
    samples: usize,
    /// What the samples after the colours are: 0 nothing, 1 alpha that the colours are multiplied by, 2 alpha.
    extra: Vec<u16>,
    planar: bool,
}

/// Decodes a TIFF, classic or big, and leaves every other file to others.
pub(super) fn decode(bytes: &[u8], name: &Path) -> Result<Option<RgbImage>> {
    if ![b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"].iter().any(|magic| bytes.starts_with(*magic)) {
        return Ok(None);
    }
    let failed = |error| Error::image(name, error);
    let mut most = Limits::default();
    most.decoding_buffer_size = MAX_BYTES as usize;
    most.intermediate_buffer_size = MAX_BYTES as usize;
    most.ifd_value_size = 1 << 20;
    let open = |bytes| Decoder::new(Cursor::new(bytes)).map(|decoder| decoder.with_limits(most.clone()));

    let mut decoder = open(Cow::Borrowed(bytes)).map_err(failed)?;
    let tags = tags(&mut decoder, name)?;
    let kind = Kind::of(&tags).ok_or_else(|| Error::image(name, unknown(&tags)))?;
    let (width, height) = decoder.dimensions().map_err(failed)?;
    limits::check(width, height, name)?;
    let palette = match kind {
        Kind::Palette => Some(decoder.get_tag_u16_vec(Tag::ColorMap).map_err(failed)?),
        _ => None,
    };
    let orientation = decoder.find_tag_unsigned(Tag::Orientation).map_err(failed)?;
    // The decoder knows no palettes, and turns white over where Pillow does not: it is told of plain grey.
    if matches!(tags.photometric, WHITE_IS_ZERO | PALETTE) {
        let relabelled =
            relabelled(bytes).ok_or_else(|| Error::image(name, "a directory that is cut off"))?;
        decoder = open(Cow::Owned(relabelled)).map_err(failed)?;
    }
    let mut read = DecodingResult::U8(Vec::new());
    decoder.read_image_to_buffer(&mut read).map_err(failed)?;
    let samples = Samples {
        read,
        size: (width as usize, height as usize),
        bits: usize::from(tags.bits),
        planar: tags.planar,
    };
    let levels = samples.levels(kind, palette.as_deref()).map_err(|reason| Error::image(name, reason))?;
    let image =
        RgbImage::from_raw(width, height, levels).ok_or_else(|| Error::image(name, "too few pixels"))?;
    let mut image = DynamicImage::ImageRgb8(image);
    image
        .apply_orientation(orientation.and_then(Orientation::from_exif).unwrap_or(Orientation::NoTransforms));
    Ok(Some(image.into_rgb8()))
}

fn tags(decoder: &mut Decoder<Cursor<Cow<'_, [u8]>>>, name: &Path) -> Result<Tags> {
    let failed = |error| Error::image(name, error);
    let mut all = |tag| decoder.find_tag_unsigned_vec::<u16>(tag).map_err(failed);
    let bits = all(Tag::BitsPerSample)?.unwrap_or_else(|| vec![1]);
    let extra = all(Tag::ExtraSamples)?.unwrap_or_default();
    let format = all(Tag::SampleFormat)?.unwrap_or_else(|| vec![1]);
    let subsampling = all(Tag::ChromaSubsampling)?.unwrap_or_else(|| vec![2, 2]);
    let mut one = |tag, default| {
        decoder.find_tag_unsigned::<u16>(tag).map_err(failed).map(|found| found.unwrap_or(default))
    };
    let photometric = one(Tag::PhotometricInterpretation, WHITE_IS_ZERO)?;
    let (order, compression) = (one(Tag::FillOrder, 1)?, one(Tag::Compression, 1)?);
    let unlike = |values: &[u16]| values.iter().any(|value| *value != values[0]);
    if unlike(&bits) || unlike(&format) {
        return Err(Error::image(
            name,
            format!("a TIFF with samples of {bits:?} bits and formats {format:?}"),
        ));
    }
    if order != 1 {
        return Err(Error::image(name, format!("a TIFF with bits in the fill order {order}")));
    }
    if photometric == Y_CB_CR && compression != JPEG && subsampling != [1, 1] {
        return Err(Error::image(
            name,
            format!("a TIFF with colour at a part of the resolution: {subsampling:?}"),
        ));
    }
    let samples = usize::from(one(Tag::SamplesPerPixel, 1)?);
    if compression == JPEG && samples == 2 {
        return Err(Error::image(name, "a TIFF with grey and alpha in a JPEG"));
    }
    Ok(Tags {
        photometric,
        format: format.first().copied().unwrap_or(1),
        bits: bits.first().copied().unwrap_or(1),
        samples,
        extra,
        planar: one(Tag::PlanarConfiguration, 1)? == PLANAR,
    })
}

fn unknown(tags: &Tags) -> String {
    let Tags { photometric, format, bits, samples, extra, .. } = tags;
    format!(
        "a TIFF of a kind that is not read: photometric interpretation {photometric}, {samples} samples of {bits} bits, \
         format {format}, extra samples {extra:?}"
    )
}

/// The file with its first image called grey, black being zero.
fn relabelled(bytes: &[u8]) -> Option<Vec<u8>> {
    let (little, big) = (bytes[0] == b'I', bytes.contains(&43) && (bytes[2] == 43 || bytes[3] == 43));
    let number = |at: usize, size: usize| -> Option<usize> {
        let digits = bytes.get(at..at.checked_add(size)?)?;
        let add = |sum: usize, digit: &u8| sum << 8 | usize::from(*digit);
        Some(if little { digits.iter().rev().fold(0, add) } else { digits.iter().fold(0, add) })
    };
    // Where the directory is; bytes of its count, of an entry, and before an entry's value.
    let (directory, count, entry, value) =
        if big { (number(8, 8)?, 8, 20, 12) } else { (number(4, 4)?, 2, 12, 8) };
    let first = directory.checked_add(count)?;
    let tag = usize::from(Tag::PhotometricInterpretation.to_u16());
    let at = (0..number(directory, count)?.min(1 << 16))
        .map(|index| first + index * entry)
        .find(|&at| number(at, 2) == Some(tag))?;
    let mut bytes = bytes.to_vec();
    let label = if little { BLACK_IS_ZERO.to_le_bytes() } else { BLACK_IS_ZERO.to_be_bytes() };
    bytes.get_mut(at + value..at + value + 2)?.copy_from_slice(&label);
    Some(bytes)
}
