use std::borrow::Cow;
use std::path::{Path, PathBuf};

use image::RgbImage;

use super::decode::{decode_turned, read};
use crate::error::Result;

/// What an image can come as: a path, the bytes of an upload ([`ImageBytes`]), or pixels that are decoded already.
///
/// Everything that encodes images takes any of them, so that an upload or a decoded frame never touches a disk.
///
/// # Examples
/// ```
/// use clip_adapter::image::RgbImage;
/// use clip_adapter::input::{ImageBytes, ImageInput, Preprocess};
///
/// let path = "tests/golden/images/alpha.png";
/// let bytes = std::fs::read(path).unwrap();
/// let preprocess = Preprocess::default();
/// let from_file: RgbImage = preprocess.decode(path)?;
/// assert_eq!(from_file, preprocess.decode(&ImageBytes { name: "upload", bytes: &bytes })?);
/// assert_eq!(from_file, preprocess.decode(&from_file)?);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
pub trait ImageInput: Sync {
    /// The image as RGB; one that is still encoded is turned as its EXIF data say, if `orient` asks for that.
    ///
    /// # Errors
    /// [`Error::Read`](crate::Error::Read) if it cannot be read, [`Error::Image`](crate::Error::Image) if it is no
    /// image that can be decoded.
    fn rgb(&self, orient: bool) -> Result<Cow<'_, RgbImage>>;
}

/// The bytes of an encoded image, and what errors call it.
#[derive(Debug, Clone, Copy)]
pub struct ImageBytes<'a> {
    /// A file's name, or another that the user knows it by.
    pub name: &'a str,
    /// JPEG, PNG, WebP, GIF, BMP or TIFF.
    pub bytes: &'a [u8],
}

impl ImageInput for ImageBytes<'_> {
    fn rgb(&self, orient: bool) -> Result<Cow<'_, RgbImage>> {
        Ok(Cow::Owned(decode_turned(self.bytes, Path::new(self.name), orient)?))
    }
}

impl ImageInput for Path {
    fn rgb(&self, orient: bool) -> Result<Cow<'_, RgbImage>> {
        Ok(Cow::Owned(decode_turned(&read(self)?, self, orient)?))
    }
}

impl ImageInput for PathBuf {
    fn rgb(&self, orient: bool) -> Result<Cow<'_, RgbImage>> {
        self.as_path().rgb(orient)
    }
}

impl ImageInput for str {
    fn rgb(&self, orient: bool) -> Result<Cow<'_, RgbImage>> {
        Path::new(self).rgb(orient)
    }
}

impl ImageInput for String {
    fn rgb(&self, orient: bool) -> Result<Cow<'_, RgbImage>> {
        self.as_str().rgb(orient)
    }
}

impl ImageInput for RgbImage {
    fn rgb(&self, _: bool) -> Result<Cow<'_, RgbImage>> {
        Ok(Cow::Borrowed(self))
    }
}

impl<I: ImageInput + ?Sized> ImageInput for &I {
    fn rgb(&self, orient: bool) -> Result<Cow<'_, RgbImage>> {
        (**self).rgb(orient)
    }
}
