use std::collections::HashMap;

use super::Histories;
use crate::error::{Error, Result, listed};
use crate::features::Embeddings;

/// The items that are recommended: their names, and features that say what they look like.
///
/// `x = normalise(f - m)` for the unit feature `f` of an item and the mean `m` of the catalogue. CLIP's images share most
/// of their direction, which says nothing of a taste: without centring every score of content is about half as good.
/// Where an item has a text too, `f = normalise(image + text)`.
///
/// # Examples
/// ```
/// use clip_adapter::{features::Embeddings, tasks::recommendation::Catalogue};
///
/// let images = Embeddings::new(vec![0.9, 0.1, 0.9, 0.3, 0.9, 0.2], 2)?;
/// let catalogue = Catalogue::new(["mug", "vase", "bowl"], &images, "weights:0")?;
/// assert_eq!((catalogue.len(), catalogue.place("vase"), catalogue.place("pan")), (3, Some(1), None));
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Catalogue {
    names: Vec<String>,
    places: HashMap<String, usize>,
    features: Embeddings, // unit
    mean: Vec<f32>,
    backbone: String,
}

impl Catalogue {
    /// Takes the items' names, the features `[items, dim]` of their images, of any length, and what names the weights that
    /// made them.
    ///
    /// # Errors
    /// [`Error::Data`] if there is not one feature a name, a name comes twice, or no two items look different.
    pub fn new<N: Into<String>>(
        names: impl IntoIterator<Item = N>,
        images: &Embeddings,
        backbone: impl Into<String>,
    ) -> Result<Self> {
        let features = images.normalised();
        let count = features.rows().max(1) as f64;
        let mut mean = vec![0.0; features.dim()];
        for row in 0..features.rows() {
            mean.iter_mut()
                .zip(features.row(row))
                .for_each(|(mean, &value)| *mean += f64::from(value) / count);
        }
        let mean = mean.into_iter().map(|value: f64| value as f32).collect();
        Self::with_mean(names.into_iter().map(Into::into).collect(), features, mean, backbone.into())
    }

    /// The same around a mean that is known.
    pub(super) fn with_mean(
        names: Vec<String>,
        features: Embeddings,
        mean: Vec<f32>,
        backbone: String,
    ) -> Result<Self> {
        if names.len() != features.rows() {
            let expected = format!("one for each of {} names", names.len());
            return Err(Error::data("features of items", expected, features.rows()));
        }
        features.check_dim("mean of the features", mean.len())?;
        let mut places = HashMap::with_capacity(names.len());
        for (place, name) in names.iter().enumerate() {
            if places.insert(name.clone(), place).is_some() {
                return Err(Error::data("items", "names that differ", format!("`{name}` twice")));
            }
        }
        let square = |row: usize| -> f32 {
            features.row(row).iter().zip(&mean).map(|(value, mean)| (value - mean) * (value - mean)).sum()
        };
        if let Some(row) = (0..features.rows()).find(|&row| square(row) < 1e-12) {
            let expected = "features that differ from their mean";
            return Err(Error::data(format!("item `{}`", names[row]), expected, "the mean itself"));
        }
        Ok(Self { names, places, features, mean, backbone })
    }

    /// Puts the features of texts `[items, dim]` beside those of the images: a title, a description.
    ///
    /// # Errors
    /// [`Error::Dim`] or [`Error::Data`] if there is not one text of the same width an item, or text and image of one
    /// cancel out.
    pub fn with_texts(self, texts: &Embeddings) -> Result<Self> {
        self.features.check_dim("features of texts", texts.dim())?;
        if texts.rows() != self.len() {
            let expected = format!("one for each of {} items", self.len());
            return Err(Error::data("features of texts", expected, texts.rows()));
        }
        let texts = texts.normalised();
        let sum = self.features.values().iter().zip(texts.values()).map(|(image, text)| image + text);
        let both = Embeddings::new(sum.collect(), self.dim())?;
        Self::new(self.names, &both, self.backbone)
    }

    /// The number of items.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The width of the features.
    pub fn dim(&self) -> usize {
        self.features.dim()
    }

    /// The items' names.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The place of an item among them.
    pub fn place(&self, name: &str) -> Option<usize> {
        self.places.get(name).copied()
    }

    /// The features, of unit length.
    pub fn features(&self) -> &Embeddings {
        &self.features
    }

    /// Names the weights and preprocessing that made the features.
    pub fn backbone(&self) -> &str {
        &self.backbone
    }

    pub(super) fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// `x` of every item, `[items, dim]`.
    pub(super) fn centred(&self) -> Vec<f32> {
        let mut values = self.features.values().to_vec();
        for row in values.chunks_exact_mut(self.dim()) {
            row.iter_mut().zip(&self.mean).for_each(|(value, mean)| *value -= mean);
            let length = row.iter().map(|value| value * value).sum::<f32>().sqrt();
            row.iter_mut().for_each(|value| *value /= length);
        }
        values
    }

    /// The same catalogue with items that came later, around the same mean.
    pub(super) fn with_new(&self, names: Vec<String>, images: &Embeddings) -> Result<Self> {
        self.features.check_dim("features of new items", images.dim())?;
        let values = [self.features.values(), images.normalised().values()].concat();
        let names = [self.names.clone(), names].concat();
        let features = Embeddings::new(values, self.dim())?;
        Self::with_mean(names, features, self.mean.clone(), self.backbone.clone())
    }

    /// That histories are of these items in this order.
    pub(super) fn check(&self, histories: &Histories) -> Result<()> {
        match self.names == histories.items() {
            true => Ok(()),
            false => {
                let expected = format!("those of the catalogue, {}", listed(&self.names));
                Err(Error::data("items of the histories", expected, listed(histories.items())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_named() {
        let two = Embeddings::new(vec![1.0, 0.0, 0.0, 1.0], 2).unwrap();
        let alike = Embeddings::new(vec![1.0, 0.0, 1.0, 0.0], 2).unwrap();
        let message = |names: &[&str], images: &Embeddings| {
            Catalogue::new(names.to_vec(), images, "b").unwrap_err().to_string()
        };
        assert!(message(&["a"], &two).contains("expected one for each of 1 names, found 2"));
        assert!(message(&["a", "a"], &two).contains("`a` twice"));
        assert!(message(&["a", "b"], &alike).contains("item `a`: expected features that differ"));
        let catalogue = || Catalogue::new(["a", "b"], &two, "b").unwrap();
        let one = Embeddings::new(vec![1.0, 0.0], 2).unwrap();
        assert!(matches!(catalogue().with_texts(&one), Err(Error::Data { .. })));
        let wide = Embeddings::new(vec![1.0; 6], 3).unwrap();
        assert!(matches!(catalogue().with_texts(&wide), Err(Error::Dim { .. })));
        let histories = Histories::new(["u"], ["b", "a"], vec![vec![0]]).unwrap();
        let message = catalogue().check(&histories).unwrap_err().to_string();
        assert!(message.contains("items of the histories"), "{message}");
    }

    #[test]
    fn centred_rows_are_unit_and_texts_move_them() {
        let images = Embeddings::new(vec![1.0, 0.1, 1.0, 0.4, 1.0, -0.2], 2).unwrap();
        let catalogue = Catalogue::new(["a", "b", "c"], &images, "b").unwrap();
        for row in catalogue.centred().chunks(2) {
            approx::assert_abs_diff_eq!(row[0] * row[0] + row[1] * row[1], 1.0, epsilon = 1e-5);
        }
        let texts = Embeddings::new(vec![0.0, 1.0, 1.0, 0.0, 1.0, 1.0], 2).unwrap();
        let both = catalogue.clone().with_texts(&texts).unwrap();
        assert!(both.features() != catalogue.features());
        let later = catalogue.with_new(vec!["d".into()], &texts.select(&[0])).unwrap();
        assert_eq!((later.len(), later.mean()), (4, catalogue.mean()));
        assert_eq!(later.centred()[..6], catalogue.centred()[..]);
    }
}
