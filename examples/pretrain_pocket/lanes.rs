//! One step's gradients, with one thread a part of the batch.
//!
//! InfoNCE compares every picture with every caption, so parts of a batch cannot be trained apart. But what costs time
//! can: each lane embeds its part, the loss of all embeddings says how each of them should move, and each lane carries
//! that back through its own graph. The gradients are those of the whole batch (GradCache, Gao et al., 2021,
//! <https://arxiv.org/abs/2101.06983>, here with the graphs kept).

use std::{
    ops::Range,
    sync::mpsc::{self, Receiver, SyncSender},
    thread,
};

use burn::{
    module::Module,
    optim::{GradientsAccumulator, GradientsParams},
    tensor::{Device, Tensor, TensorData},
};
use clip_adapter::{DeviceSpec, Result, backbone::TrainableClip, input::Tokenized};
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::{
    batches::Batch,
    loss::{self, execution},
};

/// Pictures embedded at once: what one layer makes of them stays in the cache.
const PART: usize = 32;

/// The threads. Each is a pool of one, so that no product inside is shared out again.
pub struct Lanes(Vec<ThreadPool>);

/// What a lane makes of its part, or how the loss wants that to move: pictures and captions.
type Pair = [Tensor<2>; 2];

impl Lanes {
    /// One lane a core where the towers compute on the CPU; elsewhere one, as the device shares the work out itself.
    pub fn new(device: DeviceSpec) -> Result<Self> {
        let on_cpu = device == DeviceSpec::Flex;
        let count = if on_cpu { thread::available_parallelism().map_or(1, usize::from) } else { 1 };
        let pool = |_| ThreadPoolBuilder::new().num_threads(1).build();
        (0..count).map(pool).collect::<std::result::Result<_, _>>().map(Self).map_err(execution)
    }

    /// Gradients of every parameter, and the three losses as [`loss::losses`] has them.
    pub fn gradients(
        &self,
        model: &TrainableClip,
        batch: &Batch,
        device: &Device,
        views_weight: f64,
    ) -> Result<(GradientsParams, [f64; 3])> {
        let mut sum = GradientsAccumulator::new();
        let losses = thread::scope(|scope| {
            let lanes: Vec<_> = self
                .0
                .iter()
                .enumerate()
                .map(|(lane, pool)| {
                    // Leaves of its own, or all lanes would share one graph and wait for each other.
                    let model = model.clone().fork(device);
                    let (embedded, embeddings) = mpsc::sync_channel(1);
                    let (pull, pulled) = mpsc::sync_channel(1);
                    let share = Share { lane, lanes: self.0.len(), batch, device };
                    let thread =
                        scope.spawn(move || pool.install(move || share.run(model, &embedded, &pulled)));
                    (embeddings, pull, thread)
                })
                .collect();
            let parts = lanes.iter().map(|(embeddings, ..)| embeddings.recv().map_err(execution));
            let parts = parts.collect::<Result<Vec<Pair>>>()?;
            let sizes: Vec<[usize; 2]> =
                parts.iter().map(|pair| pair.clone().map(|part| part.dims()[0])).collect();
            let whole = |which: usize| {
                let parts = parts.iter().map(|pair| pair[which].clone()).collect();
                Tensor::cat(parts, 0).detach().require_grad()
            };
            let [images, texts] = [whole(0), whole(1)];
            let losses = loss::losses(model, images.clone(), texts.clone(), batch, device);
            let numbers = loss::numbers(&losses)?;
            let [forth, back, views] = losses;
            let loss = (forth + back).mul_scalar(0.5) + views.mul_scalar(views_weight);
            let gradients = loss.backward();
            let of =
                |embeddings: &Tensor<2>| embeddings.grad(&gradients).ok_or_else(|| execution("no gradient"));
            let [images, texts] = [of(&images)?, of(&texts)?];
            let mut first = [0, 0];
            for ((_, pull, _), [pictures, captions]) in lanes.iter().zip(sizes) {
                let pair = [
                    images.clone().narrow(0, first[0], pictures),
                    texts.clone().narrow(0, first[1], captions),
                ];
                pull.send(pair).map_err(execution)?;
                first = [first[0] + pictures, first[1] + captions];
            }
            sum.accumulate(model, GradientsParams::from_grads(gradients, model)); // the temperature's
            for (.., thread) in lanes {
                sum.accumulate(
                    model,
                    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?,
                );
            }
            Ok(numbers)
        })?;
        Ok((sum.grads(), losses))
    }
}

/// One lane's share of a batch.
struct Share<'a> {
    lane: usize,
    lanes: usize,
    batch: &'a Batch,
    device: &'a Device,
}

impl Share<'_> {
    fn run(
        &self,
        model: TrainableClip,
        embedded: &SyncSender<Pair>,
        pulled: &Receiver<Pair>,
    ) -> Result<GradientsParams> {
        let texts = self.texts(&model, self.share(self.batch.captions.ids.len()));
        let images: Vec<Tensor<2>> = self.parts().map(|rows| self.images(&model, rows)).collect();
        embedded
            .send([Tensor::cat(images.clone(), 0).detach(), texts.clone().detach()])
            .map_err(execution)?;
        let [image_pulls, text_pulls] = pulled.recv().map_err(execution)?;
        let mut sum = GradientsAccumulator::new();
        let mut carry_back = |embeddings: Tensor<2>, pulls: Tensor<2>| {
            // A loss whose gradient with respect to every embedding is what the whole batch's is.
            let gradients = (embeddings * pulls).sum().backward();
            sum.accumulate(&model, GradientsParams::from_grads(gradients, &model));
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
    fn share(&self, all: usize) -> Range<usize> {
        self.lane * all / self.lanes..(self.lane + 1) * all / self.lanes
    }

    /// Its pictures, so many at once.
    fn parts(&self) -> impl Iterator<Item = Range<usize>> {
        let Range { start, end } = self.share(2 * self.batch.captions.ids.len());
        (start..end).step_by(PART).map(move |first| first..(first + PART).min(end))
    }

    fn images(&self, model: &TrainableClip, rows: Range<usize>) -> Tensor<2> {
        let side = model.preprocess().crop;
        let size = 3 * side * side;
        let pixels = self.batch.pixels[rows.start * size..rows.end * size].to_vec();
        let pixels = TensorData::new(pixels, [rows.len(), 3, side, side]);
        model.image_embeddings(Tensor::from_data(pixels, self.device))
    }

    fn texts(&self, model: &TrainableClip, rows: Range<usize>) -> Tensor<2> {
        let Tokenized { ids, ends } = &self.batch.captions;
        model.text_embeddings(&Tokenized { ids: ids[rows.clone()].to_vec(), ends: ends[rows].to_vec() })
    }
}
