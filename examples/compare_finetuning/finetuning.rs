//! Full fine-tuning: the image tower and a linear classifier that starts at the text classifier, both trained; the
//! text tower stays as it is.

use std::path::{Path, PathBuf};

use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::{Device, Tensor, TensorData, activation::log_softmax},
};
use clip_adapter::{
    Error, Result, Run, TextClassifier,
    backbone::TrainableClip,
    evaluate::Logits,
    features::{contrastive_logits, normalise},
    input::{Augment, Preprocess},
    train::{Batches, Epoch, NoMonitor, Optimiser, Schedule, Session, Trainer, permutation},
};
use image::RgbImage;

/// Images of a step.
const BATCH: usize = 32;

/// Images scored at once.
const BLOCK: usize = 64;

/// The part of the steps over which the rate rises; then it falls as a cosine.
const WARM_UP: f64 = 0.1;

/// AdamW, which decays every parameter that trains.
const OPTIMISER: Optimiser = Optimiser::AdamW { epsilon: Optimiser::EPSILON, weight_decay: 0.05 };

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
        let net = Net { clip, classes, scale: self.classes.logit_scale() };
        let views = Views {
            images,
            labels,
            classes: self.classes.class_names().len(),
            seed: self.seed,
            preprocess: &preprocess,
            device: &device,
        };
        let trainer =
            Trainer { schedule: Schedule::clip(self.rate, self.epochs, WARM_UP), optimiser: OPTIMISER };
        let mut parameters = 0;
        let gradients = |net: &Net, (pixels, targets): (Tensor<4>, Tensor<2>)| -> Result<_> {
            let loss = (log_softmax(net.logits(pixels), 1) * targets).sum_dim(1).mean().neg();
            let gradients = GradientsParams::from_grads(loss.backward(), net);
            if parameters == 0 {
                parameters = trained(net, &gradients);
            }
            Ok((loss.inner(), gradients))
        };
        let mut run = Run::new(self.device);
        let mut session = Session::open(&mut run, "full fine-tuning", 1)?;
        let net = trainer.train(net, &views, gradients, &mut NoMonitor, "all shots", &mut session)?;
        session.close()?;
        Ok(Tuned { net: net.valid(), device: self.device.clone(), parameters })
    }
}

/// Images in another order every epoch, each seen anew.
struct Views<'a> {
    images: Vec<RgbImage>,
    labels: &'a [usize],
    classes: usize,
    seed: u64,
    preprocess: &'a Preprocess,
    device: &'a Device,
}

impl Batches for Views<'_> {
    type Batch = (Tensor<4>, Tensor<2>);

    fn steps(&self) -> usize {
        self.images.len().div_ceil(BATCH)
    }

    fn epoch(&self, epoch: usize) -> Result<Epoch<'_, Self::Batch>> {
        let order = permutation(self.images.len(), self.seed, epoch);
        let batch = move |step: usize| -> Result<(Self::Batch, f64)> {
            let rows = &order[step * BATCH..order.len().min((step + 1) * BATCH)];
            let share = rows.len() as f64 / order.len() as f64;
            Ok(((self.pixels(rows, epoch)?, self.targets(rows)), share))
        };
        Ok(Box::new((0..self.steps()).map(batch)))
    }
}

impl Views<'_> {
    /// One view of each: `[rows, 3, side, side]`.
    fn pixels(&self, rows: &[usize], epoch: usize) -> Result<Tensor<4>> {
        let augment = Augment { scale: [0.7, 1.0], ratio: [0.9, 1.1], flip: 0.5 };
        let side = self.preprocess.crop;
        let mut values = Vec::with_capacity(rows.len() * 3 * side * side);
        for &row in rows {
            let image = &self.images[row];
            let view = augment.draw(image.dimensions(), self.seed, row as u64, epoch as u64)?;
            values.extend(self.preprocess.view(image, &view)?);
        }
        Ok(Tensor::from_data(TensorData::new(values, [rows.len(), 3, side, side]), self.device))
    }

    /// One-hot labels: `[rows, classes]`.
    fn targets(&self, rows: &[usize]) -> Tensor<2> {
        let mut values = vec![0.0_f32; rows.len() * self.classes];
        for (target, &row) in values.chunks_exact_mut(self.classes).zip(rows) {
            target[self.labels[row]] = 1.0;
        }
        Tensor::from_data(TensorData::new(values, [rows.len(), self.classes]), self.device)
    }
}

impl Tuned {
    /// Logits of image files.
    pub fn score(&self, files: &[PathBuf]) -> Result<Logits> {
        let mut values = Vec::new();
        for files in files.chunks(BLOCK) {
            let pixels = self.net.clip.preprocess().load(files, &self.device)?;
            let logits = self.net.logits(pixels).try_into_vec_as::<f32>();
            values.extend(logits.map_err(|error| Error::execution("scoring", error))?);
        }
        Logits::new(values, self.net.classes.val().dims()[0])
    }
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
