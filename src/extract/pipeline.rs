//! Threads that decode, threads that encode, and results in the order of the list.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use burn::tensor::{Tensor, TensorData};

use super::options::Broken;
use super::shards::{Rows, broken};
use crate::backbone::ClipBackbone;
use crate::error::{Error, Result};
use crate::features::Embeddings;
use crate::input::{ImageSource, Preprocess};

/// What turns images into embeddings: workers that decode and resize, and one encoder a backbone.
///
/// A worker takes the next image of the list and puts a ticket for it into a queue of bounded length before it
/// starts; an encoder takes the tickets of one batch and waits for their pixels. So tickets stand in the order of
/// the list whoever finishes first, a batch is the same images whatever the number of threads, and no more images
/// are decoded than the queue is long.
pub(super) struct Pipeline<'a> {
    pub clips: &'a [&'a ClipBackbone],
    pub source: &'a dyn ImageSource,
    pub workers: usize,
    pub batch: usize,
    pub broken: Broken,
}

/// The embeddings of one batch.
pub(super) struct Block {
    pub images: Range<usize>,
    pub rows: Rows,
}

/// An image that a worker has begun on.
struct Ticket {
    image: usize,
    pixels: Receiver<Result<Vec<f32>>>,
}

/// Tickets in the order of the list, and how many batches were taken.
struct Queue {
    tickets: Receiver<Ticket>,
    batches: usize,
}

/// A finished batch and its place.
type Finished = Result<(usize, Block)>;

impl Pipeline<'_> {
    /// Encodes these images, which are whole batches, and hands the batches over in order.
    pub fn run(
        &self,
        images: impl Iterator<Item = usize> + Send,
        take: impl FnMut(Block) -> Result<()>,
    ) -> Result<()> {
        let images = Mutex::new(images);
        let (tickets, queue) = sync_channel(self.ahead());
        let queue = Arc::new(Mutex::new(Queue { tickets: queue, batches: 0 }));
        let (finished, blocks) = sync_channel(self.clips.len());
        // Every end of a channel belongs to the threads that use it: when one side ends, for whatever reason, the
        // others' calls fail and they end too.
        thread::scope(|scope| {
            for _ in 0..self.workers {
                let (images, tickets) = (&images, tickets.clone());
                scope.spawn(move || self.decode(images, &tickets));
            }
            drop(tickets);
            for &clip in self.clips {
                let (queue, finished) = (queue.clone(), finished.clone());
                scope.spawn(move || self.encode(clip, &queue, &finished));
            }
            drop((queue, finished));
            in_order(blocks, take)
        })
    }

    /// Tickets that may wait: the next batch of every encoder while it works on one, and work for every worker.
    fn ahead(&self) -> usize {
        (2 * self.batch * self.clips.len()).max(self.workers)
    }

    fn decode(&self, images: &Mutex<impl Iterator<Item = usize>>, tickets: &SyncSender<Ticket>) {
        let preprocess = self.clips[0].preprocess();
        loop {
            let (image, answer) = {
                // Held until the ticket stands in the queue, which is what keeps the order.
                let mut images = lock(images);
                let Some(image) = images.next() else { return };
                let (answer, pixels) = sync_channel(1);
                if tickets.send(Ticket { image, pixels }).is_err() {
                    return;
                }
                (image, answer)
            };
            if answer.send(read(preprocess, self.source, image)).is_err() {
                return;
            }
        }
    }

    fn encode(&self, clip: &ClipBackbone, queue: &Mutex<Queue>, finished: &SyncSender<Finished>) {
        while let Some((place, tickets)) = self.next_batch(queue) {
            let block = self.block(clip, tickets);
            let failed = block.is_err();
            if finished.send(block.map(|block| (place, block))).is_err() || failed {
                return;
            }
        }
    }

    fn next_batch(&self, queue: &Mutex<Queue>) -> Option<(usize, Vec<Ticket>)> {
        let mut queue = lock(queue);
        let first = queue.tickets.recv().ok()?;
        let end = (first.image / self.batch + 1) * self.batch;
        let size = end.min(self.source.len()) - first.image;
        let mut tickets = Vec::with_capacity(size);
        tickets.push(first);
        while tickets.len() < size {
            tickets.push(queue.tickets.recv().ok()?);
        }
        queue.batches += 1;
        Some((queue.batches - 1, tickets))
    }

    fn block(&self, clip: &ClipBackbone, tickets: Vec<Ticket>) -> Result<Block> {
        let first = tickets[0].image;
        let images = first..first + tickets.len();
        let crop = clip.preprocess().crop;
        let mut pixels = Vec::with_capacity(tickets.len() * 3 * crop * crop);
        let mut rows = Rows::default();
        for ticket in tickets {
            match ticket.pixels.recv() {
                Ok(Ok(image)) => pixels.extend_from_slice(&image),
                Ok(Err(Error::Image { reason, .. })) if self.broken == Broken::Skip => {
                    rows.skipped.push((ticket.image, reason));
                }
                Ok(Err(error)) => return Err(error),
                Err(error) => return Err(Error::execution("decoding images", error)),
            }
        }
        let count = images.len() - rows.skipped.len();
        if count > 0 {
            let pixels = TensorData::new(pixels, [count, 3, crop, crop]);
            rows.values = embed(clip, pixels).map_err(|error| from_batch(error, &self.source.key(first)))?;
        }
        Ok(Block { images, rows })
    }
}

/// Embeddings, not normalised, of which every one is finite and has a direction.
fn embed(clip: &ClipBackbone, pixels: TensorData) -> Result<Vec<f32>> {
    let rows = clip.image_embeddings(Tensor::from_data(pixels, clip.device()));
    let rows = rows.try_into_vec_as::<f32>().map_err(|error| Error::execution("encoding", error))?;
    Ok(Embeddings::new(rows, clip.config().embed_dim)?.into_values())
}

/// Says which images an error about some rows is about.
fn from_batch(error: Error, first: &Path) -> Error {
    match error {
        Error::Data { what, expected, found } => {
            Error::data(format!("{what} of the batch from {}", first.display()), expected, found)
        }
        other => other,
    }
}

/// The pixels of one image, or an error that names it.
fn read(preprocess: &Preprocess, source: &dyn ImageSource, image: usize) -> Result<Vec<f32>> {
    let key = source.key(image);
    let bytes = source.bytes(image)?;
    match preprocess.pixels_of(&bytes, &key) {
        // A size that cannot be resized.
        Err(Error::Data { expected, found, .. }) => {
            Err(broken(&key, &format!("{found} where {expected} was needed")))
        }
        pixels => pixels,
    }
}

/// Hands over batches in the order of their places.
fn in_order(blocks: Receiver<Finished>, mut take: impl FnMut(Block) -> Result<()>) -> Result<()> {
    let mut early = BTreeMap::new();
    let mut next = 0;
    for finished in blocks {
        let (place, block) = finished?;
        early.insert(place, block);
        while let Some(block) = early.remove(&next) {
            take(block)?;
            next += 1;
        }
    }
    Ok(())
}

/// A thread that panics leaves nothing half-done behind these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
