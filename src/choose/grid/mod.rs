//! The best weight and sharpness of a cache: a whole grid of them for little more than one evaluation.
//!
//! For the next sharpness every `exp(-beta (1 - a))` is multiplied by the same `exp(-d (1 - a))`, and the answers
//! for all weights follow from where the lines `z_c + alpha c_c` of the classes cross.

mod lines;
mod slots;

use std::array;

use burn::tensor::Tensor;
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use self::lines::wins;
use self::slots::{Lanes, Slots, multiply};
use crate::error::{Error, Result};
use crate::model::KernelHead;
use crate::numerics::log_sum_exp;
use crate::numerics::vector::{LANES, exp, widest};

/// After so many values of `beta` the products begin anew from one that leaps over them, so that no weight in a grid
/// of 200 is a product of more than 20 + 10 factors: rounding changes it by less than 1e-5 of its size.
const BLOCK: usize = 20;

/// So many values of `beta` are added up in one pass over the weights. Divides [`BLOCK`].
const AT_ONCE: usize = 4;

/// Of settings with as many right answers, so many at most are compared by their likelihood.
const FINALISTS: usize = 4;

/// `count` evenly spaced values from `first` on; `end` would be the next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Steps {
    pub first: f64,
    pub end: f64,
    pub count: usize,
}

impl Steps {
    fn step(&self) -> f64 {
        (self.end - self.first) / self.count as f64
    }

    fn value(&self, index: usize) -> f64 {
        self.first + index as f64 * (self.end - self.first) / self.count as f64
    }
}

/// The places of a `beta` and of an `alpha`.
type Setting = (usize, usize);

/// The settings of a cache that are tried, and the images they are tried on.
pub(crate) struct TipGrid<'a> {
    betas: Steps,
    alphas: Steps,
    labels: &'a [usize],
    zero_shot: Vec<f32>,  // [images, classes in whole lanes]
    affinities: Vec<f32>, // [images, shots]
    cache: Slots,
}

impl<'a> TipGrid<'a> {
    /// The values of `head`'s cache, and images with these labels by their zero-shot logits `[images, classes]` and
    /// their cosines `[images, shots]`.
    pub fn new(
        [betas, alphas]: [Steps; 2],
        head: &KernelHead,
        zero_shot: Tensor<2>,
        affinities: Tensor<2>,
        labels: &'a [usize],
    ) -> Result<Self> {
        let cache = Slots::new(&host(head.values())?, head.classes().class_names().len());
        let zero_shot = in_whole_lanes(&host(zero_shot)?, cache.classes);
        let affinities = host(affinities)?;
        Ok(Self { betas, alphas, labels, zero_shot, affinities, cache })
    }

    /// `alpha` and `beta` with the most right answers; of those, up to four that are spread evenly in the order of
    /// the grid, `beta` by `beta`, are compared by their negative log-likelihood. Of equals the first is taken.
    pub fn best(&self) -> Option<(f64, f64)> {
        let right = self.right();
        let most = *right.iter().max()?;
        let settings = right.iter().enumerate().filter(|(_, right)| **right == most);
        let settings: Vec<Setting> =
            settings.map(|(at, _)| (at / self.alphas.count, at % self.alphas.count)).collect();
        let finalists = spread(&settings);
        let losses = if finalists.len() == 1 { vec![0.0] } else { self.losses(&finalists) };
        let best = finalists.into_iter().zip(losses).min_by(|(_, a), (_, b)| a.total_cmp(b));
        best.map(|((beta, alpha), _)| (self.alphas.value(alpha), self.betas.value(beta)))
    }

    /// How many images every setting has right, `beta` by `beta`.
    fn right(&self) -> Vec<i64> {
        let alphas: Vec<f32> = (0..self.alphas.count).map(|at| self.alphas.value(at) as f32).collect();
        let width = alphas.len() + 1;
        // An image is right from one `alpha` to another: it counts up at the first and down behind the last.
        let none = || vec![0_i64; self.betas.count * width];
        let count = |mut changes: Vec<i64>, image: usize| {
            let (zero_shot, label) = (self.zero_shot(image), self.labels[image]);
            self.sweep(image, self.betas.count, |beta, cached| {
                let range = wins(&alphas, zero_shot, cached, label);
                changes[beta * width + range.start] += 1;
                changes[beta * width + range.end] -= 1;
            });
            changes
        };
        let add = |a: Vec<i64>, b: Vec<i64>| -> Vec<i64> { a.iter().zip(&b).map(|(a, b)| a + b).collect() };
        let changes = (0..self.labels.len()).into_par_iter().fold(none, count).reduce(none, add);
        let running = |row: &[i64]| -> Vec<i64> {
            let mut sum = 0_i64;
            let next = |change: &i64| {
                sum += *change;
                sum
            };
            row[..width - 1].iter().map(next).collect()
        };
        changes.chunks_exact(width).flat_map(running).collect()
    }

    /// The negative log-likelihood of some settings, in nats.
    fn losses(&self, settings: &[Setting]) -> Vec<f64> {
        let of_image = |image: usize| -> Vec<f64> {
            let (zero_shot, label) = (self.zero_shot(image), self.labels[image]);
            let likeness = self.likeness(image);
            let mut cached = [self.cache.zeros()];
            let mut loss = |&(beta, alpha): &Setting| {
                let mut weights = kernel(&likeness, self.betas.value(beta));
                multiply(&mut weights, &self.cache.values);
                self.cache.add_up(&mut weights, &self.cache.values, &mut cached);
                let alpha = self.alphas.value(alpha) as f32;
                let logits: Vec<f32> =
                    zero_shot.iter().zip(&cached[0]).map(|(zero, cached)| zero + alpha * cached).collect();
                log_sum_exp(&logits) - f64::from(logits[label])
            };
            settings.iter().map(&mut loss).collect()
        };
        let images: Vec<Vec<f64>> = (0..self.labels.len()).into_par_iter().map(of_image).collect();
        // Summed in one order, whatever the threads.
        (0..settings.len()).map(|at| images.iter().map(|losses| losses[at]).sum()).collect()
    }

    /// The cosine of the image with every shot, at its slots.
    fn likeness(&self, image: usize) -> Vec<Lanes> {
        let shots = self.affinities.len() / self.labels.len();
        self.cache.place(&self.affinities[image * shots..][..shots])
    }

    fn zero_shot(&self, image: usize) -> &[f32] {
        let width = self.cache.width();
        &self.zero_shot[image * width..][..width]
    }

    /// Shows what the cache says of an image, `[classes]` in whole lanes, for each of the first `count` values of `beta`
    /// in turn.
    fn sweep(&self, image: usize, count: usize, mut show: impl FnMut(usize, &[f32])) {
        let likeness = self.likeness(image);
        let mut start = kernel(&likeness, self.betas.first);
        multiply(&mut start, &self.cache.values);
        let step = kernel(&likeness, self.betas.step());
        let leap = kernel(&likeness, self.betas.step() * BLOCK as f64);
        let mut weights = start.clone();
        let mut sums: [Vec<f32>; AT_ONCE] = array::from_fn(|_| self.cache.zeros());
        for first in (0..count).step_by(AT_ONCE) {
            if first > 0 && first.is_multiple_of(BLOCK) {
                multiply(&mut start, &leap);
                weights.copy_from_slice(&start);
            }
            self.cache.add_up(&mut weights, &step, &mut sums);
            (first..count).zip(&sums).for_each(|(beta, sums)| show(beta, sums));
        }
    }
}

/// `exp(-beta (1 - a))` of every cosine.
fn kernel(likeness: &[Lanes], beta: f64) -> Vec<Lanes> {
    let mut kernel = likeness.to_vec();
    widest(
        #[inline(always)]
        || {
            for value in kernel.as_flattened_mut() {
                *value = exp(beta as f32 * (*value - 1.0));
            }
        },
    );
    kernel
}

/// Rows `[images, classes]` with further classes that no image ever is of.
fn in_whole_lanes(zero_shot: &[f32], classes: usize) -> Vec<f32> {
    let further = classes.next_multiple_of(LANES) - classes;
    let row = |row: &[f32]| [row, &vec![f32::NEG_INFINITY; further]].concat();
    zero_shot.chunks_exact(classes).flat_map(row).collect()
}

/// At most [`FINALISTS`] of the settings, evenly spread, with the first.
fn spread(settings: &[Setting]) -> Vec<Setting> {
    let count = settings.len().min(FINALISTS);
    (0..count).map(|at| settings[at * settings.len() / count]).collect()
}

/// The numbers of a tensor.
pub(crate) fn host(tensor: Tensor<2>) -> Result<Vec<f32>> {
    tensor.try_into_vec_as::<f32>().map_err(|error| Error::execution("scoring validation images", error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choose::Choice;

    const STEPS: [Steps; 2] =
        [Steps { first: 0.1, end: 13.0, count: 200 }, Steps { first: 0.1, end: 13.0, count: 20 }];
    const CLASSES: usize = 11;
    const SHOTS: usize = 40;
    const IMAGES: usize = 24;

    /// 24 images, and 40 shots of 10 of 11 classes: from 2 to 12 a class. Five say more than the others, and two
    /// speak for a second class as well.
    struct Task {
        labels: Vec<usize>,
        zero_shot: Vec<f32>,
        affinities: Vec<f32>,
        values: Vec<f32>,
    }

    impl Task {
        fn new() -> Self {
            let noise = |count: usize, seed: f64| -> Vec<f64> {
                let wave = |at: usize| ((at as f64 * 12.9898 + seed).sin() * 43_758.545_3).rem_euclid(1.0);
                (0..count).map(wave).collect()
            };
            let labels: Vec<usize> = (0..IMAGES).map(|image| image * 7 % CLASSES).collect();
            let of_shots: Vec<usize> =
                noise(SHOTS, 0.1).iter().map(|noise| (noise * noise * 10.0) as usize).collect();
            let mut zero_shot: Vec<f32> =
                noise(IMAGES * CLASSES, 0.2).iter().map(|noise| (5.0 * noise) as f32).collect();
            let mut affinities: Vec<f32> =
                noise(IMAGES * SHOTS, 0.3).iter().map(|noise| (0.8 * noise) as f32).collect();
            for (image, &label) in labels.iter().enumerate() {
                zero_shot[image * CLASSES + label] += 1.0;
                for shot in (0..SHOTS).filter(|&shot| of_shots[shot] == label) {
                    affinities[image * SHOTS + shot] += 0.16;
                }
            }
            let mut values = vec![0.0; SHOTS * CLASSES];
            for (shot, &label) in of_shots.iter().enumerate() {
                values[shot * CLASSES + label] = if shot < 5 { 1.5 } else { 1.0 };
            }
            (values[0], values[20 * CLASSES + 3]) = (0.5, 0.25);
            Self { labels, zero_shot, affinities, values }
        }

        fn grid(&self) -> TipGrid<'_> {
            TipGrid {
                betas: STEPS[0],
                alphas: STEPS[1],
                labels: &self.labels,
                zero_shot: in_whole_lanes(&self.zero_shot, CLASSES),
                affinities: self.affinities.clone(),
                cache: Slots::new(&self.values, CLASSES),
            }
        }

        /// `exp(-beta (1 - a)) V`, `[images, classes]`, as it is written.
        fn cached(&self, beta: f64) -> Vec<f64> {
            let one = |at: usize| {
                let (image, class) = (at / CLASSES, at % CLASSES);
                let say = |shot: usize| {
                    let affinity = f64::from(self.affinities[image * SHOTS + shot]);
                    (-beta * (1.0 - affinity)).exp() * f64::from(self.values[shot * CLASSES + class])
                };
                (0..SHOTS).map(say).sum()
            };
            (0..IMAGES * CLASSES).map(one).collect()
        }
    }

    #[test]
    fn a_grid_is_all_its_settings_one_by_one() {
        let task = Task::new();
        let grid = task.grid();
        let mut choice = Choice::new(&task.labels);
        for beta in (0..200).map(|index| 0.1 + f64::from(index) * 12.9 / 200.0) {
            let cached = task.cached(beta);
            for alpha in (0..20).map(|index| 0.1 + f64::from(index) * 12.9 / 20.0) {
                let logits = task.zero_shot.iter().zip(&cached);
                let logits = logits.map(|(&zero, cached)| (f64::from(zero) + alpha * cached) as f32);
                choice.consider((alpha, beta), &logits.collect::<Vec<f32>>());
            }
        }
        let chosen = choice.chosen().unwrap();
        let right: Vec<i64> = chosen.tried.iter().map(|trial| trial.right as i64).collect();
        assert_eq!(right.len(), 4000);
        assert_eq!(grid.right(), right);
        let (least, most) = (right.iter().min().unwrap(), right.iter().max().unwrap());
        assert!(most - least > 8, "{least} to {most} right");
        // More are equally right than are compared; the likelihoods of those that are decide.
        let equals: Vec<Setting> =
            (0..4000).filter(|&at| right[at] == *most).map(|at| (at / 20, at % 20)).collect();
        assert!(equals.len() > FINALISTS, "{}", equals.len());
        let finalists = spread(&equals);
        let loss = |&(beta, alpha): &Setting| {
            let cached = task.cached(STEPS[0].value(beta));
            let rows = task.zero_shot.chunks(CLASSES).zip(cached.chunks(CLASSES)).zip(&task.labels);
            let loss = rows.map(|((zero, cached), &label)| {
                let logits = zero.iter().zip(cached);
                let logits: Vec<f64> =
                    logits.map(|(&zero, cached)| f64::from(zero) + STEPS[1].value(alpha) * cached).collect();
                logits.iter().map(|logit| logit.exp()).sum::<f64>().ln() - logits[label]
            });
            loss.sum::<f64>()
        };
        let best = finalists.iter().min_by(|a, b| loss(a).total_cmp(&loss(b))).unwrap();
        let (alpha, beta) = grid.best().unwrap();
        approx::assert_abs_diff_eq!(alpha, STEPS[1].value(best.1), epsilon = 1e-9);
        approx::assert_abs_diff_eq!(beta, STEPS[0].value(best.0), epsilon = 1e-9);
    }

    #[test]
    fn rounding_does_not_add_up() {
        let (task, mut compared) = (Task::new(), 0);
        task.grid().sweep(5, 200, |beta, cached| {
            let expected = task.cached(STEPS[0].value(beta));
            for (&found, expected) in cached.iter().zip(&expected[5 * CLASSES..6 * CLASSES]) {
                approx::assert_relative_eq!(f64::from(found), *expected, max_relative = 1e-5);
                compared += 1;
            }
        });
        assert_eq!(compared, 200 * CLASSES);
    }

    #[test]
    fn finalists_are_spread_over_the_grid() {
        let settings: Vec<Setting> = (0..40).map(|at| (at, 0)).collect();
        assert_eq!(spread(&settings[..3]), settings[..3]);
        let found: Vec<usize> = spread(&settings).iter().map(|(beta, _)| *beta).collect();
        assert_eq!(found, [0, 10, 20, 30]);
        assert!(spread(&[]).is_empty());
    }
}
