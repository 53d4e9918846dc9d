use std::path::Path;

use burn::tensor::Device;
use faer::{Mat, linalg::solvers::Solve};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Head, LinearHead, Pair};
use crate::error::{Error, Result, positive};
use crate::features::Embeddings;
use crate::fingerprint::Fingerprint;
use crate::model::{Model, Saved, Section, Settings};
use crate::numerics::{LogisticRidge, cholesky, dot};

/// Random pairs of which the one that teaches most is asked.
const ASKED: usize = 200;

/// One person's taste from choices between two images each: the model of Bradley and Terry (1952,
/// <https://doi.org/10.2307/2334029>) on CLIP features.
///
/// `w = argmin sum log(1 + exp(-(x_a - x_b) w)) + lambda/2 |w - w0|^2` over pairs of a winner `a` and a loser `b`; a tie is
/// half a win each way. `x = f - m` for the unit feature `f` of an image and the mean `m` of the candidates, and `w0` is 0
/// or a published head. Solved on the host in f64, as [`Taste`](crate::tasks::taste::Taste) is.
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `lambda` | 0.3 | above 0 | the pull to `w0` |
///
/// # Examples
/// ```
/// use clip_adapter::{FeatureFile, tasks::generation::{Head, Pair, Preference}};
///
/// let file = FeatureFile::synthetic(0)?;
/// let photos = file.split("train")?;
/// let of_class = |class: usize| (0..photos.len()).filter(|&row| photos.labels()[row] == class).collect::<Vec<_>>();
/// let (liked, not) = (of_class(3), of_class(5));
/// let pairs: Vec<Pair> = (0..6).map(|at| Pair::won(liked[at], not[at])).collect();
///
/// let (preference, images) = (Preference::default(), photos.embeddings());
/// let head = preference.fit(images, &pairs, None, file.classifier().backbone())?;
/// let scores = head.scores(images)?;
/// assert!(scores[liked[20]] > scores[not[20]]);
/// let next = preference.next_pair(images, &pairs, &head, 1)?; // what to ask next
/// assert!(next.is_some_and(|(one, other)| one != other));
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Preference {
    /// The pull to what is known without pairs.
    pub lambda: f64,
}

impl Default for Preference {
    fn default() -> Self {
        Self { lambda: 0.3 }
    }
}

impl Settings for Preference {
    const NAME: &'static str = "preference";
}

impl Preference {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first one outside.
    pub fn validate(&self) -> Result<()> {
        positive("lambda", self.lambda)
    }

    /// Learns from pairs of candidates, whose features `[candidates, dim]` may be of any length. `start` and what to
    /// multiply it with is where the taste is without pairs; `backbone` names what made the features.
    ///
    /// # Errors
    /// [`Error::Setting`] for a setting out of range; [`Error::Data`] if there is no candidate, or a pair names what is
    /// none or one twice; [`Error::Dim`] if the head is of another width.
    pub fn fit(
        &self,
        candidates: &Embeddings,
        pairs: &[Pair],
        start: Option<(&LinearHead, f64)>,
        backbone: &str,
    ) -> Result<PreferenceHead> {
        self.validate()?;
        let (rows, mean) = centred(candidates)?;
        let dim = candidates.dim();
        let start: Vec<f64> = match start {
            None => vec![0.0; dim],
            Some((head, _)) if head.dim() != dim => {
                let what = "features of the head to start from".to_owned();
                return Err(Error::Dim { what, expected: dim, found: head.dim() });
            }
            Some((head, scale)) => head.weights().iter().map(|&w| scale * f64::from(w)).collect(),
        };
        let mut ridge = LogisticRidge { lambda: self.lambda, ..LogisticRidge::default() };
        for pair in pairs {
            let apart = apart(&rows, *pair)?;
            let known = dot(&apart, &start);
            let sides: &[(f64, f64)] = if pair.tie { &[(1.0, 0.5), (-1.0, 0.5)] } else { &[(1.0, 1.0)] };
            for &(sign, weight) in sides {
                ridge.rows.push(apart.clone());
                ridge.signs.push(sign);
                ridge.weights.push(weight);
                ridge.offsets.push(known);
            }
        }
        let moved = ridge.solve(dim);
        let weights: Vec<f32> =
            start.iter().zip(&moved).map(|(start, moved)| (start + moved) as f32).collect();
        Ok(PreferenceHead {
            settings: *self,
            weights,
            mean: mean.into_iter().map(|value| value as f32).collect(),
            found: Found { pairs: pairs.len(), ties: pairs.iter().filter(|pair| pair.tie).count() },
            backbone: backbone.to_owned(),
            device: Device::default(),
        })
    }

    /// The pair whose answer teaches most, of 200 random ones by this seed that were not asked: `argmax p (1 - p) z H^-1 z`
    /// with `z = x_a - x_b`, the probability `p` that `a` wins, and the curvature `H` of what was minimised. None if all
    /// were asked.
    ///
    /// # Errors
    /// As [`fit`](Self::fit); [`Error::Dim`] if the head is of another width.
    pub fn next_pair(
        &self,
        candidates: &Embeddings,
        pairs: &[Pair],
        head: &PreferenceHead,
        seed: u64,
    ) -> Result<Option<(usize, usize)>> {
        self.validate()?;
        let (rows, _) = centred(candidates)?;
        let scores = head.scores(candidates)?;
        let doubt = |a: usize, b: usize| {
            let p = 1.0 / (1.0 + f64::from(scores[b] - scores[a]).exp());
            p * (1.0 - p)
        };
        let dim = candidates.dim();
        let mut asked: Vec<(usize, usize)> = Vec::with_capacity(pairs.len());
        let mut weighted = Mat::<f64>::zeros(pairs.len(), dim);
        for (row, &pair) in pairs.iter().enumerate() {
            let (apart, weight) = (apart(&rows, pair)?, doubt(pair.winner, pair.loser).sqrt());
            apart.iter().enumerate().for_each(|(at, value)| weighted[(row, at)] = weight * value);
            asked.push((pair.winner.min(pair.loser), pair.winner.max(pair.loser)));
        }
        let mut curvature = weighted.transpose() * &weighted;
        (0..dim).for_each(|at| curvature[(at, at)] += self.lambda);
        let curvature = cholesky(&curvature, "looking for the next pair")?;
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let draws = (0..if rows.len() > 1 { ASKED } else { 0 }).map(|_| {
            let (a, b) = (random.random_range(0..rows.len()), random.random_range(0..rows.len() - 1));
            let b = if b < a { b } else { b + 1 };
            (a.min(b), a.max(b))
        });
        let open: Vec<(usize, usize)> = draws.filter(|pair| !asked.contains(pair)).collect();
        if open.is_empty() {
            return Ok(None);
        }
        let apart = Mat::from_fn(dim, open.len(), |at, pair| rows[open[pair].0][at] - rows[open[pair].1][at]);
        let solved = curvature.solve(&apart);
        let mut best = None;
        for (column, &(a, b)) in open.iter().enumerate() {
            let open: f64 = (0..dim).map(|at| apart[(at, column)] * solved[(at, column)]).sum();
            let worth = doubt(a, b) * open;
            if best.is_none_or(|(_, known)| worth > known) {
                best = Some(((a, b), worth));
            }
        }
        Ok(best.map(|(pair, _)| pair))
    }
}

/// `x` of every candidate, and their mean.
fn centred(candidates: &Embeddings) -> Result<(Vec<Vec<f64>>, Vec<f64>)> {
    if candidates.rows() == 0 {
        return Err(Error::data("candidates", "at least one", "none"));
    }
    let unit = candidates.unit_rows();
    let (count, dim) = (unit.nrows(), unit.ncols());
    let mean: Vec<f64> =
        (0..dim).map(|at| (0..count).map(|row| unit[(row, at)]).sum::<f64>() / count as f64).collect();
    let row = |row: usize| (0..dim).map(|at| unit[(row, at)] - mean[at]).collect();
    Ok(((0..count).map(row).collect(), mean))
}

fn apart(rows: &[Vec<f64>], Pair { winner, loser, .. }: Pair) -> Result<Vec<f64>> {
    if winner == loser || winner.max(loser) >= rows.len() {
        let expected = format!("two of {} candidates", rows.len());
        return Err(Error::data("pair", expected, format!("{winner} and {loser}")));
    }
    Ok(rows[winner].iter().zip(&rows[loser]).map(|(a, b)| a - b).collect())
}

/// What [`Preference::fit`] learned: a direction, which scores any image of the same backbone.
#[derive(Debug, Clone)]
pub struct PreferenceHead {
    settings: Preference,
    weights: Vec<f32>,
    mean: Vec<f32>,
    found: Found,
    backbone: String,
    device: Device,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Found {
    pairs: usize,
    ties: usize,
}

impl PreferenceHead {
    /// How many pairs it was fitted with.
    pub fn pairs(&self) -> usize {
        self.found.pairs
    }

    /// Names the weights and preprocessing that made the features.
    pub fn backbone(&self) -> &str {
        &self.backbone
    }

    /// Opens what [`Save::save`](crate::model::Save::save) wrote, for features of this backbone.
    ///
    /// # Errors
    /// [`Error::Read`] if it cannot be read, [`Error::Malformed`] if it is not the whole file of such a head, and
    /// [`Error::Fingerprint`] if it is of another backbone.
    pub fn open(path: impl AsRef<Path>, backbone: &str) -> Result<Self> {
        let saved = Saved::open(path)?;
        if saved.kind() != Preference::NAME {
            let (expected, found) = (format!("`{}`", Preference::NAME), format!("`{}`", saved.kind()));
            return Err(saved.malformed("metadata `method`", expected, found));
        }
        saved.load_by(&Fingerprint::of_backbone(backbone), |saved| {
            let settings: Preference = saved.json("settings")?;
            settings.validate().map_err(|error| saved.locate("settings", error))?;
            let (found, device) = (saved.json("found")?, Device::default());
            let weights = saved.tensor("weight", [None], &device)?;
            let mean = saved.tensor("mean", [Some(weights.dims()[0])], &device)?;
            let failed = |error| Error::execution("reading a head", error);
            let [weights, mean] = [weights, mean].map(|tensor| tensor.try_into_vec_as::<f32>());
            let (weights, mean) = (weights.map_err(failed)?, mean.map_err(failed)?);
            Ok(Self { settings, weights, mean, found, backbone: backbone.to_owned(), device })
        })
    }
}

impl Head for PreferenceHead {
    /// `w (f - m)`: of two images the one with the larger number wins with the probability `sigmoid` of their difference.
    fn scores(&self, images: &Embeddings) -> Result<Vec<f32>> {
        if images.dim() != self.weights.len() {
            let what = "features of a preference".to_owned();
            return Err(Error::Dim { what, expected: self.weights.len(), found: images.dim() });
        }
        let images = images.normalised();
        let score = |row: usize| {
            let parts = self.weights.iter().zip(images.row(row)).zip(&self.mean);
            parts.map(|((&w, &f), &m)| f64::from(w) * (f64::from(f) - f64::from(m))).sum::<f64>() as f32
        };
        Ok((0..images.rows()).map(score).collect())
    }
}

impl Model for PreferenceHead {
    fn kind(&self) -> &'static str {
        Preference::NAME
    }

    fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of_backbone(&self.backbone)
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn chosen(&self) -> Value {
        json!({ "pairs": self.found.pairs, "ties": self.found.ties })
    }

    fn write(&self, into: &mut Section<'_, '_>) -> Result<()> {
        into.settings(&self.settings, &self.found);
        into.floats("weight", &[self.weights.len()], &self.weights);
        into.floats("mean", &[self.mean.len()], &self.mean);
        Ok(())
    }
}
