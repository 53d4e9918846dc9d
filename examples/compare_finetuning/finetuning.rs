//! Full fine-tuning: the image tower and a linear classifier that starts at the text classifier, both trained; the
//! text tower stays as it is.

use std::{
    f64::consts::PI,
    path::{Path, PathBuf},
};

use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::{AdamWConfig, GradientsParams, ModuleOptimizer},
    tensor::{Device, Tensor, TensorData, activation::log_softmax},
};
use clip_adapter::{
    Error, Result, TextClassifier,
    backbone::TrainableClip,
    evaluate::Logits,
    features::{contrastive_logits, normalise},
    input::{Augment, Preprocess},
};
use image::RgbImage;
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

/// Images of a step.
const BATCH: usize = 32;

/// Images scored at once.
const BLOCK: usize = 64;

/// The part of the steps over which the rate rises; then it falls as a cosine.
const WARM_UP: f64 = 0.1;

/// AdamW's, on every parameter that trains.
const WEIGHT_DECAY: f32 = 0.05;

/// PyTorch's default; Burn's is 1e-5.
const EPSILON: f32 = 1e-8;

/// How to fine-tune. Every view is drawn anew: a crop, perhaps mirrored.
pub struct FineTuning<'a> {
    /// The checkpoint to start from.
    pub checkpoint: &'a Path,
    /// What the classifier starts at, and the logit scale, which does not train.
    pub classes: &'a TextClassifier,
    /// The largest learning rate.
    pub rate: f64,
    pub epochs: usize,
    /// Fixes the order of the images and their views.
    pub seed: u64,
    pub device: &'a Device,
}

/// A tower and a classifier that train together.
#[derive(Module, Debug)]
struct Net {
    clip: TrainableClip,
    classes: Param<Tensor<2>>, // [classes, dim]
    #[module(skip)]
    scale: f64,
}

impl Net {
    /// `[batch, 3, side, side]` to `[batch, classes]`: the cosines that CLIP itself classifies by, times its scale.
    fn logits(&self, pixels: Tensor<4>) -> Tensor<2> {
        let images = normalise(self.clip.image_embeddings(pixels));
        contrastive_logits(images, normalise(self.classes.val()), self.scale)
    }
}

/// A fine-tuned CLIP.
pub struct Tuned {
    net: Net,
    device: Device,
    /// Numbers that were trained.
    pub parameters: usize,
}

impl FineTuning<'_> {
    /// Trains on these images.
    pub fn fit(&self, files: &[PathBuf], labels: &[usize]) -> Result<Tuned> {
        let device = self.device.clone().autodiff();
        let clip = TrainableClip::from_pretrained(self.checkpoint, &device)?;
        let preprocess = clip.preprocess().clone();
        let images = files.iter().map(|file| preprocess.decode(file)).collect::<Result<Vec<_>>>()?;
        let classes = Param::from_tensor(self.classes.tensor(&device));
        let mut net = Net { clip, classes, scale: self.classes.logit_scale() };
        let mut optimiser: ModuleOptimizer =
            AdamWConfig::new().with_epsilon(EPSILON).with_weight_decay(WEIGHT_DECAY).init();
        let mut parameters = 0;
        let steps = self.epochs * images.len().div_ceil(BATCH);
        let mut step = 0;
        for epoch in 0..self.epochs {
            let order = self.order(images.len(), epoch);
            for rows in order.chunks(BATCH) {
                let pixels = self.views(&images, rows, epoch, &preprocess, &device)?;
                let targets = self.targets(labels, rows, &device);
                let loss = (log_softmax(net.logits(pixels), 1) * targets).sum_dim(1).mean().neg();
                let number = loss.clone().try_into_scalar::<f32>().map_err(failed("fine-tuning"))?;
                if !number.is_finite() {
                    return Err(Error::Diverged { epoch: epoch + 1, loss: number.into() });
                }
                let gradients = GradientsParams::from_grads(loss.backward(), &net);
                if step == 0 {
                    parameters = trained(&net, &gradients);
                }
                net = optimiser.step(self.rate_at(step, steps), net, gradients);
                step += 1;
            }
        }
        Ok(Tuned { net: net.valid(), device: self.device.clone(), parameters })
    }

    fn order(&self, count: usize, epoch: usize) -> Vec<usize> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        random.set_stream(epoch as u64);
        let mut order: Vec<usize> = (0..count).collect();
        order.shuffle(&mut random);
        order
    }

    fn views(
        &self,
        images: &[RgbImage],
        rows: &[usize],
        epoch: usize,
        preprocess: &Preprocess,
        device: &Device,
    ) -> Result<Tensor<4>> {
        let augment = Augment { scale: [0.7, 1.0], ratio: [0.9, 1.1], flip: 0.5 };
        let side = preprocess.crop;
        let mut values = Vec::with_capacity(rows.len() * 3 * side * side);
        for &row in rows {
            let view = augment.draw(images[row].dimensions(), self.seed, row as u64, epoch as u64)?;
            values.extend(preprocess.view(&images[row], &view)?);
        }
        Ok(Tensor::from_data(TensorData::new(values, [rows.len(), 3, side, side]), device))
    }

    /// One-hot labels: `[rows, classes]`.
    fn targets(&self, labels: &[usize], rows: &[usize], device: &Device) -> Tensor<2> {
        let classes = self.classes.class_names().len();
        let mut values = vec![0.0_f32; rows.len() * classes];
        for (target, &row) in values.chunks_exact_mut(classes).zip(rows) {
            target[labels[row]] = 1.0;
        }
        Tensor::from_data(TensorData::new(values, [rows.len(), classes]), device)
    }

    fn rate_at(&self, step: usize, steps: usize) -> f64 {
        let done = (step + 1) as f64 / steps as f64;
        let warm = (done / WARM_UP).min(1.0);
        self.rate * warm * 0.5 * (1.0 + (PI * step as f64 / steps as f64).cos())
    }
}

impl Tuned {
    /// Logits of image files.
    pub fn score(&self, files: &[PathBuf]) -> Result<Logits> {
        let mut values = Vec::new();
        for files in files.chunks(BLOCK) {
            let pixels = self.net.clip.preprocess().load(files, &self.device)?;
            values.extend(self.net.logits(pixels).try_into_vec_as::<f32>().map_err(failed("scoring"))?);
        }
        Logits::new(values, self.net.classes.val().dims()[0])
    }
}

fn failed<E: ToString>(doing: &'static str) -> impl Fn(E) -> Error {
    move |error| Error::Execution { doing, message: error.to_string() }
}

/// How many numbers have a gradient.
fn trained(net: &Net, gradients: &GradientsParams) -> usize {
    let mut count = Count { gradients, numbers: 0 };
    net.visit(&mut count);
    count.numbers
}

struct Count<'a> {
    gradients: &'a GradientsParams,
    numbers: usize,
}

impl ModuleVisitor for Count<'_> {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        if self.gradients.get::<D>(parameter.id).is_some() {
            self.numbers += parameter.val().dims().iter().product::<usize>();
        }
    }
}
