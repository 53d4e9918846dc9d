use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::adapted::check_width;
use super::diagnosis::{margin, on_host};
use crate::backbone::ClipBackbone;
use crate::error::{Error, Result};
use crate::features::Embeddings;
use crate::input::ImageInput;
use crate::model::Classifier;

/// How an image is covered, part by part.
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `grid` | 7 | 2 or more, at most the image's side | parts of a side |
/// | `window` | 3 | 1..=grid | parts of a side that are covered at a time |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Occlusion {
    /// Parts of a side.
    pub grid: usize,
    /// Parts of a side that are covered at a time.
    pub window: usize,
}

impl Default for Occlusion {
    fn default() -> Self {
        Self { grid: 7, window: 3 }
    }
}

/// Where in an image something speaks for a class: numbers of square parts, row after row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HeatMap {
    /// Parts of a side.
    pub side: usize,
    /// The class that is asked about.
    pub class: usize,
    /// Of each part, in logits; above 0 where it speaks for the class.
    pub values: Vec<f64>,
}

impl HeatMap {
    /// The numbers from 0, the least, to 1.
    pub fn scaled(&self) -> Vec<f64> {
        let low = self.values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = self.values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let range = (high - low).max(1e-12);
        self.values.iter().map(|value| (value - low) / range).collect()
    }
}

impl Occlusion {
    fn validate(&self, pixels: usize) -> Result<()> {
        if !(2..=pixels).contains(&self.grid) {
            return Err(Error::setting("grid", format!("2..={pixels}"), self.grid));
        }
        if !(1..=self.grid).contains(&self.window) {
            return Err(Error::setting("window", format!("1..={}", self.grid), self.window));
        }
        Ok(())
    }

    /// Covers one window after the other with the mean colour and says how much of the logit of `class` over the largest
    /// other one each part holds up: the mean of what is lost under the windows that cover it (Zeiler and Fergus, 2014,
    /// <https://arxiv.org/abs/1311.2901>).
    ///
    /// It assumes nothing about the backbone or the model, takes some 81 images' time, and is what a map of patches is to be
    /// held against.
    ///
    /// # Errors
    /// [`Error::Setting`] for a setting out of range or a class that is none; [`Error::Read`], [`Error::Image`] for an image
    /// that cannot be read; [`Error::Unsupported`] for a model of features before the projection; [`Error::Dim`] for one of
    /// another backbone.
    ///
    /// # Examples
    /// ```
    /// use clip_adapter::{explain::Occlusion, methods::FittedZeroShot, prelude::*};
    ///
    /// # let pocket = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/pocket");
    /// let clip = ClipBackbone::from_pretrained(format!("{pocket}/model"), &Device::flex())?;
    /// let classes = clip.text_classifier(&["car", "apple"], &Prompts::default())?;
    /// let model = FittedZeroShot::new(&classes, clip.device());
    /// let car = std::path::PathBuf::from(format!("{pocket}/images/icon-colour/vehicles/car.png"));
    /// let heat = Occlusion::default().map(&clip, &model, &car, 0)?;
    /// assert_eq!(heat.values.len(), 49);
    /// # Ok::<(), clip_adapter::Error>(())
    /// ```
    pub fn map(
        &self,
        clip: &ClipBackbone,
        model: &dyn Classifier,
        image: &impl ImageInput,
        class: usize,
    ) -> Result<HeatMap> {
        check_class(model, class)?;
        let preprocess = clip.preprocess();
        let pixels = preprocess.pixels(&preprocess.decode(image)?)?;
        let side = preprocess.crop;
        self.validate(side)?;
        // Windows start before the edges too, so that all parts are covered equally often.
        let reach = self.window - 1;
        let starts: Vec<(usize, usize)> = (0..self.grid + reach)
            .flat_map(|top| (0..self.grid + reach).map(move |left| (top, left)))
            .collect();
        let covers = |(top, left): (usize, usize), row: usize, column: usize| {
            (row..=row + reach).contains(&top) && (column..=column + reach).contains(&left)
        };
        let mut values = pixels.clone();
        for &start in &starts {
            let covered = |at: usize| {
                let (row, column) = (at % (side * side) / side, at % side);
                covers(start, row * self.grid / side, column * self.grid / side)
            };
            // 0 is the mean colour of preprocessed pixels.
            values
                .extend(pixels.iter().enumerate().map(|(at, &value)| if covered(at) { 0.0 } else { value }));
        }
        let shape = [1 + starts.len(), 3, side, side];
        let images = Tensor::from_data(TensorData::new(values, shape), clip.device());
        let margins = margins(model, clip.image_embeddings(images), class)?;
        let part = |at: usize| {
            let (row, column) = (at / self.grid, at % self.grid);
            let under = starts.iter().zip(&margins[1..]).filter(|(start, _)| covers(**start, row, column));
            under.map(|(_, margin)| margins[0] - margin).sum::<f64>() / (self.window * self.window) as f64
        };
        Ok(HeatMap { side: self.grid, class, values: (0..self.grid * self.grid).map(part).collect() })
    }
}

/// Asks a model about every patch of an image as if it were one: the logit of `class` over the largest other one.
///
/// A patch is what the class token has to take of it, see [`ClipBackbone::patch_embeddings`]. In one pass, but CLIP was never
/// taught what a patch says, and the numbers do not add up to what is said of the image. Of four things side by side, made of
/// the pocket model's pictures, the heaviest quarter of the map of a name is that of the thing in 65 % of 192 cases, and for
/// [`Occlusion`] in 47 %; by chance it is in 25 %. Look at both.
///
/// # Errors
/// As [`Occlusion::map`]; [`Error::Unsupported`] if the image tower is a ResNet.
///
/// # Examples
/// ```
/// use clip_adapter::{explain::patch_heat, methods::FittedZeroShot, prelude::*};
///
/// # let pocket = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/pocket");
/// let clip = ClipBackbone::from_pretrained(format!("{pocket}/model"), &Device::flex())?;
/// let classes = clip.text_classifier(&["car", "apple"], &Prompts::default())?;
/// let model = FittedZeroShot::new(&classes, clip.device());
/// let car = std::path::PathBuf::from(format!("{pocket}/images/icon-colour/vehicles/car.png"));
/// let heat = patch_heat(&clip, &model, &car, 0)?;
/// assert_eq!((heat.side, heat.values.len()), (6, 36)); // patches of 8 of 48 pixels
/// # Ok::<(), clip_adapter::Error>(())
/// ```
pub fn patch_heat(
    clip: &ClipBackbone,
    model: &dyn Classifier,
    image: &impl ImageInput,
    class: usize,
) -> Result<HeatMap> {
    check_class(model, class)?;
    let preprocess = clip.preprocess();
    let pixels = preprocess.pixels(&preprocess.decode(image)?)?;
    let shape = [1, 3, preprocess.crop, preprocess.crop];
    let pixels = Tensor::from_data(TensorData::new(pixels, shape), clip.device());
    let patches = clip.patch_embeddings(pixels)?;
    let [_, count, dim] = patches.dims();
    let values = margins(model, patches.reshape([count, dim]), class)?;
    Ok(HeatMap { side: count.isqrt(), class, values })
}

fn check_class(model: &dyn Classifier, class: usize) -> Result<()> {
    check_width(model)?;
    let classes = model.classes().class_names().len();
    if class < classes {
        return Ok(());
    }
    Err(Error::setting("class of a heat map", format!("below {classes}"), class))
}

/// The logit of a class less the largest other one, of every row.
fn margins(model: &dyn Classifier, embeddings: Tensor<2>, class: usize) -> Result<Vec<f64>> {
    let dim = embeddings.dims()[1];
    let values = embeddings.try_into_vec_as::<f32>();
    let values = values.map_err(|error| Error::execution("encoding parts of an image", error))?;
    let logits = on_host(&model.score(&Embeddings::new(values, dim)?)?);
    Ok((0..logits.nrows()).map(|row| margin(&logits, row, class)).collect())
}
