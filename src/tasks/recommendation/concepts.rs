use serde::Serialize;

use super::Catalogue;
use crate::error::{Error, Result};
use crate::evaluate::retrieval::dot;
use crate::features::TextClassifier;
use crate::fingerprint::require_backbone;

/// Words that say what items of a catalogue have in common: `z_ic`, the cosine of item `i` and word `c` in standard
/// deviations from its mean over the catalogue.
///
/// # Examples
/// ```
/// use clip_adapter::{FeatureFile, tasks::recommendation::{Catalogue, Concepts}};
///
/// let file = FeatureFile::synthetic(0)?;
/// let (photos, words) = (file.split("train")?, file.classifier());
/// let names = (0..photos.len()).map(|row| row.to_string());
/// let catalogue = Catalogue::new(names, photos.embeddings(), words.backbone())?;
/// let of_class: Vec<usize> = (0..photos.len()).filter(|&row| photos.labels()[row] == 2).collect();
///
/// let concepts = Concepts::new(&catalogue, words)?;
/// let shared = concepts.shared(&of_class[1..6], of_class[0], 1)?;
/// assert!(shared[0].part > 0.0);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Concepts {
    names: Vec<String>,
    scores: Vec<f32>, // z, [items, concepts]
}

/// A word that an item and a history have in common, and how much.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Concept {
    /// The word.
    pub name: String,
    /// `z` of the item times the mean `z` of the history, both above 0.
    pub part: f64,
}

impl Concepts {
    /// Of the classes of `words`, which may be any.
    ///
    /// # Errors
    /// [`Error::Fingerprint`] if they are of another backbone, [`Error::Dim`] if they have another width.
    pub fn new(catalogue: &Catalogue, words: &TextClassifier) -> Result<Self> {
        require_backbone("backbones of a catalogue and words", catalogue.backbone(), words.backbone())?;
        let (features, weights) = (catalogue.features(), words.weights());
        features.check_dim("words", weights.dim())?;
        let (items, concepts) = (features.rows(), weights.rows());
        let mut scores = vec![0.0; items * concepts];
        for concept in 0..concepts {
            let cosines: Vec<f32> =
                (0..items).map(|item| dot(features.row(item), weights.row(concept))).collect();
            let mean = cosines.iter().map(|&value| f64::from(value)).sum::<f64>() / items as f64;
            let square = |value: &f32| (f64::from(*value) - mean).powi(2);
            let deviation = (cosines.iter().map(square).sum::<f64>() / items as f64).sqrt().max(1e-9);
            for (item, cosine) in cosines.into_iter().enumerate() {
                scores[item * concepts + concept] = ((f64::from(cosine) - mean) / deviation) as f32;
            }
        }
        Ok(Self { names: words.class_names().to_vec(), scores })
    }

    /// The `count` words that an item has most in common with a history, at most; none of what either has less of than
    /// the catalogue.
    ///
    /// # Errors
    /// [`Error::Data`] if an item is in no catalogue.
    pub fn shared(&self, history: &[usize], item: usize, count: usize) -> Result<Vec<Concept>> {
        let items = self.scores.len() / self.names.len();
        if let Some(unknown) = history.iter().chain([&item]).find(|&&item| item >= items) {
            return Err(Error::data("item", format!("one below {items}"), unknown));
        }
        let score = |item: usize, at: usize| f64::from(self.scores[item * self.names.len() + at]);
        let mut shared: Vec<Concept> = (self.names.iter().enumerate())
            .filter_map(|(at, name)| {
                let chosen = history.iter().map(|&chosen| score(chosen, at)).sum::<f64>();
                let (chosen, own) = (chosen / history.len().max(1) as f64, score(item, at));
                (chosen > 0.0 && own > 0.0).then(|| Concept { name: name.clone(), part: chosen * own })
            })
            .collect();
        shared.sort_by(|a, b| b.part.total_cmp(&a.part));
        shared.truncate(count);
        Ok(shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::Embeddings;

    #[test]
    fn only_what_both_have_is_shared() {
        let images = Embeddings::new(vec![1.0, 0.2, 0.9, 0.1, 0.1, 1.0, 0.2, 0.9], 2).unwrap();
        let catalogue = Catalogue::new(["a", "b", "c", "d"], &images, "b").unwrap();
        let words = |backbone| {
            TextClassifier::new(vec![1.0, 0.0, 0.0, 1.0], 2, ["red", "round"], ["{}"], 100.0, backbone)
                .unwrap()
        };
        let concepts = Concepts::new(&catalogue, &words("b")).unwrap();
        let shared = concepts.shared(&[1], 0, 5).unwrap();
        assert_eq!(shared.iter().map(|concept| concept.name.as_str()).collect::<Vec<_>>(), ["red"]);
        assert!(concepts.shared(&[2, 3], 0, 5).unwrap().is_empty());
        assert!(concepts.shared(&[], 0, 5).unwrap().is_empty());
        assert!(matches!(concepts.shared(&[4], 0, 5), Err(Error::Data { .. })));
        assert!(matches!(Concepts::new(&catalogue, &words("c")), Err(Error::Fingerprint { .. })));
    }
}
