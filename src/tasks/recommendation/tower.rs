use burn::{
    module::{Module, Param},
    optim::GradientsParams,
    tensor::{Device, Tensor, TensorData, activation},
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::batches::{Batch, UserBatches};
use super::digest::digest;
use super::fitted_tower::FittedTower;
use super::{Catalogue, Histories};
use crate::adapter::{ResidualFusion, ResidualFusionConfig, cross_entropy};
use crate::error::{Error, Result, not_negative, positive};
use crate::evaluate::ranking::Lists;
use crate::features::{contrastive_logits, normalise};
use crate::model::Settings;
use crate::train::{NoMonitor, Optimiser, Run, Schedule, Session, Trainer};

/// Users whose last but one choice tells the weight of popularity: enough for a difference of a percent.
const ASKED: usize = 2000;

/// An adapter on the pictures of items, trained so that what a user chose lies near the user's other choices.
///
/// `v = normalise((1 - r) x + r W2 ReLU(W1 x))` on the centred features `x` of [`Catalogue`], with `W2` 0 at first, so that
/// training begins at [`HistoryMean`](super::HistoryMean). A step takes `batch_size` users, one random choice of each as
/// what is sought, and the mean of the others, normalised, as the user `u`: `CE(u v_j / tau)` over what all users of the
/// batch seek, where an item sought twice is no wrong answer to itself. AdamW without a schedule.
///
/// The score is `u v_j + beta ln(1 + n_j)` with the `n_j` users who chose `j`: nothing is added for an item that nobody
/// has chosen, which ranks by its picture. `beta` is what puts the last choice of each user, which is kept from training,
/// highest (NDCG@10); 0 of equal ones.
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `ratio` | 0.5 | 0..=1 | weight of the adapted branch, `r` |
/// | `reduction` | 4 | 1..=width | the hidden layer has `width / reduction` units |
/// | `tau` | 0.07 | above 0 | what cosines are divided by |
/// | `rate` | 0.001 | above 0 | Adam's |
/// | `decay` | 1e-4 | 0 or more | of both matrices, apart from the gradient |
/// | `batch_size` | 256 | 2 or more | users a step |
/// | `epochs` | 40 | any | passes over all users; with 0 only `beta` is chosen |
/// | `window` | 50 | 1 or more | choices of a user that count, the last ones |
/// | `half_life` | null | above 0 | choices after which one counts half; all alike where there is none |
/// | `popularity` | [0, 0.02, 0.05, 0.1] | 0 or more | values of `beta` to choose from |
/// | `seed` | 0 | | of `W1`, the order, and what is sought |
///
/// # Examples
/// ```
/// use clip_adapter::prelude::*;
/// use clip_adapter::tasks::recommendation::{Catalogue, Histories, Tower};
///
/// let file = FeatureFile::synthetic(0)?;
/// let photos = file.split("train")?;
/// let names: Vec<String> = (0..photos.len()).map(|row| format!("photo {row}")).collect();
/// let catalogue = Catalogue::new(names.clone(), photos.embeddings(), file.classifier().backbone())?;
/// // Forty users, each of whom chooses images of one class.
/// let of_class = |class: usize| (0..photos.len()).filter(move |&row| photos.labels()[row] == class);
/// let of = (0..40).map(|user| of_class(user % 4).skip(user / 4).take(6).collect()).collect();
/// let histories = Histories::new((0..40).map(|user| user.to_string()), names, of)?;
///
/// let mut run = Run::new(&Device::flex());
/// let model = Tower { epochs: 5, ..Tower::default() }.fit(&catalogue, &histories, &mut run)?;
/// let best = &model.recommend(histories.of(2), 1)?[0];
/// assert_eq!(photos.labels()[best.item], 2);
/// assert!(histories.of(2).contains(&best.because[0].item));
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tower {
    /// Weight of the adapted branch.
    pub ratio: f64,
    /// The hidden layer has `width / reduction` units.
    pub reduction: usize,
    /// What cosines are divided by.
    pub tau: f64,
    /// Adam's rate.
    pub rate: f64,
    /// Of both matrices, apart from the gradient.
    pub decay: f64,
    /// Users a step.
    pub batch_size: usize,
    /// Passes over all users.
    pub epochs: usize,
    /// Choices of a user that count, the last ones.
    pub window: usize,
    /// Choices after which one counts half.
    pub half_life: Option<f64>,
    /// Values of `beta` to choose from.
    pub popularity: Vec<f64>,
    /// Of the initial numbers, the order, and what is sought.
    pub seed: u64,
}

impl Default for Tower {
    fn default() -> Self {
        Self {
            ratio: 0.5,
            reduction: 4,
            tau: 0.07,
            rate: 0.001,
            decay: 1e-4,
            batch_size: 256,
            epochs: 40,
            window: 50,
            half_life: None,
            popularity: vec![0.0, 0.02, 0.05, 0.1],
            seed: 0,
        }
    }
}

impl Settings for Tower {
    const NAME: &'static str = "tower";
}

impl Tower {
    /// Checks every setting against its range, for features of this width.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first one outside.
    pub fn validate(&self, dim: usize) -> Result<()> {
        if !(0.0..=1.0).contains(&self.ratio) {
            return Err(Error::setting("ratio", "0..=1", self.ratio));
        }
        if !(1..=dim).contains(&self.reduction) {
            return Err(Error::setting("reduction", format!("1..={dim}"), self.reduction));
        }
        positive("tau", self.tau)?;
        positive("rate", self.rate)?;
        not_negative("decay", self.decay)?;
        if self.batch_size < 2 {
            return Err(Error::setting("batch_size", "2 or more", self.batch_size));
        }
        if self.window == 0 {
            return Err(Error::setting("window", "1 or more", self.window));
        }
        self.half_life.map_or(Ok(()), |half_life| positive("half_life", half_life))?;
        if self.popularity.is_empty() {
            return Err(Error::setting("popularity", "one value or more", "none"));
        }
        self.popularity.iter().try_for_each(|&beta| not_negative("popularity", beta))
    }

    /// Learns from a catalogue and the histories of its users, on the run's device.
    ///
    /// # Errors
    /// [`Error::Setting`] for a setting out of range; [`Error::Data`] if the histories are of other items or hold no
    /// choice; and whatever training fails with: [`Error::Diverged`], [`Error::Cancelled`], [`Error::Execution`].
    pub fn fit(
        &self,
        catalogue: &Catalogue,
        histories: &Histories,
        run: &mut Run<'_>,
    ) -> Result<FittedTower> {
        self.validate(catalogue.dim())?;
        catalogue.check(histories)?;
        if histories.choices() == 0 {
            return Err(Error::data("histories", "at least one choice", "none"));
        }
        let device = run.device().clone();
        let (earlier, last) = kept_out(histories);
        let identity = json!([Self::NAME, self, digest(histories, catalogue)]).to_string();
        let mut net = Net::new(self, catalogue.dim(), &device.clone().autodiff());
        let x = Tensor::from_data(
            TensorData::new(catalogue.centred(), [catalogue.len(), catalogue.dim()]),
            &device,
        );
        let batches = UserBatches::new(&earlier, self.window, self.batch_size, self.seed);
        if self.epochs > 0 && batches.has_some() {
            let mut session = Session::open(run, identity, 1)?;
            // A constant rate: the cosine's floor is its top.
            let schedule = Schedule { floor: 1.0, ..Schedule::cosine(self.rate, self.epochs) };
            let optimiser = Optimiser::AdamW { epsilon: Optimiser::EPSILON, weight_decay: self.decay };
            let gradients = |net: &Net, batch: Batch| {
                let loss = net.loss(&x, &batch, self.tau);
                Ok((loss.clone().inner(), GradientsParams::from_grads(loss.backward(), net)))
            };
            let trainer = Trainer { schedule, optimiser };
            net = trainer.train(net, &batches, gradients, &mut NoMonitor, "all users", &mut session)?;
            session.close()?;
        }
        let net = net.valid();
        let counts = histories.popularity();
        let mut model = FittedTower::new(self.clone(), net, catalogue.clone(), counts, &device)?;
        model.set_popularity(self.choose(&model, &earlier, &last)?);
        Ok(model)
    }

    /// The weight of popularity that puts what was kept out of training highest.
    fn choose(&self, model: &FittedTower, earlier: &Histories, last: &[Option<usize>]) -> Result<f64> {
        let counts = earlier.popularity();
        let asked: Vec<(usize, usize)> =
            last.iter().enumerate().filter_map(|(user, item)| Some((user, (*item)?))).collect();
        let step = asked.len().div_ceil(ASKED).max(1);
        let mut best = (self.popularity[0], f64::NEG_INFINITY);
        if asked.is_empty() || self.popularity.len() == 1 {
            return Ok(best.0);
        }
        let empty = Lists::new(counts.len(), 10)?;
        let mut lists = vec![empty; self.popularity.len()];
        for &(user, item) in asked.iter().step_by(step) {
            let history = earlier.of(user);
            let cosines = model.vectors().scores(history);
            for (lists, &beta) in lists.iter_mut().zip(&self.popularity) {
                let with = |(score, &count): (&f32, &usize)| score + (beta * (count as f64).ln_1p()) as f32;
                let scores: Vec<f32> = cosines.iter().zip(&counts).map(with).collect();
                lists.add(&scores, &[item], history)?;
            }
        }
        for (lists, &beta) in lists.iter().zip(&self.popularity) {
            let ndcg = lists.report()?.ndcg;
            if ndcg > best.1 {
                best = (beta, ndcg);
            }
        }
        Ok(best.0)
    }
}

/// The histories without the last choice of all who have three or more, and those choices.
fn kept_out(histories: &Histories) -> (Histories, Vec<Option<usize>>) {
    let (mut earlier, mut last) = histories.leave_last_out();
    for (user, last) in last.iter_mut().enumerate() {
        if histories.of(user).len() < 3
            && let Some(item) = last.take()
        {
            earlier.put_back(user, item);
        }
    }
    (earlier, last)
}

/// What trains.
#[derive(Module, Debug)]
pub(super) struct Net {
    down: Param<Tensor<2>>, // [dim, hidden]
    up: Param<Tensor<2>>,   // [hidden, dim]
    fusion: ResidualFusion,
}

impl Net {
    pub fn new(settings: &Tower, dim: usize, device: &Device) -> Self {
        let hidden = dim / settings.reduction;
        let mut random = ChaCha8Rng::seed_from_u64(settings.seed);
        let bound = 1.0 / (dim as f32).sqrt();
        let down = (0..dim * hidden).map(|_| random.random_range(-bound..bound)).collect::<Vec<f32>>();
        Self {
            down: Param::from_data(TensorData::new(down, [dim, hidden]), device),
            up: Param::from_data(TensorData::new(vec![0.0f32; hidden * dim], [hidden, dim]), device),
            fusion: ResidualFusionConfig::new().with_ratio(settings.ratio).init(device),
        }
    }

    /// `v`: `[items, dim]` to unit rows.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let hidden = activation::relu(x.clone().matmul(self.down.val()));
        normalise(self.fusion.forward(hidden.matmul(self.up.val()), x))
    }

    /// The mean cross-entropy of a batch; `x` holds all items.
    fn loss(&self, x: &Tensor<2>, batch: &Batch, tau: f64) -> Tensor<1> {
        let device = x.device();
        let [users, others] = batch.shape;
        let v = self.forward(x.clone().select(0, batch.items(&device)));
        let dim = v.dims()[1];
        let weights = batch.weights(&device).reshape([users, others, 1]);
        let chosen = v.clone().select(0, batch.others(&device)).reshape([users, others, dim]);
        let u = normalise((chosen * weights).sum_dim(1).reshape([users, dim]));
        let sought = v.select(0, batch.sought(&device));
        let logits = contrastive_logits(u, sought, 1.0 / tau) + batch.mask(&device);
        cross_entropy(logits, Tensor::eye(users, &device))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_a_range() {
        let tower = Tower::default;
        for (wrong, name) in [
            (Tower { ratio: 1.5, ..tower() }, "ratio"),
            (Tower { reduction: 0, ..tower() }, "reduction"),
            (Tower { reduction: 9, ..tower() }, "reduction"),
            (Tower { tau: 0.0, ..tower() }, "tau"),
            (Tower { rate: f64::NAN, ..tower() }, "rate"),
            (Tower { decay: -1.0, ..tower() }, "decay"),
            (Tower { batch_size: 1, ..tower() }, "batch_size"),
            (Tower { window: 0, ..tower() }, "window"),
            (Tower { half_life: Some(0.0), ..tower() }, "half_life"),
            (Tower { popularity: vec![], ..tower() }, "popularity"),
            (Tower { popularity: vec![0.0, -0.1], ..tower() }, "popularity"),
        ] {
            let error = wrong.validate(8).unwrap_err();
            assert!(matches!(&error, Error::Setting { name: found, .. } if found == name), "{error}");
        }
        tower().validate(8).unwrap();
    }

    #[test]
    fn two_choices_stay_in_training_and_of_three_the_last_is_kept_out() {
        let of = vec![vec![0, 1], vec![2, 0, 1], vec![2]];
        let histories = Histories::new(["a", "b", "c"], ["x", "y", "z"], of).unwrap();
        let (earlier, last) = kept_out(&histories);
        assert_eq!((earlier.of(0), earlier.of(1), earlier.of(2)), (&[0, 1][..], &[2, 0][..], &[2][..]));
        assert_eq!(last, [None, Some(1), None]);
    }
}
