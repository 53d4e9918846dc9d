use std::collections::HashMap;

use burn::tensor::{Device, Tensor, TensorData};

use crate::error::Result;
use crate::features::{Embeddings, Pairs};
use crate::train::{Batches, Epoch, permutation};

/// What is added to the logit of a text and an image that are no pair and yet belong together: none is chosen then.
const MASKED: f32 = -1e4;

/// Pairs of one text and its image, in unit rows on the device.
#[derive(Debug, Clone)]
pub(super) struct PairBatch {
    /// `[batch, dim]`.
    pub images: Tensor<2>,
    /// `[batch, dim]`.
    pub texts: Tensor<2>,
    /// `[batch, batch]`, added to the logits of texts with images; none where it would be zero.
    pub mask: Option<Tensor<2>>,
}

/// All pairs of a text and its image, as many at once as fit into a batch: in another order every epoch, where that
/// makes a difference.
#[derive(Debug)]
pub(super) struct PairBatches {
    images: Embeddings,
    texts: Embeddings,
    of: Vec<usize>,
    /// Texts with the same number say the same.
    says: Vec<usize>,
    steps: usize,
    seed: u64,
    device: Device,
    /// The batch that is the same in every epoch, where one holds all.
    whole: Option<PairBatch>,
}

impl PairBatches {
    /// At most `size` pairs at once.
    pub fn new(pairs: &Pairs, size: usize, seed: u64, device: &Device) -> Self {
        let count = pairs.texts().rows();
        let mut batches = Self {
            images: pairs.images().normalised(),
            texts: pairs.texts().normalised(),
            of: pairs.text_to_image().to_vec(),
            says: says(pairs),
            steps: count.div_ceil(size.max(1)),
            seed,
            device: device.clone(),
            whole: None,
        };
        if batches.steps == 1 {
            batches.whole = Some(batches.batch(&(0..count).collect::<Vec<_>>()));
        }
        batches
    }

    fn batch(&self, texts: &[usize]) -> PairBatch {
        let images: Vec<usize> = texts.iter().map(|&text| self.of[text]).collect();
        PairBatch {
            images: self.images.select(&images).tensor(&self.device),
            texts: self.texts.select(texts).tensor(&self.device),
            mask: self.mask(texts),
        }
    }

    /// A text is of its image, and of no other; and yet another text of the same image, or one with the same words, is
    /// no wrong answer.
    fn mask(&self, texts: &[usize]) -> Option<Tensor<2>> {
        let count = texts.len();
        let mut values = vec![0.0; count * count];
        let mut by_key: HashMap<(bool, usize), Vec<usize>> = HashMap::new();
        for (at, &text) in texts.iter().enumerate() {
            by_key.entry((false, self.of[text])).or_default().push(at);
            by_key.entry((true, self.says[text])).or_default().push(at);
        }
        let mut any = false;
        for group in by_key.values().filter(|group| group.len() > 1) {
            any = true;
            for &row in group {
                for &column in group.iter().filter(|&&column| column != row) {
                    values[row * count + column] = MASKED;
                }
            }
        }
        any.then(|| Tensor::from_data(TensorData::new(values, [count, count]), &self.device))
    }
}

impl Batches for PairBatches {
    type Batch = PairBatch;

    fn steps(&self) -> usize {
        self.steps
    }

    /// Batches of nearly the same size: a last one of two pairs would say little, and say it as loud.
    fn epoch(&self, epoch: usize) -> Result<Epoch<'_, PairBatch>> {
        if let Some(whole) = &self.whole {
            return Ok(Box::new(std::iter::once(Ok((whole.clone(), 1.0)))));
        }
        let count = self.of.len();
        let order = permutation(count, self.seed, epoch);
        let batch = move |step: usize| {
            let (start, end) = (step * count / self.steps, (step + 1) * count / self.steps);
            Ok((self.batch(&order[start..end]), (end - start) as f64 / count as f64))
        };
        Ok(Box::new((0..self.steps).map(batch)))
    }
}

/// A number for what each text says: by its words where they are known, else by its features.
fn says(pairs: &Pairs) -> Vec<usize> {
    let mut known: HashMap<Vec<u8>, usize> = HashMap::new();
    let texts = pairs.texts();
    let of = |text: usize| match pairs.captions() {
        Some(captions) => captions[text].trim().as_bytes().to_vec(),
        None => texts.row(text).iter().flat_map(|value| value.to_le_bytes()).collect(),
    };
    (0..texts.rows())
        .map(|text| {
            let next = known.len();
            *known.entry(of(text)).or_insert(next)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(captions: &[&str], of: &[usize]) -> Pairs {
        let rows = |count: usize| Embeddings::new((1..=2 * count).map(|at| at as f32).collect(), 2).unwrap();
        let images = of.iter().max().unwrap() + 1;
        Pairs::new(rows(images), rows(of.len()), of.to_vec(), 100.0, "tiny")
            .unwrap()
            .with_captions(captions.iter().copied())
            .unwrap()
    }

    #[test]
    fn what_belongs_together_is_no_wrong_answer() {
        let device = Device::flex();
        let batches = PairBatches::new(&pairs(&["a", "b", "a ", "c"], &[0, 0, 1, 2]), 8, 0, &device);
        let (batch, share) = batches.epoch(5).unwrap().next().unwrap().unwrap();
        assert_eq!((batches.steps(), share, batch.images.dims()), (1, 1.0, [4, 2]));
        let mask = batch.mask.unwrap().try_into_vec_as::<f32>().unwrap();
        let masked: Vec<usize> = (0..16).filter(|&at| mask[at] != 0.0).collect();
        // Texts 0 and 1 share an image, 0 and 2 their words.
        assert_eq!(masked, [1, 2, 4, 8]);
        let plain = PairBatches::new(&pairs(&["a", "b"], &[1, 0]), 8, 0, &device);
        assert!(plain.epoch(0).unwrap().next().unwrap().unwrap().0.mask.is_none());
    }

    #[test]
    fn every_pair_comes_once_an_epoch_in_batches_of_one_size() {
        let of: Vec<usize> = (0..11).collect();
        let captions: Vec<String> = of.iter().map(|at| at.to_string()).collect();
        let captions: Vec<&str> = captions.iter().map(String::as_str).collect();
        let batches = PairBatches::new(&pairs(&captions, &of), 5, 3, &Device::flex());
        let values = |epoch: usize| -> Vec<Vec<f32>> {
            let batches = batches.epoch(epoch).unwrap().map(|batch| batch.unwrap().0);
            batches.map(|batch| batch.images.try_into_vec_as::<f32>().unwrap()).collect()
        };
        let (first, second) = (values(0), values(1));
        assert_eq!(first.iter().map(|batch| batch.len() / 2).collect::<Vec<_>>(), [3, 4, 4]);
        assert_ne!(first, second);
        let mut all = [first.concat(), second.concat()];
        all.iter_mut().for_each(|values| values.sort_by(f32::total_cmp));
        assert_eq!(all[0], all[1]);
    }
}
