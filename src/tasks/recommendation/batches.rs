use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::Histories;
use crate::error::Result;
use crate::train::{Batches, Epoch, permutation};

/// What is no answer: its probability is 0.
const NEVER: f32 = -1e9;

/// Users of a step, each with one choice that is sought among the others, by rows of the batch's own items.
#[derive(Debug)]
pub(super) struct Batch {
    items: Vec<i64>,
    others: Vec<i64>,  // [users, others], padded with the first item
    weights: Vec<f32>, // [users, others], 0 where padded
    sought: Vec<i64>,
    pub shape: [usize; 2],
}

fn indices(values: &[i64], device: &Device) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), device)
}

impl Batch {
    /// Of all items, those of this batch.
    pub fn items(&self, device: &Device) -> Tensor<1, Int> {
        indices(&self.items, device)
    }

    /// Of these, what each user chose beside what is sought.
    pub fn others(&self, device: &Device) -> Tensor<1, Int> {
        indices(&self.others, device)
    }

    /// Of these, what each user seeks.
    pub fn sought(&self, device: &Device) -> Tensor<1, Int> {
        indices(&self.sought, device)
    }

    pub fn weights(&self, device: &Device) -> Tensor<2> {
        Tensor::from_data(TensorData::new(self.weights.clone(), self.shape), device)
    }

    /// `[users, users]`: what two users seek alike is no wrong answer.
    pub fn mask(&self, device: &Device) -> Tensor<2> {
        let users = self.shape[0];
        let mask = |at: usize| {
            let (user, other) = (at / users, at % users);
            if user != other && self.sought[user] == self.sought[other] { NEVER } else { 0.0 }
        };
        let values: Vec<f32> = (0..users * users).map(mask).collect();
        Tensor::from_data(TensorData::new(values, [users, users]), device)
    }
}

/// All users with two choices or more, in another order every epoch.
pub(super) struct UserBatches<'a> {
    histories: Vec<&'a [usize]>,
    items: usize,
    batch_size: usize,
    seed: u64,
}

impl<'a> UserBatches<'a> {
    pub fn new(histories: &'a Histories, window: usize, batch_size: usize, seed: u64) -> Self {
        let last = |history: &'a [usize]| &history[history.len().saturating_sub(window.max(2))..];
        let several = histories.iter().filter(|history| history.len() > 1).map(last).collect();
        Self { histories: several, items: histories.items().len(), batch_size, seed }
    }

    /// Whether there is anyone to learn from: a single user has no other to be told from.
    pub fn has_some(&self) -> bool {
        self.histories.len() > 1
    }

    fn batch(&self, users: &[usize], random: &mut ChaCha8Rng) -> Batch {
        let (mut place, mut items) = (vec![-1; self.items], Vec::new());
        let mut row = |item: usize| {
            if place[item] < 0 {
                place[item] = items.len() as i64;
                items.push(item as i64);
            }
            place[item]
        };
        let longest = users.iter().map(|&user| self.histories[user].len() - 1).max().unwrap_or(0);
        let (mut others, mut weights, mut sought) = (Vec::new(), Vec::new(), Vec::new());
        for &user in users {
            let history = self.histories[user];
            let at = random.random_range(0..history.len());
            sought.push(row(history[at]));
            let rest = history.iter().enumerate().filter(|(other, _)| *other != at);
            others.extend(rest.map(|(_, &item)| row(item)));
            weights.extend(vec![1.0; history.len() - 1]);
            others.resize(sought.len() * longest, 0);
            weights.resize(sought.len() * longest, 0.0);
        }
        Batch { items, others, weights, shape: [sought.len(), longest], sought }
    }
}

impl Batches for UserBatches<'_> {
    type Batch = Batch;

    /// A last user alone has nobody to be told from, and waits for another epoch.
    fn steps(&self) -> usize {
        let (whole, rest) = (self.histories.len() / self.batch_size, self.histories.len() % self.batch_size);
        whole + usize::from(rest > 1)
    }

    fn epoch(&self, epoch: usize) -> Result<Epoch<'_, Batch>> {
        let order = permutation(self.histories.len(), self.seed, epoch);
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        random.set_stream((1 << 32) + epoch as u64);
        let batch = move |step: usize| {
            let end = ((step + 1) * self.batch_size).min(order.len());
            let users = &order[step * self.batch_size..end];
            Ok((self.batch(users, &mut random), users.len() as f64 / order.len() as f64))
        };
        Ok(Box::new((0..self.steps()).map(batch)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_holds_every_choice_once() {
        let of = vec![vec![3, 1, 4], vec![1, 2], vec![0], vec![4, 3, 2, 1]];
        let items = ["a", "b", "c", "d", "e"];
        let histories = Histories::new(["p", "q", "r", "s"], items, of.clone()).unwrap();
        let batches = UserBatches::new(&histories, 50, 3, 1);
        assert_eq!((batches.steps(), batches.has_some()), (1, true));
        let (batch, share) = batches.epoch(0).unwrap().next().unwrap().unwrap();
        assert_eq!((share, batch.shape), (1.0, [3, 3]));
        let mut found: Vec<Vec<usize>> = (0..3)
            .map(|user| {
                let row = |at: &i64| batch.items[*at as usize] as usize;
                let at = user * 3..(user + 1) * 3;
                let others = batch.others[at.clone()].iter().zip(&batch.weights[at]);
                let mut all: Vec<usize> =
                    others.filter(|(_, weight)| **weight > 0.0).map(|(item, _)| row(item)).collect();
                all.push(row(&batch.sought[user]));
                all.sort_unstable();
                all
            })
            .collect();
        found.sort();
        assert_eq!(found, [vec![1, 2], vec![1, 2, 3, 4], vec![1, 3, 4]]);
    }

    #[test]
    fn what_two_seek_alike_is_no_wrong_answer() {
        let batch = Batch {
            items: vec![7, 8],
            others: vec![0, 1, 1],
            weights: vec![1.0; 3],
            sought: vec![1, 0, 1],
            shape: [3, 1],
        };
        let mask = batch.mask(&Device::flex()).try_into_vec_as::<f32>().unwrap();
        assert_eq!(mask, [0.0, 0.0, NEVER, 0.0, 0.0, 0.0, NEVER, 0.0, 0.0]);
    }

    #[test]
    fn a_last_user_alone_waits() {
        let of = vec![vec![0, 1]; 5];
        let histories = Histories::new(["a", "b", "c", "d", "e"], ["x", "y"], of).unwrap();
        assert_eq!(UserBatches::new(&histories, 50, 2, 0).steps(), 2);
        assert_eq!(UserBatches::new(&histories, 50, 3, 0).steps(), 2);
        let one = Histories::new(["a"], ["x", "y"], vec![vec![0, 1]]).unwrap();
        assert!(!UserBatches::new(&one, 50, 2, 0).has_some());
    }
}
