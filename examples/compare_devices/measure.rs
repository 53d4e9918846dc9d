//! What is measured on every device.

use std::{fmt, path::PathBuf, time::Instant};

use burn::tensor::{Device, Tensor, TensorData};
use clip_adapter::{
    Classifier, ClipBackbone, DeviceSpec, Error, FeatureSet, Method, Result, Run, Support, TextClassifier,
    ZeroShot, backbone::Precision, features::Embeddings, train::AnyMethod,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::cli::task::{rows, task};

/// Images whose embeddings are compared with Flex's.
const COMPARED: usize = 8;

/// The work, the same on every device.
pub struct Work {
    backbone: PathBuf,
    precision: Precision,
    batch: usize,
    batches: usize,
    method: Box<dyn AnyMethod>,
    support: Support,
    classes: TextClassifier,
    unseen: Embeddings,
    many: FeatureSet,
    many_classes: TextClassifier,
}

/// Flex's numbers.
pub struct Reference {
    embeddings: Vec<f32>,
    logits: Vec<f32>,
}

/// One device.
#[derive(Serialize)]
pub struct Row {
    device: String,
    encoded_per_second: f64,
    fit_seconds: f64,
    scored_per_second: f64,
    embeddings_differ: f64,
    logits_differ: f64,
}

impl Row {
    pub const HEADER: &str = "\
        | device | encode, images/s | fit, s | evaluate, images/s | embeddings differ by | logits differ by |\n\
        | --- | ---: | ---: | ---: | ---: | ---: |";
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "| `{}` | {:.1} | {:.2} | {:.0} | {:.1e} | {:.1e} |",
            self.device,
            self.encoded_per_second,
            self.fit_seconds,
            self.scored_per_second,
            self.embeddings_differ,
            self.logits_differ
        )
    }
}

impl Work {
    /// Fits 16 shots of 19 classes, and scores 10,000 images of 1,000.
    pub fn new(
        backbone: PathBuf,
        precision: Precision,
        [batch, batches]: [usize; 2],
        method: Box<dyn AnyMethod>,
    ) -> Self {
        let (set, classes) = task(16 * 19, 19);
        let (many, many_classes) = task(10_000, 1000);
        let support = Support::new(set).expect("images");
        let unseen = rows(1000, 3);
        Self { backbone, precision, batch, batches, method, support, classes, unseen, many, many_classes }
    }

    /// What Flex computes, in f32.
    pub fn reference(&self) -> Result<Reference> {
        let device = DeviceSpec::Flex.open()?;
        let clip = ClipBackbone::from_pretrained(&self.backbone, &device)?;
        let embeddings = host(clip.image_embeddings(self.pixels(&clip, COMPARED.min(self.batch), &device)))?;
        Ok(Reference { embeddings, logits: self.logits(&*self.fit(&device)?)? })
    }

    pub fn measure(&self, spec: DeviceSpec, reference: &Reference) -> Result<Row> {
        let device = spec.open()?;
        let (encoded_per_second, embeddings) = self.encode(&device)?;
        let (fit_seconds, model) = better_of_two(|| self.fit(&device))?;
        let logits = self.logits(&*model)?;
        let one = Support::new(self.many.select(&[0]))?;
        let zero_shot = ZeroShot::default().fit(&one, &self.many_classes, &device)?;
        let test = self.many.clone().into_test_set();
        let (seconds, _) = better_of_two(|| zero_shot.evaluate(&test))?;
        let compared = &embeddings[..reference.embeddings.len()];
        Ok(Row {
            device: spec.to_string(),
            encoded_per_second,
            fit_seconds,
            scored_per_second: self.many.len() as f64 / seconds,
            embeddings_differ: difference(compared, &reference.embeddings),
            logits_differ: difference(&logits, &reference.logits),
        })
    }

    /// Images a second, and the embeddings of a batch. Every batch is read back, as when features are stored.
    fn encode(&self, device: &Device) -> Result<(f64, Vec<f32>)> {
        let clip = ClipBackbone::from_pretrained(&self.backbone, device)?.with_precision(self.precision)?;
        let pixels = self.pixels(&clip, self.batch, device);
        let embeddings = host(clip.image_embeddings(pixels.clone()))?;
        let start = Instant::now();
        for _ in 0..self.batches {
            host(clip.image_embeddings(pixels.clone()))?;
        }
        Ok(((self.batch * self.batches) as f64 / start.elapsed().as_secs_f64(), embeddings))
    }

    /// Random pixels; the first images are the same in every batch size.
    fn pixels(&self, clip: &ClipBackbone, images: usize, device: &Device) -> Tensor<4> {
        let shape = [images, 3, clip.config().vision.image_size, clip.config().vision.image_size];
        let mut random = ChaCha8Rng::seed_from_u64(4);
        let values: Vec<f32> =
            (0..shape.iter().product::<usize>()).map(|_| random.random_range(-2.0..2.0)).collect();
        Tensor::from_data(TensorData::new(values, shape), device)
    }

    fn fit(&self, device: &Device) -> Result<Box<dyn Classifier>> {
        self.method.fit_any(&self.support, &self.classes, &mut Run::new(device))
    }

    fn logits(&self, model: &dyn Classifier) -> Result<Vec<f32>> {
        Ok(model.score(&self.unseen)?.rows().flatten().copied().collect())
    }
}

/// The first may compile kernels.
fn better_of_two<T>(mut work: impl FnMut() -> Result<T>) -> Result<(f64, T)> {
    let mut timed = || {
        let start = Instant::now();
        let done = work()?;
        Ok::<_, Error>((start.elapsed().as_secs_f64(), done))
    };
    let ((first, _), (second, done)) = (timed()?, timed()?);
    Ok((first.min(second), done))
}

fn host(tensor: Tensor<2>) -> Result<Vec<f32>> {
    tensor.try_into_vec_as().map_err(|error| Error::execution("encoding", error))
}

/// The largest difference, relative to the largest value; NaN if there is a NaN.
fn difference(found: &[f32], expected: &[f32]) -> f64 {
    let largest = expected.iter().map(|value| f64::from(value.abs())).fold(0.0, f64::max);
    let differences = found.iter().zip(expected).map(|(a, b)| f64::from((a - b).abs()));
    differences.fold(0.0, |max: f64, value| if value.is_nan() { value } else { max.max(value) }) / largest
}
