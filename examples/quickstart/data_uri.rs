//! Pictures inside a page: Base64, RFC 4648, section 4.

use std::{io::Cursor, path::Path};

use clip_adapter::{Error, Result};
use image::{ImageFormat, RgbImage, imageops};

/// The longest side of a picture on the page, in pixels.
const SIDE: u32 = 96;

/// A picture as a `data:` address, made smaller where it is large.
pub fn of(image: &RgbImage, path: &Path) -> Result<String> {
    let (width, height) = image.dimensions();
    let longest = width.max(height);
    let shown = if longest > SIDE {
        let scaled = |side: u32| (u64::from(side) * u64::from(SIDE) / u64::from(longest)).max(1) as u32;
        imageops::thumbnail(image, scaled(width), scaled(height))
    } else {
        image.clone()
    };
    let mut png = Cursor::new(Vec::new());
    shown
        .write_to(&mut png, ImageFormat::Png)
        .map_err(|error| Error::Image { path: path.into(), reason: error.to_string() })?;
    Ok(format!("data:image/png;base64,{}", base64(png.get_ref())))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, at| (bits << 8) | usize::from(group.get(at).copied().unwrap_or(0)));
        for digit in 0..4 {
            // Three bytes are four digits, two are three, and one is two.
            let value = (bits >> (18 - 6 * digit)) & 63;
            text.push(if digit <= group.len() { char::from(DIGITS[value]) } else { '=' });
        }
    }
    text
}
