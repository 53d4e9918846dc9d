use std::array;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use image::RgbImage;
use rayon::prelude::*;

use super::ImageInput;
use super::decode::decode_turned;
use super::decode::limits::{MAX_MARGIN, MAX_RESIZED, MAX_SIDE};
use super::resample::{Resampling, bicubic};
use crate::error::{Error, Result};

/// Which pixel a centre crop starts at when the margin is odd.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CropRounding {
    /// The smaller one: transformers' `CLIPImageProcessor`.
    #[default]
    Down,
    /// The even one: torchvision, and so open_clip.
    HalfEven,
}

/// Which sides of an image resizing is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResizeMode {
    /// The short one, and the long one in proportion.
    #[default]
    Shortest,
    /// Both, so that the image is squashed into a square: transformers' `size` of a height and a width, open_clip's
    /// `squash`.
    Squash,
}

/// What 8-bit levels are multiplied by unless a model says otherwise.
const RESCALE: f32 = 1.0 / 255.0;

/// How pixels become the image tower's input: short side to `resize` with the antialiased bicubic, the centre
/// square of `crop`, then `(x / 255 - mean) / std`.
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `resize` | 224 | 1 to 8 times `crop` | short side after resizing, in pixels |
/// | `resize_mode` | shortest | | whether the long side keeps its ratio to it, or both become `resize` |
/// | `crop` | 224 | 1 or more | side of the square that is kept, in pixels |
/// | `resampling` | Pillow | | whose arithmetic resizing follows, to the bit |
/// | `rounding` | down | | where the crop starts when the margin is odd |
/// | `orient` | false | | whether an image is first turned as its EXIF orientation says |
/// | `rescale` | 1/255 | above 0 | what levels of 0 to 255 are multiplied by |
/// | `mean`, `std` | CLIP's | std above 0 | per channel, of rescaled values |
#[derive(Debug, Clone, PartialEq)]
pub struct Preprocess {
    /// Short side after resizing, in pixels.
    pub resize: usize,
    /// Whether the other side keeps its ratio to it.
    pub resize_mode: ResizeMode,
    /// Side of the square that is kept, in pixels.
    pub crop: usize,
    /// Whose arithmetic resizing follows.
    pub resampling: Resampling,
    /// Where the crop starts when the margin is odd.
    pub rounding: CropRounding,
    /// Whether an image is first turned as the camera noted in its EXIF data. The reference does not.
    pub orient: bool,
    /// Multiplies levels of 0 to 255.
    pub rescale: f32,
    /// Subtracted from each channel.
    pub mean: [f32; 3],
    /// Divides each channel.
    pub std: [f32; 3],
}

impl Default for Preprocess {
    #[allow(clippy::excessive_precision)] // the published digits
    fn default() -> Self {
        Self {
            resize: 224,
            resize_mode: ResizeMode::Shortest,
            crop: 224,
            resampling: Resampling::Pillow,
            rounding: CropRounding::Down,
            orient: false,
            rescale: RESCALE,
            mean: [0.48145466, 0.4578275, 0.40821073],
            std: [0.26862954, 0.26130258, 0.27577711],
        }
    }
}

impl Preprocess {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first one outside.
    pub fn validate(&self) -> Result<()> {
        let side = 1..=MAX_SIDE as usize;
        if !side.contains(&self.crop) {
            return Err(Error::setting("crop_size", format!("1..={MAX_SIDE} pixels"), self.crop));
        }
        let longest = (MAX_MARGIN * self.crop).min(MAX_SIDE as usize);
        if !(self.crop..=longest).contains(&self.resize) {
            let expected = format!("{}, which is crop_size, to {longest} pixels", self.crop);
            return Err(Error::setting("size", expected, self.resize));
        }
        if !(self.rescale > 0.0 && (255.0 * self.rescale).is_finite()) {
            return Err(Error::setting("rescale_factor", "above 0", self.rescale));
        }
        match self.std.iter().find(|std| !(std.is_finite() && **std > 0.0)) {
            Some(std) => Err(Error::setting("image_std", "above 0", std)),
            None if self.mean.iter().any(|mean| !mean.is_finite()) => {
                Err(Error::setting("image_mean", "finite values", format!("{:?}", self.mean)))
            }
            None => Ok(()),
        }
    }

    /// Decodes and preprocesses images: files by their paths, uploads by their bytes, or decoded ones.
    ///
    /// JPEG, PNG, WebP, GIF (its first frame), BMP and TIFF, recognised by their content. Grey, palette, alpha
    /// and 16-bit images become RGB as [`decode`](super::decode) says. EXIF orientation is applied only with
    /// [`orient`](Self::orient), as the reference does not.
    ///
    /// # Shapes
    /// - returns: `[images, 3, crop, crop]`
    ///
    /// # Errors
    /// [`Error::Read`] if a file cannot be read; [`Error::Image`] if it is not an image of these formats, is
    /// damaged, or is larger than 32,768 pixels a side or 1 GiB decoded; [`Error::Setting`] if a setting is out
    /// of range.
    pub fn load(&self, images: &[impl ImageInput], device: &Device) -> Result<Tensor<4>> {
        self.validate()?; // before memory is taken for what a setting claims
        let mut values = Vec::with_capacity(images.len() * 3 * self.crop * self.crop);
        for pixels in self.load_each(images) {
            values.extend(pixels?);
        }
        let shape = [images.len(), 3, self.crop, self.crop];
        Ok(Tensor::from_data(TensorData::new(values, shape), device))
    }

    /// What [`load`](Self::load) makes of each, or what is wrong with it; on all cores.
    pub(crate) fn load_each(&self, images: &[impl ImageInput]) -> Vec<Result<Vec<f32>>> {
        images.par_iter().map(|image| self.pixels(image.rgb(self.orient)?.as_ref())).collect()
    }

    /// Preprocesses one decoded image to `[3, crop, crop]`, row-major.
    ///
    /// # Errors
    /// [`Error::Setting`] if a setting is out of range; [`Error::Data`] if the image has no pixel.
    pub fn pixels(&self, image: &RgbImage) -> Result<Vec<f32>> {
        self.validate()?;
        let size = self.resized(image.dimensions())?;
        let (left, top) = (self.margin(size.0), self.margin(size.1));
        let bytes = bicubic(image, size, left..left + self.crop, top..top + self.crop, self.resampling);
        Ok(self.normalised(&bytes))
    }

    /// An image as RGB, turned as [`orient`](Self::orient) says.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn decode(&self, image: &(impl ImageInput + ?Sized)) -> Result<RgbImage> {
        Ok(image.rgb(self.orient)?.into_owned())
    }

    /// Preprocesses an encoded image, which errors call `name`, to `[3, crop, crop]`.
    pub(crate) fn pixels_of(&self, bytes: &[u8], name: &Path) -> Result<Vec<f32>> {
        self.pixels(&decode_turned(bytes, name, self.orient)?)
    }

    /// `(x / 255 - mean) / std`, or with another factor, of a square of side `crop`, channel after channel.
    pub(super) fn normalised(&self, bytes: &[u8]) -> Vec<f32> {
        let rescaled = |level: usize| match level as f32 {
            level if self.rescale == RESCALE => level / 255.0, // at times another last bit than with the factor
            level => level * self.rescale,
        };
        let mut values = Vec::with_capacity(bytes.len());
        for channel in 0..3 {
            let (mean, std) = (self.mean[channel], self.std[channel]);
            let levels: [f32; 256] = array::from_fn(|level| (rescaled(level) - mean) / std);
            let pixels: &[[u8; 3]] = bytes.as_chunks().0;
            values.extend(pixels.iter().map(|pixel| levels[usize::from(pixel[channel])]));
        }
        values
    }

    /// Width and height after resizing: the short side becomes `resize`, and the long one is cut off to a whole
    /// pixel, as the reference does; or both become `resize`.
    fn resized(&self, (width, height): (u32, u32)) -> Result<(usize, usize)> {
        if width == 0 || height == 0 {
            return Err(Error::data("image", "at least one pixel", format!("{width} x {height}")));
        }
        let side = match self.resize_mode {
            ResizeMode::Shortest => {
                self.resize as u64 * u64::from(width.max(height)) / u64::from(width.min(height))
            }
            ResizeMode::Squash => self.resize as u64,
        };
        if side * self.resize as u64 > MAX_RESIZED {
            return Err(Error::data("image", "sides that differ less", format!("{width} x {height}")));
        }
        let (short, side) = (self.resize, side as usize);
        Ok(if width <= height { (short, side) } else { (side, short) })
    }

    fn margin(&self, side: usize) -> usize {
        let (half, odd) = ((side - self.crop) / 2, (side - self.crop) % 2);
        match self.rounding {
            CropRounding::Down => half,
            CropRounding::HalfEven => half + odd * (half % 2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_odd_margin_is_rounded_as_each_reference_does() {
        let margins = |rounding| {
            let preprocess = Preprocess { crop: 10, resize: 10, rounding, ..Default::default() };
            [10, 11, 12, 13, 14, 15].map(|side| preprocess.margin(side))
        };
        assert_eq!(margins(CropRounding::Down), [0, 0, 1, 1, 2, 2]);
        assert_eq!(margins(CropRounding::HalfEven), [0, 0, 1, 2, 2, 2]);
    }

    #[test]
    fn a_squashed_image_is_seen_whole() {
        // Left half black, right half white: of the centre square only the middle columns are left of either.
        let image = RgbImage::from_fn(16, 4, |x, _| image::Rgb(if x < 8 { [0; 3] } else { [255; 3] }));
        let settings = Preprocess { resize: 4, crop: 4, mean: [0.0; 3], std: [1.0; 3], ..Default::default() };
        let row = |resize_mode, rescale| {
            let preprocess = Preprocess { resize_mode, rescale, ..settings.clone() };
            preprocess.pixels(&image).unwrap()[..4].to_vec()
        };
        assert_eq!(row(ResizeMode::Shortest, RESCALE), [0.0, 0.0, 1.0, 1.0]);
        let squashed = row(ResizeMode::Squash, 1.0);
        assert_eq!((squashed[0], squashed[3]), (0.0, 255.0));
        assert!(squashed[1] > 0.0 && squashed[2] < 255.0, "{squashed:?}");
    }

    #[test]
    fn a_factor_that_gives_no_numbers_is_refused() {
        for rescale in [0.0, -1.0, f32::NAN, f32::INFINITY, f32::MAX] {
            let error = Preprocess { rescale, ..Default::default() }.validate().unwrap_err();
            assert!(matches!(&error, Error::Setting { name, .. } if name == "rescale_factor"), "{error}");
        }
    }

    #[test]
    fn an_image_of_one_pixel_becomes_a_whole_crop() {
        let image = RgbImage::from_raw(1, 1, vec![255, 0, 128]).unwrap();
        let preprocess =
            Preprocess { resize: 4, crop: 4, mean: [0.0; 3], std: [1.0; 3], ..Default::default() };
        let values = preprocess.pixels(&image).unwrap();
        assert_eq!((values.len(), values[0], values[16], values[32]), (48, 1.0, 0.0, 128.0 / 255.0));
    }
}
