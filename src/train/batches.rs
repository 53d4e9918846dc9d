use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::error::Result;
use crate::features::FeatureSet;

/// The batches of one epoch, and the share that each has in the loss of the epoch.
pub type Epoch<'a, B> = Box<dyn Iterator<Item = Result<(B, f64)>> + 'a>;

/// What a network is trained on, batch by batch. A batch has any shape: two tensors, pictures and captions, rows to be
/// read from a disk.
pub trait Batches {
    /// One batch.
    type Batch;

    /// The batches of an epoch: as many in each.
    fn steps(&self) -> usize;

    /// The batches of an epoch, counted from 0. What an epoch holds depends on its number alone, so that a resumed fit
    /// needs no generator's state.
    ///
    /// # Errors
    /// Whatever making a batch fails with; it ends the fit.
    fn epoch(&self, epoch: usize) -> Result<Epoch<'_, Self::Batch>>;
}

/// Images and targets on the device.
#[derive(Debug, Clone)]
pub struct Examples {
    /// `[n, dim]`.
    pub images: Tensor<2>,
    /// `[n, classes]`, rows that sum to the weight of the image.
    pub targets: Tensor<2>,
}

impl Examples {
    /// Features as they are, and one-hot targets, of which `smoothing` is spread evenly over all classes.
    pub fn new(set: &FeatureSet, smoothing: f64, device: &Device) -> Self {
        Self { images: set.embeddings().tensor(device), targets: set.targets(smoothing, device) }
    }

    /// Unit features and one-hot targets.
    pub fn unit(set: &FeatureSet, device: &Device) -> Self {
        Self { images: set.embeddings().normalised().tensor(device), targets: set.targets(0.0, device) }
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.images.dims()[0]
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All images in another order every epoch, `batch_size` at once; 0 takes all.
    pub fn shuffled(&self, batch_size: usize, seed: u64) -> Shuffled<1> {
        Shuffled::new([self.clone()], batch_size, seed)
    }

    fn permuted(&self, order: &[usize]) -> Self {
        let order: Vec<i64> = order.iter().map(|&row| row as i64).collect();
        let order = Tensor::<1, Int>::from_data(TensorData::new(order, [self.len()]), &self.images.device());
        Self {
            images: self.images.clone().select(0, order.clone()),
            targets: self.targets.clone().select(0, order),
        }
    }

    fn rows(&self, start: usize, end: usize) -> Self {
        let rows = start..end;
        Self { images: self.images.clone().slice(rows.clone()), targets: self.targets.clone().slice(rows) }
    }
}

/// Examples side by side, such as images and prompts: as many of each, in one order, which is another every epoch.
#[derive(Debug, Clone)]
pub struct Shuffled<const SIDES: usize> {
    sides: [Examples; SIDES],
    batch_size: usize,
    seed: u64,
}

impl<const SIDES: usize> Shuffled<SIDES> {
    /// Takes `batch_size` of each side at once; 0 takes all.
    ///
    /// # Panics
    /// If there is no side, or one has more examples than another.
    pub fn new(sides: [Examples; SIDES], batch_size: usize, seed: u64) -> Self {
        let count = sides[0].len();
        assert!(sides.iter().all(|side| side.len() == count), "as many examples on each side");
        let batch_size = if batch_size == 0 { count } else { batch_size.min(count) };
        Self { sides, batch_size, seed }
    }

    fn len(&self) -> usize {
        self.sides[0].len()
    }
}

impl<const SIDES: usize> Batches for Shuffled<SIDES> {
    type Batch = [Examples; SIDES];

    fn steps(&self) -> usize {
        self.len().div_ceil(self.batch_size.max(1)) // of nothing there are none
    }

    fn epoch(&self, epoch: usize) -> Result<Epoch<'_, Self::Batch>> {
        let order = permutation(self.len(), self.seed, epoch);
        let sides = self.sides.each_ref().map(|side| side.permuted(&order));
        let batch = move |step: usize| {
            let (start, end) = (step * self.batch_size, ((step + 1) * self.batch_size).min(self.len()));
            let share = (end - start) as f64 / self.len() as f64;
            Ok((sides.each_ref().map(|side| side.rows(start, end)), share))
        };
        Ok(Box::new((0..self.steps()).map(batch)))
    }
}

/// The order of `count` things in an epoch: it depends on the seed and the epoch only.
pub fn permutation(count: usize, seed: u64, epoch: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(epoch as u64);
    order.shuffle(&mut random);
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::Embeddings;

    #[test]
    fn smoothing_spreads_part_of_the_target() {
        let set =
            FeatureSet::new(Embeddings::new(vec![1.0; 4], 2).unwrap(), vec![1, 0], ["a", "b", "c", "d"]);
        let targets =
            Examples::new(&set.unwrap(), 0.2, &Device::flex()).targets.try_to_vec_as::<f32>().unwrap();
        let expected = [0.05, 0.85, 0.05, 0.05, 0.85, 0.05, 0.05, 0.05];
        approx::assert_abs_diff_eq!(&targets[..], &expected[..], epsilon = 1e-6);
    }

    #[test]
    fn every_epoch_sees_every_image_in_another_order() {
        let (first, second) = (permutation(50, 7, 0), permutation(50, 7, 1));
        assert_ne!(first, second);
        assert_eq!(first, permutation(50, 7, 0));
        for mut order in [first, second] {
            order.sort_unstable();
            assert!(order.into_iter().eq(0..50));
        }
    }

    #[test]
    fn sides_stay_together_and_shares_add_up() {
        let rows = |scale: f32| {
            let values: Vec<f32> = (1..=5).map(|row| scale * row as f32).collect();
            let set = FeatureSet::new(Embeddings::new(values, 1).unwrap(), vec![0; 5], ["a"]).unwrap();
            Examples::new(&set, 0.0, &Device::flex())
        };
        let pairs = Shuffled::new([rows(1.0), rows(10.0)], 2, 3);
        assert_eq!(pairs.steps(), 3);
        let (mut shares, mut seen) = (0.0, Vec::new());
        for batch in pairs.epoch(4).unwrap() {
            let ([one, other], share) = batch.unwrap();
            let values = |side: Examples| side.images.try_into_vec_as::<f32>().unwrap();
            let (one, other) = (values(one), values(other));
            assert!(one.iter().zip(&other).all(|(a, b)| 10.0 * a == *b));
            shares += share;
            seen.extend(one);
        }
        approx::assert_abs_diff_eq!(shares, 1.0, epsilon = 1e-12);
        seen.sort_by(f32::total_cmp);
        assert_eq!(seen, [1.0, 2.0, 3.0, 4.0, 5.0]);
    }
}
