//! Pictures inside a page.

use std::{io::Cursor, path::Path};

use base64::prelude::{BASE64_STANDARD, Engine};
use clip_adapter::{Error, Result};
use image::{ImageFormat, RgbImage, imageops};

/// The longest side of a picture on the page, in pixels.
const SIDE: u32 = 96;

/// A picture as a `data:` address, made smaller where it is large.
pub fn of(image: &RgbImage, path: &Path) -> Result<String> {
    address(image, path, ImageFormat::Png, "png")
}

/// The same with the losses of a JPEG, which takes a photograph fewer bytes.
pub fn photo(image: &RgbImage, path: &Path) -> Result<String> {
    address(image, path, ImageFormat::Jpeg, "jpeg")
}

fn address(image: &RgbImage, path: &Path, format: ImageFormat, name: &str) -> Result<String> {
    let (width, height) = image.dimensions();
    let longest = width.max(height);
    let shown = if longest > SIDE {
        let scaled = |side: u32| (u64::from(side) * u64::from(SIDE) / u64::from(longest)).max(1) as u32;
        imageops::thumbnail(image, scaled(width), scaled(height))
    } else {
        image.clone()
    };
    let mut bytes = Cursor::new(Vec::new());
    shown.write_to(&mut bytes, format).map_err(|error| Error::image(path, error.to_string()))?;
    Ok(format!("data:image/{name};base64,{}", BASE64_STANDARD.encode(bytes.get_ref())))
}
