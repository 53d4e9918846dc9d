//! A picture that is moved uphill: steps along the slope of the score with respect to its pixels.

use std::path::Path;

use clip_adapter::{
    Error, Result,
    backbone::TrainableClip,
    burn::tensor::{Device, Tensor},
    input::Preprocess,
    tasks::generation::pixel_slopes,
};
use image::{ImageFormat, RgbImage};

use crate::{candidates::Candidates, cli::files};

/// How far a step goes: the mean change of a preprocessed pixel, of which black and white are about 4 apart.
const RATE: f64 = 0.02;

/// What steering did.
pub struct Steered {
    pub index: usize,
    /// The score before each step, and in the end.
    pub scores: Vec<f32>,
    pub before: RgbImage,
    pub after: RgbImage,
}

pub fn run(
    path: &Path,
    candidates: &Candidates,
    index: usize,
    steps: usize,
    device: &Device,
) -> Result<Steered> {
    let preprocess = candidates.clip.preprocess();
    let start = preprocess.load(&[&candidates.files[index]], device)?;
    let tower = TrainableClip::from_pretrained(&candidates.backbone, device)?;
    let (mut pixels, mut scores) = (start.clone(), Vec::new());
    for step in 0..=steps {
        let slopes = pixel_slopes(
            &*candidates.model,
            |pixels| tower.image_embeddings(pixels),
            pixels.clone(),
            candidates.class,
        )?;
        scores.extend(slopes.scores);
        if step < steps {
            let size = slopes.values.clone().abs().mean().clamp_min(1e-12).reshape([1, 1, 1, 1]);
            let moved = pixels + (slopes.values / size).mul_scalar(RATE);
            pixels = within(moved, preprocess);
        }
    }
    let [before, after] = [picture(start, preprocess)?, picture(pixels, preprocess)?];
    let mut png = std::io::Cursor::new(Vec::new());
    after.write_to(&mut png, ImageFormat::Png).map_err(|error| Error::image(path, error.to_string()))?;
    files::write(path, png.into_inner())?;
    Ok(Steered { index, scores, before, after })
}

/// No pixel is darker than black or brighter than white.
fn within(pixels: Tensor<4>, preprocess: &Preprocess) -> Tensor<4> {
    let channels = (0..3).map(|channel| {
        let edge =
            |value: f64| (value - f64::from(preprocess.mean[channel])) / f64::from(preprocess.std[channel]);
        pixels.clone().narrow(1, channel, 1).clamp(edge(0.0), edge(1.0))
    });
    Tensor::cat(channels.collect(), 1)
}

/// Pixels as they were before they were preprocessed.
fn picture(pixels: Tensor<4>, preprocess: &Preprocess) -> Result<RgbImage> {
    let [_, _, height, width] = pixels.dims();
    let values = pixels.try_into_vec_as::<f32>().map_err(|error| Error::execution("steering", error))?;
    let byte = |channel: usize, at: usize| {
        let value =
            values[channel * height * width + at] * preprocess.std[channel] + preprocess.mean[channel];
        (255.0 * value).round().clamp(0.0, 255.0) as u8
    };
    let bytes: Vec<u8> = (0..height * width)
        .flat_map(|at| (0..3).map(move |channel| (channel, at)))
        .map(|(c, at)| byte(c, at))
        .collect();
    RgbImage::from_raw(width as u32, height as u32, bytes)
        .ok_or_else(|| Error::data("steered picture", "whole rows of pixels", "others"))
}
