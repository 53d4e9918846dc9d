use std::path::Path;

use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::tower::Net;
use super::vectors::Vectors;
use super::{Catalogue, Reason, Recommender, Tower};
use crate::error::{Error, Result};
use crate::evaluate::ranking::best;
use crate::features::Embeddings;
use crate::fingerprint::Fingerprint;
use crate::model::{Model, Saved, Section, Settings};

/// Items adapted at once.
const BLOCK: usize = 4096;

/// Items of the history that are named as reasons.
const REASONS: usize = 3;

/// What [`Tower::fit`] learned: a vector of every item, from which a user is made of any history in microseconds.
///
/// A user need not be among those that were learned from, and a choice counts as soon as it is in the history that is
/// asked with: nothing is fitted again. [`with_new_items`](Self::with_new_items) takes what was uploaded today.
#[derive(Debug, Clone)]
pub struct FittedTower {
    settings: Tower,
    net: Net,
    catalogue: Catalogue,
    counts: Vec<usize>,
    beta: f64,
    vectors: Vectors,
    device: Device,
}

/// An item that a user may like.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Recommendation {
    /// Its place in the catalogue.
    pub item: usize,
    /// Its name.
    pub name: String,
    /// Its score.
    pub score: f64,
    /// The part of it that is due to how many chose the item.
    pub popularity: f64,
    /// The three items of the history that speak for it, the loudest first.
    pub because: Vec<Reason>,
}

impl Recommendation {
    /// One of a model that gives no reasons.
    pub fn plain(item: usize, name: impl Into<String>, score: f32) -> Self {
        let (name, score) = (name.into(), f64::from(score));
        Self { item, name, score, popularity: 0.0, because: Vec::new() }
    }
}

/// What a file says beside the numbers.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Found {
    beta: f64,
}

impl FittedTower {
    pub(super) fn new(
        settings: Tower,
        net: Net,
        catalogue: Catalogue,
        counts: Vec<usize>,
        device: &Device,
    ) -> Result<Self> {
        let x = Embeddings::new(catalogue.centred(), catalogue.dim())?;
        let (window, half_life) = (settings.window, settings.half_life);
        let mut values = Vec::with_capacity(x.values().len());
        for start in (0..x.rows()).step_by(BLOCK) {
            let v = net.forward(x.tensor_of(start..(start + BLOCK).min(x.rows()), device));
            values.extend(
                v.try_into_vec_as::<f32>().map_err(|error| Error::execution("adapting items", error))?,
            );
        }
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            let row = at / catalogue.dim();
            return Err(Error::data(format!("vector of item {row}"), "finite values", values[at]));
        }
        let vectors = Vectors { values, dim: catalogue.dim(), window, half_life };
        Ok(Self { settings, net, catalogue, counts, beta: 0.0, vectors, device: device.clone() })
    }

    pub(super) fn vectors(&self) -> &Vectors {
        &self.vectors
    }

    pub(super) fn set_popularity(&mut self, beta: f64) {
        self.beta = beta;
    }

    /// The settings it was fitted with.
    pub fn settings(&self) -> &Tower {
        &self.settings
    }

    /// The items.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// The weight of popularity that was chosen.
    pub fn beta(&self) -> f64 {
        self.beta
    }

    /// The same without popularity: pictures alone.
    pub fn without_popularity(&self) -> Self {
        Self { beta: 0.0, ..self.clone() }
    }

    /// The `k` items that a user of this history may like best, none of which is in it, with the reasons. Without a
    /// history the most popular ones.
    ///
    /// # Errors
    /// [`Error::Data`] if the history names an item that is in no catalogue.
    pub fn recommend(&self, history: &[usize], k: usize) -> Result<Vec<Recommendation>> {
        if let Some(item) = history.iter().find(|&&item| item >= self.catalogue.len()) {
            let expected = format!("items below {}", self.catalogue.len());
            return Err(Error::data("history", expected, item));
        }
        let scores = self.scores(0, history);
        let recommendation = |item: usize| Recommendation {
            item,
            name: self.catalogue.names()[item].clone(),
            score: f64::from(scores[item]),
            popularity: self.popularity(item),
            because: self.vectors.reasons(history, item, REASONS),
        };
        Ok(best(&scores, history, k).into_iter().map(recommendation).collect())
    }

    /// `beta ln(1 + n)`.
    fn popularity(&self, item: usize) -> f64 {
        self.beta * (self.counts[item] as f64).ln_1p()
    }

    /// The same with items that nobody has chosen yet, behind the others: their names and the features of their images,
    /// `[items, dim]`, of any length. Nothing is learned again.
    ///
    /// # Errors
    /// [`Error::Dim`] or [`Error::Data`] if there is not one feature of the catalogue's width a name, or a name is taken.
    pub fn with_new_items<N: Into<String>>(
        &self,
        names: impl IntoIterator<Item = N>,
        images: &Embeddings,
    ) -> Result<Self> {
        let names = names.into_iter().map(Into::into).collect();
        let catalogue = self.catalogue.with_new(names, images)?;
        let mut counts = self.counts.clone();
        counts.resize(catalogue.len(), 0);
        let grown = Self::new(self.settings.clone(), self.net.clone(), catalogue, counts, &self.device)?;
        Ok(Self { beta: self.beta, ..grown })
    }

    /// Opens what [`Save::save`](crate::model::Save::save) wrote, for features of this backbone.
    ///
    /// # Errors
    /// [`Error::Read`] if it cannot be read, [`Error::Malformed`] if it is not the whole file of a tower, and
    /// [`Error::Fingerprint`] if it is of another backbone.
    pub fn open(path: impl AsRef<Path>, backbone: &str, device: &Device) -> Result<Self> {
        let saved = Saved::open(path)?;
        if saved.kind() != Tower::NAME {
            let (expected, found) = (format!("`{}`", Tower::NAME), format!("`{}`", saved.kind()));
            return Err(saved.malformed("metadata `method`", expected, found));
        }
        saved.load_by(&Fingerprint::of_backbone(backbone), |saved| {
            let settings: Tower = saved.json("settings")?;
            let Found { beta } = saved.json("found")?;
            if !beta.is_finite() || beta < 0.0 {
                return Err(saved.malformed("metadata `found`: beta", "0 or more", beta));
            }
            let names: Vec<String> = saved.json("items")?;
            let host = |tensor: Tensor<2>| {
                let values = tensor.try_into_vec_as::<f32>();
                values.map_err(|error| Error::execution("reading a tower", error))
            };
            let features = saved.tensor("features", [Some(names.len()), None], device)?;
            let dim = features.dims()[1];
            settings.validate(dim).map_err(|error| saved.locate("settings", error))?;
            let mean = host(saved.tensor("mean", [Some(1), Some(dim)], device)?)?;
            let located = |error: Error| saved.locate("items", error);
            let features = Embeddings::new(host(features)?, dim).map_err(located)?;
            let catalogue =
                Catalogue::with_mean(names, features, mean, backbone.to_owned()).map_err(located)?;
            let counts = saved.indices("popularity")?;
            if counts.len() != catalogue.len() {
                return Err(saved.malformed("tensor `popularity`", catalogue.len(), counts.len()));
            }
            saved.require_shape("up", &[dim / settings.reduction, dim])?;
            let net = saved.module(Net::new(&settings, dim, device))?;
            Ok(Self { beta, ..Self::new(settings, net, catalogue, counts, device)? })
        })
    }
}

impl Recommender for FittedTower {
    fn name(&self) -> &'static str {
        if self.beta > 0.0 { "tower with popularity" } else { Tower::NAME }
    }

    fn scores(&self, _user: usize, history: &[usize]) -> Vec<f32> {
        let cosines = self.vectors.scores(history).into_iter().enumerate();
        cosines.map(|(item, cosine)| cosine + self.popularity(item) as f32).collect()
    }
}

impl Model for FittedTower {
    fn kind(&self) -> &'static str {
        Tower::NAME
    }

    fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of_backbone(self.catalogue.backbone())
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn chosen(&self) -> Value {
        json!({ "beta": self.beta })
    }

    fn write(&self, into: &mut Section<'_, '_>) -> Result<()> {
        into.settings(&self.settings, &Found { beta: self.beta });
        into.json("items", &self.catalogue.names());
        let shape = [self.catalogue.len(), self.catalogue.dim()];
        into.floats("features", &shape, self.catalogue.features().values());
        into.floats("mean", &[1, shape[1]], self.catalogue.mean());
        into.indices("popularity", &self.counts);
        into.module(&self.net);
        Ok(())
    }
}
