use ::image::{RgbImage, imageops};
use burn::tensor::{Device, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::resample::bicubic;
use super::{ImageInput, Preprocess};
use crate::error::{Error, Result};

/// Crops drawn before the central one is taken, as in torchvision.
const ATTEMPTS: usize = 10;

/// Room for one view's random numbers in the generator's stream, in 32-bit words: ten attempts take below 100.
const WORDS: u128 = 1024;

/// How views of an image are drawn: torchvision's `RandomResizedCrop`, then `RandomHorizontalFlip`.
///
/// A crop's area is a uniform share of the image's, its ratio of width to height uniform in the logarithm. A crop
/// that does not fit is drawn again; after ten it is the largest central one of a ratio in range. The defaults are
/// those of Tip-Adapter (Zhang et al., 2022, <https://arxiv.org/abs/2207.09519>), whose cache averages ten views.
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `scale` | 0.5, 1 | above 0, at most 1, ascending | share of the image's area |
/// | `ratio` | 3/4, 4/3 | above 0, ascending | width over height |
/// | `flip` | 0.5 | 0..=1 | how often a view is mirrored |
///
/// # Examples
/// ```
/// use clip_adapter::input::Augment;
///
/// let augment = Augment::default();
/// let view = augment.draw((640, 480), 1, 0, 0)?; // seed 1, image 0, view 0
/// assert_eq!(view, augment.draw((640, 480), 1, 0, 0)?);
/// assert_ne!(view, augment.draw((640, 480), 1, 0, 1)?);
/// assert!(view.left + view.width <= 640 && view.top + view.height <= 480);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// Smallest and largest share of the image's area.
    pub scale: [f64; 2],
    /// Smallest and largest width over height.
    pub ratio: [f64; 2],
    /// How often a view is mirrored.
    pub flip: f64,
}

impl Default for Augment {
    fn default() -> Self {
        Self { scale: [0.5, 1.0], ratio: [3.0 / 4.0, 4.0 / 3.0], flip: 0.5 }
    }
}

/// What one view shows of an image, in pixels, and whether mirrored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// Columns left of the crop.
    pub left: u32,
    /// Rows above the crop.
    pub top: u32,
    /// Columns of the crop.
    pub width: u32,
    /// Rows of the crop.
    pub height: u32,
    /// Whether left and right are exchanged.
    pub flip: bool,
}

impl Augment {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first one outside.
    pub fn validate(&self) -> Result<()> {
        let ascending = |[low, high]: [f64; 2]| low > 0.0 && low <= high && high.is_finite();
        if !(ascending(self.scale) && self.scale[1] <= 1.0) {
            let found = format!("{:?}", self.scale);
            return Err(Error::setting("scale", "two ascending shares above 0, at most 1", found));
        }
        if !ascending(self.ratio) {
            return Err(Error::setting(
                "ratio",
                "two ascending numbers above 0",
                format!("{:?}", self.ratio),
            ));
        }
        if !(0.0..=1.0).contains(&self.flip) {
            return Err(Error::setting("flip", "0..=1", self.flip));
        }
        Ok(())
    }

    /// Draws one view of an image of `(width, height)` pixels. The same `seed`, `image` and `view` give the same
    /// one, whatever was drawn before.
    ///
    /// # Errors
    /// [`Error::Setting`] if a setting is out of range.
    pub fn draw(&self, size: (u32, u32), seed: u64, image: u64, view: u64) -> Result<View> {
        self.validate()?;
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(image);
        random.set_word_pos(u128::from(view) * WORDS);
        let crop = (0..ATTEMPTS).find_map(|_| self.attempt(size, &mut random));
        let crop = crop.unwrap_or_else(|| self.central(size));
        Ok(View { flip: random.random::<f64>() < self.flip, ..crop })
    }

    fn attempt(&self, (width, height): (u32, u32), random: &mut ChaCha8Rng) -> Option<View> {
        let mut between = |[low, high]: [f64; 2]| low + (high - low) * random.random::<f64>();
        let area = f64::from(width) * f64::from(height) * between(self.scale);
        let ratio = between(self.ratio.map(f64::ln)).exp();
        let columns = (area * ratio).sqrt().round_ties_even();
        let rows = (area / ratio).sqrt().round_ties_even();
        let fits = |side: f64, whole: u32| side >= 1.0 && side <= f64::from(whole);
        if !(fits(columns, width) && fits(rows, height)) {
            return None;
        }
        let (columns, rows) = (columns as u32, rows as u32);
        let top = random.random_range(0..=height - rows);
        let left = random.random_range(0..=width - columns);
        Some(View { left, top, width: columns, height: rows, flip: false })
    }

    /// The largest crop in the middle whose ratio is in range.
    fn central(&self, (width, height): (u32, u32)) -> View {
        let (wide, high) = (f64::from(width), f64::from(height));
        let [narrowest, widest] = self.ratio;
        let side = |side: f64, whole: u32| (side.round_ties_even() as u32).clamp(1, whole.max(1));
        let (columns, rows) = if wide < high * narrowest {
            (width, side(wide / narrowest, height))
        } else if wide > high * widest {
            (side(high * widest, width), height)
        } else {
            (width, height)
        };
        let (left, top) = (width.saturating_sub(columns) / 2, height.saturating_sub(rows) / 2);
        View { left, top, width: columns, height: rows, flip: false }
    }
}

impl View {
    /// The part of the image that it shows.
    fn cut(&self, image: &RgbImage) -> Result<RgbImage> {
        let (width, height) = image.dimensions();
        let inside = |start: u32, length: u32, whole: u32| {
            length > 0 && start.checked_add(length).is_some_and(|end| end <= whole)
        };
        if !(inside(self.left, self.width, width) && inside(self.top, self.height, height)) {
            return Err(Error::data(
                "view",
                format!("a part of {width} x {height} pixels"),
                format!("{self:?}"),
            ));
        }
        Ok(imageops::crop_imm(image, self.left, self.top, self.width, self.height).to_image())
    }
}

impl Preprocess {
    /// Preprocesses one view of a decoded image to `[3, crop, crop]`: the crop is resized to the square without
    /// keeping its ratio, then mirrored, then normalised.
    ///
    /// # Errors
    /// [`Error::Setting`] if a setting is out of range; [`Error::Data`] if the view is not inside the image.
    pub fn view(&self, image: &RgbImage, view: &View) -> Result<Vec<f32>> {
        self.validate()?;
        let side = self.crop;
        let bytes = bicubic(&view.cut(image)?, (side, side), 0..side, 0..side, self.resampling);
        let mut values = self.normalised(&bytes);
        if view.flip {
            values.chunks_exact_mut(self.crop).for_each(<[f32]>::reverse);
        }
        Ok(values)
    }

    /// Decodes images and preprocesses `views` random views of each; an image is decoded once.
    ///
    /// A view depends on `seed`, its image's place in `images` and its own number alone.
    ///
    /// # Shapes
    /// - returns: `[images * views, 3, crop, crop]`, all views of an image in a row
    ///
    /// # Errors
    /// As [`load`](Self::load) and [`Augment::validate`].
    ///
    /// # Examples
    /// ```
    /// use burn::tensor::Device;
    /// use clip_adapter::input::{Augment, Preprocess};
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let photo = folder.path().join("photo.png");
    /// # image::RgbImage::from_fn(40, 30, |x, y| image::Rgb([x as u8, y as u8, 0])).save(&photo).unwrap();
    /// let views = Preprocess::default().load_views(&[photo], &Augment::default(), 4, 1, &Device::flex())?;
    /// assert_eq!(views.dims(), [4, 3, 224, 224]);
    /// # Ok::<(), clip_adapter::Error>(())
    /// ```
    pub fn load_views(
        &self,
        images: &[impl ImageInput],
        augment: &Augment,
        views: usize,
        seed: u64,
        device: &Device,
    ) -> Result<Tensor<4>> {
        let mut values = Vec::new();
        for (index, image) in images.iter().enumerate() {
            let image = image.rgb(self.orient)?;
            for view in 0..views {
                let view = augment.draw(image.dimensions(), seed, index as u64, view as u64)?;
                values.extend(self.view(&image, &view)?);
            }
        }
        let shape = [images.len() * views, 3, self.crop, self.crop];
        Ok(Tensor::from_data(TensorData::new(values, shape), device))
    }
}
