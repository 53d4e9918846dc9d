//! Image files for tests, made here where no encoder writes what is needed.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};

/// Every format that is read.
pub const FORMATS: [ImageFormat; 6] = [
    ImageFormat::Jpeg,
    ImageFormat::Png,
    ImageFormat::WebP,
    ImageFormat::Gif,
    ImageFormat::Bmp,
    ImageFormat::Tiff,
];

/// No two pixels alike, up to 256 a side.
pub fn gradient(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([x as u8, y as u8, (x * 7 + y * 13) as u8]))
}

/// A file of a format.
pub fn encoded(image: &RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Vec::new();
    DynamicImage::ImageRgb8(image.clone()).write_to(&mut Cursor::new(&mut bytes), format).unwrap();
    bytes
}

/// EXIF data, which are a TIFF, with one entry: the orientation.
pub fn exif(orientation: u8) -> Vec<u8> {
    let mut bytes = b"II*\0\x08\0\0\0\x01\0".to_vec(); // little-endian, entries from byte 8, one of them
    bytes.extend([0x12, 0x01, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0]); // tag 0x112, one 16-bit number
    bytes.extend([0; 4]); // no further entries
    bytes
}

/// A PNG file with EXIF data, in a chunk of their own after the header.
pub fn png_with_exif(image: &RgbImage, exif: &[u8]) -> Vec<u8> {
    let mut bytes = encoded(image, ImageFormat::Png);
    bytes.splice(33..33, chunk(b"eXIf", exif));
    bytes
}

/// A JPEG file with EXIF data, in a segment of their own after the start.
pub fn jpeg_with_exif(image: &RgbImage, exif: &[u8]) -> Vec<u8> {
    let mut bytes = encoded(image, ImageFormat::Jpeg);
    let mut segment = vec![0xff, 0xe1];
    segment.extend((2 + 6 + exif.len() as u16).to_be_bytes());
    segment.extend(b"Exif\0\0");
    segment.extend(exif);
    bytes.splice(2..2, segment);
    bytes
}

/// A chunk of a PNG file.
pub fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut bytes = (data.len() as u32).to_be_bytes().to_vec();
    bytes.extend(kind);
    bytes.extend(data);
    let checked = crc32(&bytes[4..]);
    bytes.extend(checked.to_be_bytes());
    bytes
}

fn crc32(bytes: &[u8]) -> u32 {
    let shift = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| shift(crc)))
}
