use std::{
    ops::Range,
    sync::mpsc::{self, Receiver, SyncSender},
    thread::{self, Scope, ScopedJoinHandle},
};

use burn::{
    module::Module,
    optim::{GradientsAccumulator, GradientsParams},
    tensor::{Device, Tensor, TensorData},
};
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::{Contrastive, ContrastiveBatch, ContrastiveLosses};
use crate::backbone::{TrainableClip, is_flex};
use crate::error::{Error, Result};
use crate::input::Tokenized;

/// Images embedded at once: what one layer makes of them stays in the cache.
const PART: usize = 32;

/// Threads that each embed a part of a batch and carry the loss back through it.
///
/// InfoNCE compares every picture with every caption, so parts of a batch cannot be trained apart. But what costs time
/// can: each lane embeds its part, the loss of all embeddings says how each of them should move, and each lane carries
/// that back through its own graph. The gradients are those of the whole batch (GradCache, Gao et al., 2021,
/// <https://arxiv.org/abs/2101.06983>, here with the graphs kept).
#[derive(Debug)]
pub struct Lanes {
    /// Each is a pool of one, so that no product inside is shared out again.
    pools: Vec<ThreadPool>,
    device: Device,
}

impl Lanes {
    /// One lane a core where Flex computes; elsewhere one, as the device shares the work out itself.
    ///
    /// # Errors
    /// [`Error::Execution`] if a thread cannot be started.
    pub fn new(device: &Device) -> Result<Self> {
        let cores = || thread::available_parallelism().map_or(1, usize::from);
        Self::of(if is_flex(device) { cores() } else { 1 }, device)
    }

    fn of(count: usize, device: &Device) -> Result<Self> {
        let pool = |_| ThreadPoolBuilder::new().num_threads(1).build();
        let pools = (0..count).map(pool).collect::<std::result::Result<_, _>>();
        let pools = pools.map_err(|error| Error::execution("starting threads", error))?;
        Ok(Self { pools, device: device.clone().autodiff() })
    }
}

/// What a lane makes of its part, or how the loss wants that to move: images and captions.
type Pair = [Tensor<2>; 2];

impl Contrastive {
    /// The losses of a batch and the gradient of each of the model's parameters, which
    /// [`Trainer::train`](crate::train::Trainer::train) asks for: its closure gives the loss `total` and the gradients.
    /// The model is on an autodiff device; the losses are on the plain one.
    ///
    /// # Errors
    /// [`Error::Setting`] for a weight out of range, [`Error::Data`] if the images have not the side that the model
    /// takes, [`Error::Execution`] if the device fails.
    ///
    /// # Panics
    /// If a caption has not the length that the model takes.
    pub fn gradients(
        &self,
        clip: &TrainableClip,
        batch: &ContrastiveBatch,
        lanes: &Lanes,
    ) -> Result<(ContrastiveLosses, GradientsParams)> {
        self.validate()?;
        batch.check_side(clip.preprocess().crop)?;
        let count = lanes.pools.len().min(batch.images()).min(batch.captions().ids.len());
        thread::scope(|scope| {
            let share = |lane: usize| Share { lane, lanes: count, batch, device: &lanes.device };
            let started = lanes.pools[..count].iter().enumerate();
            let lanes: Vec<Lane<'_>> =
                started.map(|(lane, pool)| Lane::start(scope, pool, clip, share(lane))).collect();
            let embedded = lanes.iter().map(|lane| lane.embedded.recv().map_err(stopped));
            let (losses, temperature, pulls) =
                self.pulls(clip, batch, &embedded.collect::<Result<Vec<Pair>>>()?)?;
            for (lane, pull) in lanes.iter().zip(pulls) {
                lane.pull.send(pull).map_err(stopped)?;
            }
            let mut sum = GradientsAccumulator::new();
            sum.accumulate(clip, temperature);
            for lane in lanes {
                let gradients = lane.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                sum.accumulate(clip, gradients?);
            }
            Ok((losses, sum.grads()))
        })
    }

    /// The losses of all embeddings, the gradient of the temperature, and how the embeddings of each lane should move.
    fn pulls(
        &self,
        clip: &TrainableClip,
        batch: &ContrastiveBatch,
        embedded: &[Pair],
    ) -> Result<(ContrastiveLosses, GradientsParams, Vec<Pair>)> {
        let whole = |which: usize| {
            let parts = embedded.iter().map(|pair| pair[which].clone()).collect();
            Tensor::cat(parts, 0).detach().require_grad()
        };
        let [images, texts] = [whole(0), whole(1)];
        let losses = self.losses(clip, images.clone(), texts.clone(), batch);
        let gradients = losses.total.backward();
        let of = |embeddings: &Tensor<2>| {
            embeddings.grad(&gradients).ok_or_else(|| Error::execution("training", "no gradient"))
        };
        let [images, texts] = [of(&images)?, of(&texts)?];
        let mut first = [0, 0];
        let mut pulls = Vec::with_capacity(embedded.len());
        for pair in embedded {
            let [pictures, captions] = pair.each_ref().map(|part| part.dims()[0]);
            pulls.push([
                images.clone().narrow(0, first[0], pictures),
                texts.clone().narrow(0, first[1], captions),
            ]);
            first = [first[0] + pictures, first[1] + captions];
        }
        Ok((losses.inner(), GradientsParams::from_grads(gradients, clip), pulls))
    }
}

fn stopped<E>(_: E) -> Error {
    Error::execution("training", "a thread has stopped")
}

/// A lane at work.
struct Lane<'scope> {
    embedded: Receiver<Pair>,
    pull: SyncSender<Pair>,
    thread: ScopedJoinHandle<'scope, Result<GradientsParams>>,
}

impl<'scope> Lane<'scope> {
    fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        pool: &'env ThreadPool,
        clip: &TrainableClip,
        share: Share<'env>,
    ) -> Self {
        // Leaves of its own, or all lanes would share one graph and wait for each other.
        let clip = clip.clone().fork(share.device);
        let (embeddings, embedded) = mpsc::sync_channel(1);
        let (pull, pulled) = mpsc::sync_channel(1);
        let thread = scope.spawn(move || pool.install(move || share.run(clip, &embeddings, &pulled)));
        Self { embedded, pull, thread }
    }
}

/// One lane's share of a batch.
struct Share<'a> {
    lane: usize,
    lanes: usize,
    batch: &'a ContrastiveBatch,
    device: &'a Device,
}

impl Share<'_> {
    fn run(
        &self,
        clip: TrainableClip,
        embeddings: &SyncSender<Pair>,
        pulled: &Receiver<Pair>,
    ) -> Result<GradientsParams> {
        let texts = self.texts(&clip, self.of(self.batch.captions().ids.len()));
        let images: Vec<Tensor<2>> = self.parts().map(|rows| self.images(&clip, rows)).collect();
        embeddings
            .send([Tensor::cat(images.clone(), 0).detach(), texts.clone().detach()])
            .map_err(stopped)?;
        let [image_pulls, text_pulls] = pulled.recv().map_err(stopped)?;
        let mut sum = GradientsAccumulator::new();
        let mut carry_back = |embeddings: Tensor<2>, pulls: Tensor<2>| {
            // A loss whose gradient with respect to every embedding is what the whole batch's is.
            let gradients = (embeddings * pulls).sum().backward();
            sum.accumulate(&clip, GradientsParams::from_grads(gradients, &clip));
        };
        carry_back(texts, text_pulls);
        let mut first = 0;
        for part in images {
            let rows = part.dims()[0];
            carry_back(part, image_pulls.clone().narrow(0, first, rows));
            first += rows;
        }
        Ok(sum.grads())
    }

    /// This lane's of so many rows.
    fn of(&self, all: usize) -> Range<usize> {
        self.lane * all / self.lanes..(self.lane + 1) * all / self.lanes
    }

    /// Its images, so many at once.
    fn parts(&self) -> impl Iterator<Item = Range<usize>> {
        let Range { start, end } = self.of(self.batch.images());
        (start..end).step_by(PART).map(move |first| first..(first + PART).min(end))
    }

    fn images(&self, clip: &TrainableClip, rows: Range<usize>) -> Tensor<2> {
        let side = clip.preprocess().crop;
        let size = 3 * side * side;
        let pixels = self.batch.pixels()[rows.start * size..rows.end * size].to_vec();
        let pixels = TensorData::new(pixels, [rows.len(), 3, side, side]);
        clip.image_embeddings(Tensor::from_data(pixels, self.device))
    }

    fn texts(&self, clip: &TrainableClip, rows: Range<usize>) -> Tensor<2> {
        let Tokenized { ids, ends } = self.batch.captions();
        clip.text_embeddings(&Tokenized { ids: ids[rows.clone()].to_vec(), ends: ends[rows].to_vec() })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use burn::module::{ModuleVisitor, Param};

    use super::*;
    use crate::backbone::{BackboneConfig, TextConfig, TowerActivation, VisionConfig, VisionKind};
    use crate::input::Preprocess;

    /// A model of 16 pixels a side and embeddings of width 16.
    pub fn clip(device: &Device) -> TrainableClip {
        let (width, heads, mlp, epsilon) = (32, 2, 64, 1e-5);
        let activation = TowerActivation::QuickGelu;
        let kind = VisionKind::Vit { patch_size: 8, layers: 1, mlp, epsilon, activation };
        let vision = VisionConfig { image_size: 16, width, heads, kind };
        let (context, vocabulary, end) = (8, 50, Some(49));
        let text = TextConfig { context, vocabulary, width, heads, layers: 1, mlp, epsilon, activation, end };
        let config = BackboneConfig { vision, text, embed_dim: 16 };
        let preprocess = Preprocess { resize: 16, crop: 16, ..Default::default() };
        TrainableClip::random(&config, &preprocess, 7, device).unwrap()
    }

    /// Five pictures, each seen twice, and five captions, of which two are true of two pictures.
    pub fn batch() -> ContrastiveBatch {
        let pixels = (0..10 * 3 * 16 * 16).map(|at| (0.37 * (at as f32).powf(1.1)).sin()).collect();
        let ids = (0..5).map(|text| vec![48, text, 2 * text + 7, 49, 49, 49, 49, 49]).collect();
        let is_true = |at: usize| {
            let (picture, text) = (at / 5 % 5, at % 5);
            picture == text || picture + text == 3 && text < 2
        };
        let truth = (0..10 * 5).map(|at| if is_true(at) { 1.0 } else { 0.0 }).collect();
        ContrastiveBatch::new(pixels, Tokenized { ids, ends: vec![3; 5] }, truth, 2).unwrap()
    }

    /// How far two gradients of one parameter are apart, as a part of its largest number.
    struct Apart<'a> {
        gradients: [&'a GradientsParams; 2],
        most: f32,
        compared: usize,
    }

    impl ModuleVisitor for Apart<'_> {
        fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
            let [one, other] = self.gradients.map(|gradients| gradients.get::<D>(parameter.id).unwrap());
            let size = one.clone().abs().max().into_scalar::<f32>();
            let difference = (one - other).abs().max().into_scalar::<f32>();
            self.most = self.most.max(difference / (1.0 + size));
            self.compared += 1;
        }
    }

    #[test]
    fn lanes_give_the_gradients_of_one_graph() {
        let device = Device::flex();
        let (clip, batch) = (clip(&device.clone().autodiff()), batch());
        let contrastive = Contrastive::default();
        let pixels = TensorData::new(batch.pixels().to_vec(), [10, 3, 16, 16]);
        let images = clip.image_embeddings(Tensor::from_data(pixels, &device.clone().autodiff()));
        let whole = contrastive.losses(&clip, images, clip.text_embeddings(batch.captions()), &batch);
        let numbers = whole.numbers().unwrap();
        let whole = GradientsParams::from_grads(whole.total.backward(), &clip);
        for count in [1, 3, 16] {
            let lanes = Lanes::of(count, &device).unwrap();
            let (losses, gradients) = contrastive.gradients(&clip, &batch, &lanes).unwrap();
            let found = losses.numbers().unwrap();
            approx::assert_abs_diff_eq!(&found[..], &numbers[..], epsilon = 1e-5);
            let mut apart = Apart { gradients: [&whole, &gradients], most: 0.0, compared: 0 };
            clip.visit(&mut apart);
            assert_eq!(apart.compared, 38);
            assert!(apart.most < 1e-5, "{count} lanes: {}", apart.most);
        }
    }
}
