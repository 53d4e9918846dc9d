//! Small pictures within a page.

use std::{io::Cursor, path::Path};

use base64::prelude::{BASE64_STANDARD, Engine};
use clip_adapter::input::Preprocess;
use image::{ImageFormat, RgbImage, imageops};

/// The longest side, in pixels.
const SIDE: u32 = 72;

/// The square of a picture that CLIP sees, in the same way.
pub fn square(file: &Path, preprocess: &Preprocess) -> Option<String> {
    const SIDE: u32 = 120;
    let image = preprocess.decode(file).ok()?;
    let (width, height) = image.dimensions();
    let side = width.min(height).max(1);
    let middle = imageops::crop_imm(&image, (width - side) / 2, (height - side) / 2, side, side).to_image();
    encoded(&imageops::thumbnail(&middle, SIDE.min(side), SIDE.min(side)))
}

/// A picture as a `data:` address, JPEG and so some 2 kB; nothing where it cannot be read again.
pub fn address(file: &Path, preprocess: &Preprocess) -> Option<String> {
    let image = preprocess.decode(file).ok()?;
    let (width, height) = image.dimensions();
    let longest = width.max(height).max(1);
    let scaled =
        |side: u32| (u64::from(side) * u64::from(SIDE.min(longest)) / u64::from(longest)).max(1) as u32;
    let small = imageops::thumbnail(&image, scaled(width), scaled(height));
    encoded(&small)
}

fn encoded(small: &RgbImage) -> Option<String> {
    let mut jpeg = Cursor::new(Vec::new());
    small.write_to(&mut jpeg, ImageFormat::Jpeg).ok()?;
    Some(format!("data:image/jpeg;base64,{}", BASE64_STANDARD.encode(jpeg.get_ref())))
}
