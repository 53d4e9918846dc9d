//! Compares a checkpoint's outputs with those of a reference implementation, stage by stage: what to run before
//! trusting a new checkpoint. Ends with status 1 if a stage differs by more than its tolerance.
//!
//! The reference's file holds, of the images and texts beside it, `pixel_values`, `image_embeds`, `input_ids`,
//! `text_embeds` and optionally `logits_per_image`; `tests/golden/export.py` writes such files with transformers and
//! open_clip.
//!
//! ```text
//! cargo run --release --example verify_backbone -- --backbone tests/golden/openclip_vit \
//!     --expected tests/golden/openclip_vit/expected.safetensors --images tests/golden/images
//! ```

mod cli;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use burn::tensor::{Device, Tensor, TensorData};
use clap::Parser;
use clip_adapter::{ClipBackbone, DeviceSpec, Error, Result, input::read_texts};
use safetensors::{Dtype, SafeTensors};

/// Largest difference of embeddings from the reference's own pixels and ids, relative to the largest value.
const EMBEDDINGS: f64 = 1e-4;

/// Mean difference of an image's pixels, normalised.
const PIXELS: f64 = 0.01;

/// Share of a losslessly stored image's pixels that may differ at all.
const DIFFERING: f64 = 0.02;

/// Smallest cosine from files to embeddings; of a JPEG file, which decoders round differently.
const COSINE: [f64; 2] = [0.9999, 0.9998];

/// Compares a checkpoint's outputs with those of a reference implementation, stage by stage.
#[derive(Parser)]
struct Arguments {
    /// A CLIP in the layout of Hugging Face or open_clip; with the feature `hub` also ORG/NAME
    #[arg(long, value_name = "DIR")]
    backbone: PathBuf,
    /// What the reference computed, a safetensors file
    #[arg(long, value_name = "FILE")]
    expected: PathBuf,
    /// The images, in alphabetical order; `images` beside the expected file where there is such a folder
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// The texts; `texts.json` beside the expected file where there is one
    #[arg(long, value_name = "FILE")]
    texts: Option<PathBuf>,
    /// Where to compute
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceSpec::default())]
    device: DeviceSpec,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut sound = true;
    let status = cli::run(|| {
        sound = verify(&arguments)?;
        Ok(())
    });
    if sound { status } else { ExitCode::from(1) }
}

/// One stage's outcome.
struct Stage {
    name: &'static str,
    found: String,
    sound: bool,
}

fn verify(arguments: &Arguments) -> Result<bool> {
    let device = arguments.device.open()?;
    let clip = ClipBackbone::from_pretrained(&arguments.backbone, &device)?;
    let expected = Expected::read(&arguments.expected)?;
    println!("{}", clip.identity());

    let mut stages = Vec::new();
    match arguments.beside(&arguments.texts, "texts.json") {
        Some(texts) => stages.extend(check_texts(&clip, &expected, &read_texts(texts)?)?),
        None => println!("no texts given: token ids and text embeddings are not compared"),
    }
    stages.push(check_image_tower(&clip, &expected, &device)?);
    match arguments.beside(&arguments.images, "images") {
        Some(folder) => stages.extend(check_images(&clip, &expected, &files(&folder)?)?),
        None => println!("no images given: pixels are not compared"),
    }
    stages.extend(check_logit_scale(&clip, &expected)?);
    for Stage { name, found, sound } in &stages {
        println!("{:<6} {name:<42} {found}", if *sound { "ok" } else { "WRONG" });
    }
    Ok(stages.iter().all(|stage| stage.sound))
}

impl Arguments {
    /// What was given, or what lies beside the expected file under the usual name.
    fn beside(&self, given: &Option<PathBuf>, usual: &str) -> Option<PathBuf> {
        given.clone().or_else(|| Some(self.expected.with_file_name(usual)).filter(|path| path.exists()))
    }
}

fn check_texts(clip: &ClipBackbone, expected: &Expected, texts: &[String]) -> Result<Vec<Stage>> {
    let (ids, _) = expected.integers("input_ids")?;
    let found: Vec<i64> = clip.tokenizer().encode(texts)?.ids.iter().flatten().map(|&id| id.into()).collect();
    expected.check_count("input_ids", ids.len(), found.len())?;
    let differing = ids.iter().zip(&found).filter(|(a, b)| a != b).count();
    let tokens = Stage {
        name: "token ids",
        found: format!("{differing} of {} differ", ids.len()),
        sound: differing == 0,
    };
    let (embeddings, _) = expected.floats("text_embeds")?;
    let found = clip.encode_texts(texts)?;
    expected.check_count("text_embeds", embeddings.len(), found.values().len())?;
    Ok(vec![tokens, within("text embeddings", relative(found.values(), &embeddings))])
}

fn check_image_tower(clip: &ClipBackbone, expected: &Expected, device: &Device) -> Result<Stage> {
    let (pixels, shape) = expected.floats("pixel_values")?;
    let side = clip.preprocess().crop;
    if shape.len() != 4 || shape[0] == 0 || shape[1..] != [3, side, side] {
        return Err(expected.malformed("pixel_values", format!("[images, 3, {side}, {side}]"), &shape));
    }
    let shape = [shape[0], 3, side, side];
    let embeddings = clip.image_embeddings(Tensor::from_data(TensorData::new(pixels, shape), device));
    let found = host(embeddings)?;
    let (embeddings, _) = expected.floats("image_embeds")?;
    expected.check_count("image_embeds", embeddings.len(), found.len())?;
    Ok(within("image embeddings of the reference's pixels", relative(&found, &embeddings)))
}

fn check_images(clip: &ClipBackbone, expected: &Expected, files: &[PathBuf]) -> Result<Vec<Stage>> {
    let (pixels, shape) = expected.floats("pixel_values")?;
    expected.check_count("pixel_values", shape[0], files.len())?;
    let (embeddings, _) = expected.floats("image_embeds")?;
    let found = clip.encode_images(files)?;
    let (mut largest_mean, mut most_differing, mut sound) = (0.0f64, 0.0f64, true);
    let (mut smallest_cosine, mut close) = (1.0f64, true);
    for (row, file) in files.iter().enumerate() {
        let pixels = &pixels[row * pixels.len() / files.len()..][..pixels.len() / files.len()];
        let image = clip.preprocess().pixels(&clip.preprocess().decode(file)?)?;
        let differences = image.iter().zip(pixels).map(|(a, b)| f64::from((a - b).abs()));
        let mean = differences.clone().sum::<f64>() / pixels.len() as f64;
        let differing =
            differences.filter(|difference| *difference > 1e-3).count() as f64 / pixels.len() as f64;
        let cosine = cosine(found.row(row), &embeddings[row * found.dim()..][..found.dim()]);
        let is_jpeg = file.extension().is_some_and(|ending| ending == "jpg" || ending == "jpeg");
        largest_mean = largest_mean.max(mean);
        most_differing = most_differing.max(if is_jpeg { 0.0 } else { differing });
        smallest_cosine = smallest_cosine.min(cosine);
        sound &= mean <= PIXELS && (is_jpeg || differing <= DIFFERING);
        close &= cosine >= COSINE[usize::from(is_jpeg)];
    }
    let share = 100.0 * most_differing;
    let pixels =
        format!("mean difference {largest_mean:.1e} or less, {share:.2} % or less differ (JPEG aside)");
    let cosine = format!("smallest cosine {smallest_cosine:.6}");
    Ok(vec![
        Stage { name: "pixels", found: pixels, sound },
        Stage { name: "image embeddings from files", found: cosine, sound: close },
    ])
}

/// The scale that the reference's logits imply: the one that turns its cosines into them with the least error.
fn check_logit_scale(clip: &ClipBackbone, expected: &Expected) -> Result<Option<Stage>> {
    if !expected.holds("logits_per_image")? {
        return Ok(None);
    }
    let (logits, shape) = expected.floats("logits_per_image")?;
    let (images, _) = expected.floats("image_embeds")?;
    let (texts, _) = expected.floats("text_embeds")?;
    let dim = clip.config().embed_dim;
    expected.check_count("logits_per_image", (images.len() / dim) * (texts.len() / dim), logits.len())?;
    let cosines = images.chunks(dim).flat_map(|image| texts.chunks(dim).map(move |text| cosine(image, text)));
    let (mut product, mut square) = (0.0, 0.0);
    for (cosine, logit) in cosines.zip(&logits) {
        product += cosine * f64::from(*logit);
        square += cosine * cosine;
    }
    let (implied, found) = (product / square, clip.logit_scale());
    let sound = (implied - found).abs() <= 1e-3 * implied.abs();
    let found = format!("{found:.4}, implied by {shape:?} logits {implied:.4}");
    Ok(Some(Stage { name: "logit scale", found, sound }))
}

fn within(name: &'static str, difference: f64) -> Stage {
    let found = format!("largest difference {difference:.1e} of the largest value");
    Stage { name, found, sound: difference <= EMBEDDINGS }
}

/// Largest difference, relative to the largest value.
fn relative(found: &[f32], expected: &[f32]) -> f64 {
    let largest = expected.iter().map(|value| f64::from(value.abs())).fold(0.0, f64::max);
    let differences = found.iter().zip(expected).map(|(a, b)| f64::from((a - b).abs()));
    differences.fold(0.0, f64::max) / largest
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn host(tensor: Tensor<2>) -> Result<Vec<f32>> {
    let values = tensor.try_into_vec_as::<f32>();
    values.map_err(|error| Error::execution("encoding", error))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |source| Error::read(folder, source);
    let entries = fs::read_dir(folder).map_err(failed)?;
    let mut files =
        entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>().map_err(failed)?;
    files.sort();
    Ok(files)
}

/// The reference's file.
struct Expected {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Expected {
    fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(|source| Error::read(path, source))?;
        Ok(Self { path: path.into(), bytes })
    }

    fn malformed(&self, part: &str, expected: impl Into<String>, found: impl std::fmt::Debug) -> Error {
        Error::malformed(&self.path, part, expected.into(), format!("{found:?}"))
    }

    fn tensors(&self) -> Result<SafeTensors<'_>> {
        SafeTensors::deserialize(&self.bytes)
            .map_err(|error| self.malformed("header", "a whole safetensors file", error.to_string()))
    }

    fn holds(&self, name: &str) -> Result<bool> {
        Ok(self.tensors()?.names().contains(&name))
    }

    fn bytes(&self, name: &str, dtype: Dtype) -> Result<(Vec<u8>, Vec<usize>)> {
        let tensors = self.tensors()?;
        let view = tensors.tensor(name).map_err(|_| self.malformed(name, "a tensor", "none"))?;
        if view.dtype() != dtype {
            return Err(self.malformed(name, format!("{dtype:?}"), view.dtype()));
        }
        Ok((view.data().to_vec(), view.shape().to_vec()))
    }

    fn floats(&self, name: &str) -> Result<(Vec<f32>, Vec<usize>)> {
        let (bytes, shape) = self.bytes(name, Dtype::F32)?;
        Ok((bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(), shape))
    }

    fn integers(&self, name: &str) -> Result<(Vec<i64>, Vec<usize>)> {
        let (bytes, shape) = self.bytes(name, Dtype::I64)?;
        Ok((bytes.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect(), shape))
    }

    /// That as many values or rows are there as are compared with them.
    fn check_count(&self, name: &str, count: usize, compared: usize) -> Result<()> {
        if count == compared {
            return Ok(());
        }
        Err(self.malformed(name, format!("{compared}, as many as are compared with them"), count))
    }
}
