use std::path::Path;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Gallery, Taste};
use crate::error::{Error, Result};
use crate::features::Embeddings;
use crate::fingerprint::{Fingerprint, require_backbone};
use crate::model::{Model, Saved, Section, Settings};

/// What [`Taste::fit`] learned: a direction, which scores any image of the same backbone.
///
/// # Examples
/// Thumbs that improve a search, in whatever searches by inner products:
/// ```
/// use clip_adapter::{FeatureFile, model::Save, tasks::taste::{Gallery, FittedTaste, Taste}};
/// use clip_adapter::tasks::search::{Index, Rows};
///
/// let file = FeatureFile::synthetic(0)?;
/// let photos = file.split("train")?.embeddings();
/// let (index, gallery) = (Rows::floats(photos), Gallery::new(photos, "synthetic")?);
/// let query = file.classifier().weights().select(&[0]);
/// let first = index.search(&query, 1)?[0][0].row;
///
/// let (up, down) = (photos.select(&[17]), photos.select(&[first]));
/// let taste = Taste::search().fit(&gallery, &up, &down, Some(&query))?;
/// let taught = index.search(&taste.query(&gallery, &query)?, index.len())?;
/// let place = |row: usize| taught[0].iter().position(|hit| hit.row == row).unwrap();
/// assert!(place(17) < place(first));
///
/// let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("taste.safetensors");
/// taste.save(&path)?;
/// assert_eq!(FittedTaste::open(&path, "synthetic")?.scores(photos)?, taste.scores(photos)?);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct FittedTaste {
    settings: Taste,
    weights: Vec<f32>, // of x, [dim]
    found: Found,
    mean: Vec<f32>, // of the gallery, [dim]
    backbone: String,
    device: Device,
}

/// What a file says beside the numbers.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Found {
    likes: usize,
    dislikes: usize,
    spread: f64,
}

impl FittedTaste {
    pub(super) fn new(settings: Taste, gallery: &Gallery, weights: &[f64], thumbs: [usize; 2]) -> Self {
        let narrow = |values: &[f64]| values.iter().map(|&value| value as f32).collect();
        let [likes, dislikes] = thumbs;
        Self {
            settings,
            weights: narrow(weights),
            found: Found { likes, dislikes, spread: gallery.spread() },
            mean: narrow(gallery.mean()),
            backbone: gallery.backbone().to_owned(),
            device: Device::default(),
        }
    }

    /// What several persons like in common: the mean of their tastes, for
    /// [`fit_around`](Taste::fit_around) and for someone of whom nothing is known.
    ///
    /// # Errors
    /// [`Error::Data`] if there is none, [`Error::Fingerprint`] if they are of several backbones, and [`Error::Dim`] if they
    /// have several widths.
    pub fn mean<'t>(tastes: impl IntoIterator<Item = &'t Self>) -> Result<Self> {
        let mut tastes = tastes.into_iter();
        let Some(first) = tastes.next() else {
            return Err(Error::data("tastes", "at least one", "none"));
        };
        let (mut sum, mut count) = (first.scaled(first.found.spread), 1.0);
        let mut found = first.found;
        for taste in tastes {
            require_backbone("backbones of tastes", &first.backbone, &taste.backbone)?;
            first.check_dim("taste", taste.weights.len())?;
            sum.iter_mut().zip(taste.scaled(first.found.spread)).for_each(|(sum, w)| *sum += w);
            found.likes += taste.found.likes;
            found.dislikes += taste.found.dislikes;
            count += 1.0;
        }
        let weights = sum.into_iter().map(|sum| (sum / count) as f32).collect();
        Ok(Self { weights, found, ..first.clone() })
    }

    /// `w` for features that are divided by this spread.
    fn scaled(&self, spread: f64) -> Vec<f64> {
        self.weights.iter().map(|&w| f64::from(w) * spread / self.found.spread).collect()
    }

    /// `w` for the features of a gallery.
    pub(super) fn weights_on(&self, gallery: &Gallery) -> Result<Vec<f64>> {
        require_backbone("backbones of a taste and a gallery", &self.backbone, gallery.backbone())?;
        self.check_dim("gallery", gallery.dim())?;
        Ok(self.scaled(gallery.spread()))
    }

    /// The settings it was fitted with.
    pub fn settings(&self) -> &Taste {
        &self.settings
    }

    /// How many thumbs up it was fitted with.
    pub fn likes(&self) -> usize {
        self.found.likes
    }

    /// How many thumbs down.
    pub fn dislikes(&self) -> usize {
        self.found.dislikes
    }

    /// How much each image is to the person's taste, `w x`: above 0 rather liked, below rather not.
    ///
    /// # Shapes
    /// - `images`: `[images, dim]`, of any length
    ///
    /// # Errors
    /// [`Error::Dim`] if they have another width.
    pub fn scores(&self, images: &Embeddings) -> Result<Vec<f32>> {
        self.check_dim("image features", images.dim())?;
        let images = images.normalised();
        let score = |row: usize| {
            let parts = self.weights.iter().zip(images.row(row)).zip(&self.mean);
            let sum: f64 = parts.map(|((&w, &f), &m)| f64::from(w) * (f64::from(f) - f64::from(m))).sum();
            (sum / self.found.spread) as f32
        };
        Ok((0..images.rows()).map(score).collect())
    }

    /// The query that finds what is to the person's taste, whatever was asked for: `w`, of unit length, `[1, dim]`.
    ///
    /// # Errors
    /// [`Error::Data`] if there was no thumb to learn from.
    pub fn direction(&self) -> Result<Embeddings> {
        let found = format!("{} up and {} down", self.found.likes, self.found.dislikes);
        let direction = Embeddings::new(self.weights.clone(), self.weights.len());
        Ok(direction.map_err(|_| Error::data("thumbs", "some to learn from", found))?.into_normalised())
    }

    /// The query that finds what was asked for and is to the person's taste: `query / s q + w / c`, of unit length, with
    /// the `s` and `c` of the gallery. The order by its inner products with images of unit length is that of the
    /// regression; without thumbs, that of the plain search. Also for another query than the thumbs were given on.
    ///
    /// # Shapes
    /// - `query`: `[1, dim]`
    /// - returns: `[1, dim]`
    ///
    /// # Errors
    /// [`Error::Dim`] or [`Error::Data`] if the query is not one row of the gallery's width;
    /// [`Error::Fingerprint`] if the gallery is of another backbone.
    pub fn query(&self, gallery: &Gallery, query: &Embeddings) -> Result<Embeddings> {
        require_backbone("backbones of a taste and a gallery", &self.backbone, gallery.backbone())?;
        self.check_dim("gallery", gallery.dim())?;
        let known = gallery.standardised(query)?.unwrap_or_else(|| vec![0.0; query.dim()]);
        let sum = known.iter().zip(&self.weights);
        let sum = sum.map(|(q, &w)| (self.settings.query * q + f64::from(w) / self.found.spread) as f32);
        match Embeddings::new(sum.collect(), query.dim()) {
            Ok(taught) => Ok(taught.into_normalised()),
            Err(_) => Ok(query.normalised()), // neither has anything to say
        }
    }

    /// Opens what [`Save::save`](crate::model::Save::save) wrote, for features of this backbone.
    ///
    /// # Errors
    /// [`Error::Read`] if it cannot be read, [`Error::Malformed`] if it is not the whole file of a taste, and
    /// [`Error::Fingerprint`] if it is of another backbone.
    pub fn open(path: impl AsRef<Path>, backbone: &str) -> Result<Self> {
        let saved = Saved::open(path)?;
        if saved.kind() != Taste::NAME {
            let (expected, found) = (format!("`{}`", Taste::NAME), format!("`{}`", saved.kind()));
            return Err(saved.malformed("metadata `method`", expected, found));
        }
        saved.load_by(&Fingerprint::of_backbone(backbone), |saved| {
            let settings: Taste = saved.json("settings")?;
            settings.validate().map_err(|error| saved.locate("settings", error))?;
            let found: Found = saved.json("found")?;
            if !found.spread.is_finite() || found.spread <= 0.0 {
                return Err(saved.malformed("metadata `found`: spread", "above 0", found.spread));
            }
            let device = Device::default();
            let weights = saved.tensor("weight", [None], &device)?;
            let mean = saved.tensor("mean", [Some(weights.dims()[0])], &device)?;
            let failed = |error| Error::execution("reading a taste", error);
            let [weights, mean] = [weights, mean].map(|tensor| tensor.try_into_vec_as::<f32>());
            let (weights, mean) = (weights.map_err(failed)?, mean.map_err(failed)?);
            Ok(Self { settings, weights, found, mean, backbone: backbone.to_owned(), device })
        })
    }

    fn check_dim(&self, what: &str, found: usize) -> Result<()> {
        match self.weights.len() == found {
            true => Ok(()),
            false => Err(Error::Dim { what: what.to_owned(), expected: self.weights.len(), found }),
        }
    }
}

impl Model for FittedTaste {
    fn kind(&self) -> &'static str {
        Taste::NAME
    }

    fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of_backbone(&self.backbone)
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn chosen(&self) -> Value {
        json!({ "likes": self.found.likes, "dislikes": self.found.dislikes })
    }

    fn write(&self, into: &mut Section<'_, '_>) -> Result<()> {
        into.settings(&self.settings, &self.found);
        into.floats("weight", &[self.weights.len()], &self.weights);
        into.floats("mean", &[self.mean.len()], &self.mean);
        Ok(())
    }
}
