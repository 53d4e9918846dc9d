//! What a model knows: zero-shot accuracy over Unicode's sub-groups, and finding a picture by its emoji's name.

use std::fmt;

use burn::{
    module::Module,
    tensor::{Device, Tensor, TensorData},
};
use clip_adapter::{Error, Result, backbone::TrainableClip, features::normalise, input::Tokenizer};
use image::{Rgb, RgbImage, RgbaImage};
use serde::Serialize;

use crate::corpus::Corpus;

/// The classes of the zero-shot test: sub-groups whose members look alike.
pub const CLASSES: [&str; 30] = [
    "mammal",
    "bird",
    "bug",
    "sea animal",
    "reptile",
    "fruit",
    "vegetable",
    "meal",
    "sweet food",
    "drink",
    "flower",
    "plant",
    "building",
    "land vehicle",
    "aircraft",
    "boat",
    "clothing",
    "musical instrument",
    "tool",
    "sky and weather",
    "clock",
    "heart",
    "arrow",
    "sport equipment",
    "person doing sport",
    "person at work",
    "hand",
    "smiling face",
    "book or paper",
    "office supplies",
];

const TEMPLATES: [&str; 4] = ["{}", "a {} emoji", "an icon of a {}", "a picture of a {}"];

/// Images and texts encoded at once.
const BATCH: usize = 128;

/// How well one style's pictures are recognised and found, in percent.
#[derive(Debug, Default, Serialize)]
pub struct Score {
    pub style: String,
    pub pictures: usize,
    /// Pictures of one of the classes.
    pub classified: usize,
    /// Zero-shot top-1 over the classes.
    pub zero_shot: f64,
    /// Names whose picture is the nearest of the style's.
    pub recall_1: f64,
    /// Names whose picture is among the ten nearest.
    pub recall_10: f64,
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { style, pictures, classified, zero_shot, recall_1, recall_10 } = self;
        write!(
            f,
            "{style:<14} zero-shot {zero_shot:5.1} % of {classified}, recall@1 {recall_1:5.1} %, \
             recall@10 {recall_10:5.1} % of {pictures}"
        )
    }
}

/// Scores all pictures of every style of the corpus.
pub fn every_style(model: &TrainableClip, corpus: &Corpus, tokenizer: &Tokenizer) -> Result<Vec<Score>> {
    (0..corpus.styles.len()).map(|style| score(model, corpus, tokenizer, style, |_| true)).collect()
}

/// Scores the pictures of one style whose emoji are `wanted`.
pub fn score(
    model: &TrainableClip,
    corpus: &Corpus,
    tokenizer: &Tokenizer,
    style: usize,
    wanted: impl Fn(usize) -> bool,
) -> Result<Score> {
    let (model, device) = inference(model);
    let emoji: Vec<usize> = (0..corpus.emoji.len())
        .filter(|&emoji| wanted(emoji) && corpus.picture(style, emoji).is_some())
        .collect();
    if emoji.is_empty() {
        return Ok(Score { style: corpus.styles[style].name.clone(), ..Default::default() });
    }
    let pictures: Vec<&RgbaImage> = emoji.iter().filter_map(|&emoji| corpus.picture(style, emoji)).collect();
    let names: Vec<&str> = emoji.iter().map(|&emoji| corpus.emoji[emoji].name.as_str()).collect();
    let images = images(&model, &pictures, &device)?;
    let found = ranks(images.clone(), texts(&model, tokenizer, &names)?)?;
    let classes = classifier(&model, tokenizer)?;
    let predictions = rows(images.matmul(classes.transpose()))?;
    let mut right = [0, 0];
    for (row, &emoji) in predictions.iter().zip(&emoji) {
        let kind = corpus.emoji[emoji].subgroup.as_str();
        if let Some(class) = CLASSES.iter().position(|&name| name == kind) {
            let best = (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]));
            right[0] += usize::from(best == Some(class));
            right[1] += 1;
        }
    }
    let percent = |part: usize, whole: usize| 100.0 * part as f64 / whole.max(1) as f64;
    let within = |count: usize| found.iter().filter(|&&rank| rank < count).count();
    Ok(Score {
        style: corpus.styles[style].name.clone(),
        pictures: emoji.len(),
        classified: right[1],
        zero_shot: percent(right[0], right[1]),
        recall_1: percent(within(1), emoji.len()),
        recall_10: percent(within(10), emoji.len()),
    })
}

/// The model as it stands, without a graph, and the device it is on.
fn inference(model: &TrainableClip) -> (TrainableClip, Device) {
    let model = model.valid();
    let device = model.devices().into_iter().next().unwrap_or_default().without_autodiff();
    (model, device)
}

/// Normalised embeddings of pictures on white.
fn images(model: &TrainableClip, pictures: &[&RgbaImage], device: &Device) -> Result<Tensor<2>> {
    let preprocess = model.preprocess();
    let side = preprocess.crop;
    let mut parts = Vec::new();
    for pictures in pictures.chunks(BATCH) {
        let mut values = Vec::with_capacity(pictures.len() * 3 * side * side);
        for picture in pictures {
            values.extend(preprocess.pixels(&on_white(picture))?);
        }
        let pixels = TensorData::new(values, [pictures.len(), 3, side, side]);
        parts.push(normalise(model.image_embeddings(Tensor::from_data(pixels, device))));
    }
    Ok(Tensor::cat(parts, 0))
}

/// A transparent picture as a file without transparency has it.
pub fn on_white(picture: &RgbaImage) -> RgbImage {
    let (width, height) = picture.dimensions();
    RgbImage::from_fn(width, height, |x, y| {
        let [red, green, blue, alpha] = picture.get_pixel(x, y).0.map(u32::from);
        Rgb([red, green, blue].map(|value| ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8))
    })
}

/// Normalised embeddings of sentences.
fn texts(model: &TrainableClip, tokenizer: &Tokenizer, texts: &[impl AsRef<str>]) -> Result<Tensor<2>> {
    let parts = texts
        .chunks(BATCH)
        .map(|texts| Ok(normalise(model.text_embeddings(&tokenizer.encode(texts)?))))
        .collect::<Result<Vec<_>>>()?;
    Ok(Tensor::cat(parts, 0))
}

/// Every class as the normalised mean of its prompts.
fn classifier(model: &TrainableClip, tokenizer: &Tokenizer) -> Result<Tensor<2>> {
    let mut sum: Option<Tensor<2>> = None;
    for template in TEMPLATES {
        let prompts = CLASSES.map(|name| template.replace("{}", name));
        let prompts = texts(model, tokenizer, &prompts)?;
        sum = Some(match sum {
            None => prompts,
            Some(sum) => sum + prompts,
        });
    }
    sum.map(normalise).ok_or_else(|| Error::data("templates", "one or more", "none"))
}

/// For every name, how many pictures are nearer than its own.
fn ranks(images: Tensor<2>, names: Tensor<2>) -> Result<Vec<usize>> {
    let rows = rows(names.matmul(images.transpose()))?;
    let ranks = rows.iter().enumerate().map(|(own, row)| {
        // What is as near as the own picture counts as nearer, or a constant model would find everything.
        row.iter().filter(|&&similarity| similarity >= row[own]).count() - 1
    });
    Ok(ranks.collect())
}

fn rows(matrix: Tensor<2>) -> Result<Vec<Vec<f32>>> {
    let [_, columns] = matrix.dims();
    let values = matrix.try_into_vec_as::<f32>().map_err(|error| Error::execution("scoring", error))?;
    Ok(values.chunks_exact(columns).map(<[f32]>::to_vec).collect())
}
