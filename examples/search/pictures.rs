//! Pictures as a page shows them: turned as the camera was held, and no larger than asked for.

use std::io::Cursor;
use std::path::{Component, Path, PathBuf};

use clip_adapter::image::{DynamicImage, ImageFormat, ImageReader, codecs::jpeg::JpegEncoder, imageops};
use clip_adapter::{Error, Result, input::ImageInput};

/// Pixels of a picture that is searched with: more than most photos have, and a fraction of what a small file can claim.
const MAX_PIXELS: u64 = 1 << 26;

const QUALITY: u8 = 85;

/// Where a picture of the index is: below the folder, whatever the index says.
pub fn below(folder: &Path, path: &str) -> Option<PathBuf> {
    let inside = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    (inside && !path.is_empty()).then(|| folder.join(path))
}

/// A picture whose longer side is at most `side`, and its type: as it is where it is small, else as a JPEG.
pub fn shown(path: &Path, side: u32) -> Result<(&'static str, Vec<u8>)> {
    let image = path.rgb(true)?.into_owned();
    let (width, height) = image.dimensions();
    let longest = width.max(height);
    let failed = |error| Error::image(path, error);
    let mut bytes = Cursor::new(Vec::new());
    if longest <= side.min(256) {
        DynamicImage::from(image).write_to(&mut bytes, ImageFormat::Png).map_err(failed)?;
        return Ok(("image/png", bytes.into_inner()));
    }
    let image = match longest <= side {
        true => image,
        false => {
            let scaled =
                |length: u32| (u64::from(length) * u64::from(side) / u64::from(longest)).max(1) as u32;
            imageops::thumbnail(&image, scaled(width), scaled(height))
        }
    };
    JpegEncoder::new_with_quality(&mut bytes, QUALITY).encode_image(&image).map_err(failed)?;
    Ok(("image/jpeg", bytes.into_inner()))
}

/// Refuses what claims to be too large before anything is decoded. A header that cannot be read is left to the library,
/// which says what is wrong with it.
pub fn check_size(bytes: &[u8]) -> Result<()> {
    let size = || ImageReader::new(Cursor::new(bytes)).with_guessed_format().ok()?.into_dimensions().ok();
    match std::panic::catch_unwind(size).ok().flatten() {
        Some((width, height)) if u64::from(width) * u64::from(height) > MAX_PIXELS => {
            let reason = format!("{width} x {height} pixels: at most {MAX_PIXELS} are read");
            Err(Error::image("picture", reason))
        }
        _ => Ok(()),
    }
}
