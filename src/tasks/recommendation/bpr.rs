use std::ops::ControlFlow;

use faer::Mat;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::trained_rows::TrainedRows;
use super::{Catalogue, FittedBpr, Histories};
use crate::error::{Error, Result, not_negative, positive};
use crate::model::Settings;
use crate::train::{Progress, Run, permutation};

/// Draws of an item that a user has not chosen, before one that was chosen is let pass as such.
const TRIES: usize = 20;

/// The spread of the initial numbers.
const SPREAD: f64 = 0.1;

/// BPR (Rendle et al., 2009, <https://arxiv.org/abs/1205.2618>) and, with pictures, VBPR (He and McAuley, 2016,
/// <https://arxiv.org/abs/1510.01784>): vectors of users and items that put what was chosen above what was not.
///
/// `x_ui = b_i + p_u q_i + t_u E x_i` and `sum log(1 + exp(x_uj - x_ui))` over choices `i` of `u` and an item `j` each that
/// `u` has not chosen, by Adam. Without pictures the last term is gone, and items nobody chose have no score to speak of.
/// All is computed on the host; the same seed gives the same bits.
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `factors` | 32 | 1 or more | numbers of `p_u` and `q_i` |
/// | `visual_factors` | 32 | 1 or more | numbers of `t_u`; without pictures there is none |
/// | `rate` | 0.005 | above 0 | Adam's |
/// | `decay` | 1e-5 | 0 or more | the pull of all vectors towards 0 |
/// | `batch_size` | 4096 | 1 or more | choices a step |
/// | `epochs` | 40 | 1 or more | |
/// | `seed` | 0 | | of the initial numbers, the order, and the items not chosen |
///
/// # Examples
/// ```
/// use clip_adapter::prelude::*;
/// use clip_adapter::tasks::recommendation::{Bpr, Histories, Recommender};
///
/// let of = vec![vec![0, 1], vec![1, 0], vec![2, 3], vec![3, 2], vec![0]];
/// let histories = Histories::new(["a", "b", "c", "d", "e"], ["tea", "cup", "nail", "saw"], of)?;
/// let mut run = Run::new(&Device::flex());
/// let model = Bpr { epochs: 400, ..Bpr::default() }.fit(&histories, None, &mut run)?;
/// let scores = model.scores(4, histories.of(4));
/// assert!(scores[1] > scores[2] && scores[1] > scores[3], "{scores:?}");
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bpr {
    /// Numbers of a user's and an item's vector.
    pub factors: usize,
    /// Numbers of a user's vector for pictures.
    pub visual_factors: usize,
    /// Adam's rate.
    pub rate: f64,
    /// The pull of all vectors towards 0.
    pub decay: f64,
    /// Choices a step.
    pub batch_size: usize,
    /// Passes over all choices.
    pub epochs: usize,
    /// Of the initial numbers, the order, and the items not chosen.
    pub seed: u64,
}

impl Default for Bpr {
    fn default() -> Self {
        Self {
            factors: 32,
            visual_factors: 32,
            rate: 0.005,
            decay: 1e-5,
            batch_size: 4096,
            epochs: 40,
            seed: 0,
        }
    }
}

impl Settings for Bpr {
    const NAME: &'static str = "bpr";
}

impl Bpr {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first one outside.
    pub fn validate(&self) -> Result<()> {
        positive("rate", self.rate)?;
        not_negative("decay", self.decay)?;
        for (name, value) in [
            ("factors", self.factors),
            ("visual_factors", self.visual_factors),
            ("batch_size", self.batch_size),
            ("epochs", self.epochs),
        ] {
            if value == 0 {
                return Err(Error::setting(name, "1 or more", value));
            }
        }
        Ok(())
    }

    /// Learns from histories and, for VBPR, the pictures of the items. The run's progress is told; it keeps no state.
    ///
    /// # Errors
    /// [`Error::Setting`] for a setting out of range; [`Error::Data`] if the catalogue is of other items, or there is no
    /// choice; [`Error::Diverged`] if the loss is no number, [`Error::Cancelled`] if the run's callback says so.
    pub fn fit(
        &self,
        histories: &Histories,
        pictures: Option<&Catalogue>,
        run: &mut Run<'_>,
    ) -> Result<FittedBpr> {
        self.validate()?;
        pictures.map_or(Ok(()), |catalogue| catalogue.check(histories))?;
        if histories.choices() == 0 {
            return Err(Error::data("histories", "at least one choice", "none"));
        }
        let mut fit = Fit::new(self, histories, pictures);
        for epoch in 0..self.epochs {
            let loss = fit.epoch(epoch);
            if !loss.is_finite() {
                return Err(Error::Diverged { epoch: epoch + 1, loss });
            }
            let stage = if pictures.is_some() { "VBPR" } else { "BPR" };
            if let ControlFlow::Break(()) = run.report(&Progress::new(stage, epoch + 1, self.epochs, loss)) {
                return Err(Error::Cancelled { epoch: epoch + 1, epochs: self.epochs, checkpoint: None });
            }
        }
        Ok(fit.finish())
    }
}

/// Everything that trains, and what it trains on.
struct Fit<'a> {
    settings: &'a Bpr,
    choices: Vec<(u32, u32)>,
    seen: Vec<Vec<u32>>, // sorted
    items: usize,
    users: TrainedRows,
    vectors: TrainedRows,
    biases: TrainedRows,
    pictures: Option<Pictures>,
}

struct Pictures {
    features: Vec<f32>, // [items, dim]
    dim: usize,
    users: TrainedRows,
    projection: TrainedRows, // [dim, visual]
}

impl<'a> Fit<'a> {
    fn new(settings: &'a Bpr, histories: &Histories, pictures: Option<&Catalogue>) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(settings.seed);
        let mut rows = |count: usize, width: usize| {
            TrainedRows::new((0..count * width).map(|_| normal(&mut random)).collect(), width)
        };
        let (users, items) = (histories.users().len(), histories.items().len());
        let (factors, visual) = (settings.factors, settings.visual_factors);
        let (of_users, of_items) = (rows(users, factors), rows(items, factors));
        let pictures = pictures.map(|catalogue| Pictures {
            features: catalogue.centred(),
            dim: catalogue.dim(),
            users: rows(users, visual),
            projection: rows(catalogue.dim(), visual),
        });
        let sorted = |history: &[usize]| {
            let mut seen: Vec<u32> = history.iter().map(|&item| item as u32).collect();
            seen.sort_unstable();
            seen
        };
        let of_user = |(user, history): (usize, &'_ [usize])| -> Vec<(u32, u32)> {
            history.iter().map(|&item| (user as u32, item as u32)).collect()
        };
        Self {
            settings,
            choices: histories.iter().enumerate().flat_map(of_user).collect(),
            seen: histories.iter().map(sorted).collect(),
            items,
            users: of_users,
            vectors: of_items,
            biases: TrainedRows::new(vec![0.0; items], 1),
            pictures,
        }
    }

    /// The mean loss of an epoch.
    fn epoch(&mut self, epoch: usize) -> f64 {
        let order = permutation(self.choices.len(), self.settings.seed, epoch);
        let mut random = ChaCha8Rng::seed_from_u64(self.settings.seed);
        random.set_stream((1 << 32) + epoch as u64);
        let mut loss = 0.0;
        for batch in order.chunks(self.settings.batch_size) {
            let triples: Vec<[usize; 3]> = batch.iter().map(|&at| self.triple(at, &mut random)).collect();
            loss += self.step(&triples);
        }
        loss / self.choices.len() as f64
    }

    /// A user, an item chosen and one that was not.
    fn triple(&self, at: usize, random: &mut ChaCha8Rng) -> [usize; 3] {
        let (user, chosen) = self.choices[at];
        let seen = &self.seen[user as usize];
        let mut other = random.random_range(0..self.items as u32);
        for _ in 0..TRIES {
            if seen.binary_search(&other).is_err() {
                break;
            }
            other = random.random_range(0..self.items as u32);
        }
        [user, chosen, other].map(|index| index as usize)
    }

    /// One step of Adam; the sum of the losses.
    fn step(&mut self, triples: &[[usize; 3]]) -> f64 {
        let mut seen = self.pictures.as_ref().map(|pictures| Seen::new(pictures, triples, self.items));
        let (pull, mut loss) = (self.settings.decay as f32, 0.0);
        let mut apart = vec![0.0; self.settings.factors];
        for &[user, chosen, other] in triples {
            let (p, q, r) = (self.users.row(user), self.vectors.row(chosen), self.vectors.row(other));
            apart.iter_mut().zip(q.iter().zip(r)).for_each(|(apart, (q, r))| *apart = q - r);
            let mut margin = self.biases.values[chosen] - self.biases.values[other];
            margin += p.iter().zip(&apart).map(|(p, apart)| p * apart).sum::<f32>();
            if let (Some(seen), Some(pictures)) = (&mut seen, &self.pictures) {
                margin += seen.margin(pictures.users.row(user), chosen, other);
            }
            loss += f64::from((-margin.abs()).exp().ln_1p() + (-margin).max(0.0));
            let slope = -1.0 / (1.0 + margin.exp());
            self.vectors.add(chosen, slope, p, pull);
            self.vectors.add(other, -slope, p, pull);
            self.users.add(user, slope, &apart, pull);
            self.biases.add(chosen, slope, &[1.0], 0.0);
            self.biases.add(other, -slope, &[1.0], 0.0);
            if let (Some(seen), Some(pictures)) = (&mut seen, &mut self.pictures) {
                seen.add(slope, pictures.users.row(user), chosen, other);
                pictures.users.add(user, slope, &seen.apart, pull);
            }
        }
        let rate = self.settings.rate as f32;
        if let (Some(seen), Some(pictures)) = (seen, &mut self.pictures) {
            seen.finish(pictures, pull);
            pictures.users.step(rate);
            pictures.projection.step(rate);
        }
        self.users.step(rate);
        self.vectors.step(rate);
        self.biases.step(rate);
        loss
    }

    fn finish(self) -> FittedBpr {
        let pictures = self.pictures.map(|pictures| {
            let all: Vec<usize> = (0..self.items).collect();
            let projected = project(&pictures, &all);
            let width = pictures.users.width;
            let rows = (0..self.items * width).map(|at| projected[(at / width, at % width)]).collect();
            (pictures.users.values, rows, width)
        });
        FittedBpr::new(
            (self.users.values, self.vectors.values, self.settings.factors),
            self.biases.values,
            pictures,
        )
    }
}

/// `x E` of some items: `[items, visual]`.
fn project(pictures: &Pictures, items: &[usize]) -> Mat<f32> {
    gathered(pictures, items)
        * Mat::from_fn(pictures.dim, pictures.projection.width, |row, column| {
            pictures.projection.row(row)[column]
        })
}

fn gathered(pictures: &Pictures, items: &[usize]) -> Mat<f32> {
    Mat::from_fn(items.len(), pictures.dim, |row, column| {
        pictures.features[items[row] * pictures.dim + column]
    })
}

/// The pictures of the items of a batch.
struct Seen {
    items: Vec<usize>,
    place: Vec<u32>,
    projected: Mat<f32>, // [seen, visual]
    gradients: Mat<f32>,
    apart: Vec<f32>,
}

impl Seen {
    fn new(pictures: &Pictures, triples: &[[usize; 3]], items: usize) -> Self {
        let (mut place, mut seen) = (vec![u32::MAX; items], Vec::new());
        for item in triples.iter().flat_map(|&[_, chosen, other]| [chosen, other]) {
            if place[item] == u32::MAX {
                place[item] = seen.len() as u32;
                seen.push(item);
            }
        }
        let projected = project(pictures, &seen);
        let gradients = Mat::zeros(seen.len(), pictures.projection.width);
        let apart = vec![0.0; pictures.projection.width];
        Self { items: seen, place, projected, gradients, apart }
    }

    /// `t (E x_i - E x_j)`; the difference stays in `apart`.
    fn margin(&mut self, user: &[f32], chosen: usize, other: usize) -> f32 {
        let [chosen, other] = [chosen, other].map(|item| self.place[item] as usize);
        let projected = &self.projected;
        let differ =
            |(at, apart): (usize, &mut f32)| *apart = projected[(chosen, at)] - projected[(other, at)];
        self.apart.iter_mut().enumerate().for_each(differ);
        user.iter().zip(&self.apart).map(|(user, apart)| user * apart).sum()
    }

    fn add(&mut self, slope: f32, user: &[f32], chosen: usize, other: usize) {
        let [chosen, other] = [chosen, other].map(|item| self.place[item] as usize);
        for (at, user) in user.iter().enumerate() {
            self.gradients[(chosen, at)] += slope * user;
            self.gradients[(other, at)] -= slope * user;
        }
    }

    fn finish(self, pictures: &mut Pictures, pull: f32) {
        let gradients = gathered(pictures, &self.items).transpose() * &self.gradients; // [dim, visual]
        for row in 0..pictures.dim {
            let gradient: Vec<f32> = (0..gradients.ncols()).map(|column| gradients[(row, column)]).collect();
            pictures.projection.add(row, 1.0, &gradient, pull);
        }
    }
}

/// A draw of the normal distribution (Box and Muller, 1958).
fn normal(random: &mut ChaCha8Rng) -> f32 {
    let (a, b): (f64, f64) = (random.random(), random.random());
    (SPREAD * (-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::TAU * b).cos()) as f32
}
