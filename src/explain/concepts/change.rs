use serde::{Deserialize, Serialize};

use super::{Concepts, Decomposition, Splice, Word};
use crate::error::Result;
use crate::explain::adapted::adapted_images;
use crate::features::{Embeddings, FeatureSet};
use crate::model::FeatureMap;

/// A change of mean weight below this is not told.
const LEAST: f64 = 1e-4;

/// What an adapter added to features and took away from them, in words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ConceptChange {
    /// Words whose mean weight grew, with by how much; most first.
    pub added: Vec<Word>,
    /// Words whose mean weight fell, with by how much, below 0; most first.
    pub removed: Vec<Word>,
    /// Mean number of words of an image, before and after.
    pub words: [f64; 2],
    /// Mean cosine of a feature with what its words make up, before and after.
    pub cosines: [f64; 2],
    /// The same of every class's images.
    pub classes: Vec<ConceptsOfClass>,
}

/// What changed for the images of a class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ConceptsOfClass {
    /// Its name.
    pub name: String,
    /// The words that weigh most before, with their mean weights.
    pub before: Vec<Word>,
    /// See [`ConceptChange::added`].
    pub added: Vec<Word>,
    /// See [`ConceptChange::removed`].
    pub removed: Vec<Word>,
}

impl Concepts {
    /// Decomposes every image before and after, with the same mean of images, and compares the weights; at most `count`
    /// words of a kind are told.
    ///
    /// # Errors
    /// As [`decompose`](Self::decompose); [`Error::Execution`](crate::Error::Execution) if the device fails.
    ///
    /// # Examples
    /// ```
    /// use clip_adapter::{Rla, explain::{Concepts, Splice}, prelude::*};
    ///
    /// let (file, device) = (FeatureFile::synthetic(0)?, Device::flex());
    /// let model = Rla::default().fit(&file.support(8, 1)?, file.classifier(), &device)?;
    /// let (classes, test) = (file.classifier(), file.split("test")?);
    /// let concepts = Concepts::new(classes.class_names(), classes.weights(), file.split("train")?.embeddings())?;
    /// let change = concepts.change(&model, test, &Splice::default(), 3)?;
    /// assert_eq!(change.classes[0].added[0].word, "amber"); // images of amber have more of it now
    /// # Ok::<(), clip_adapter::Error>(())
    /// ```
    pub fn change(
        &self,
        map: &dyn FeatureMap,
        set: &FeatureSet,
        settings: &Splice,
        count: usize,
    ) -> Result<ConceptChange> {
        let before = self.decompose(set.embeddings(), settings)?;
        let after: Embeddings = adapted_images(map, set.embeddings())?;
        let after = self.decompose(&after, settings)?;
        let mean = |of: &[Decomposition], value: &dyn Fn(&Decomposition) -> f64| {
            of.iter().map(value).sum::<f64>() / of.len().max(1) as f64
        };
        let both = |value: &dyn Fn(&Decomposition) -> f64| [mean(&before, value), mean(&after, value)];
        let all: Vec<usize> = (0..set.len()).collect();
        let (added, removed) = self.differences(&before, &after, &all, count);
        let of_class = |(class, name): (usize, &String)| {
            let rows: Vec<usize> = (0..set.len()).filter(|&row| set.labels()[row] == class).collect();
            let (added, removed) = self.differences(&before, &after, &rows, count);
            let weights = self.mean_weights(&before, &rows);
            ConceptsOfClass { name: name.clone(), before: self.largest(&weights, count), added, removed }
        };
        Ok(ConceptChange {
            added,
            removed,
            words: both(&|made| made.weights.len() as f64),
            cosines: both(&|made| made.cosine),
            classes: set.class_names().iter().enumerate().map(of_class).collect(),
        })
    }

    fn mean_weights(&self, of: &[Decomposition], rows: &[usize]) -> Vec<f64> {
        let mut mean = vec![0.0; self.words.len()];
        for &row in rows {
            of[row].weights.iter().for_each(|&(word, weight)| mean[word] += weight / rows.len() as f64);
        }
        mean
    }

    /// The words with the largest numbers above [`LEAST`], largest first.
    fn largest(&self, values: &[f64], count: usize) -> Vec<Word> {
        let mut order: Vec<usize> = (0..values.len()).filter(|&word| values[word] > LEAST).collect();
        order.sort_by(|&one, &other| values[other].total_cmp(&values[one]).then(one.cmp(&other)));
        let word = |word: usize| Word { word: self.words[word].clone(), value: values[word] };
        order.into_iter().take(count).map(word).collect()
    }

    fn differences(
        &self,
        before: &[Decomposition],
        after: &[Decomposition],
        rows: &[usize],
        count: usize,
    ) -> (Vec<Word>, Vec<Word>) {
        let pairs = self.mean_weights(after, rows).into_iter().zip(self.mean_weights(before, rows));
        let grown: Vec<f64> = pairs.map(|(after, before)| after - before).collect();
        let fallen: Vec<f64> = grown.iter().map(|value| -value).collect();
        let mut removed = self.largest(&fallen, count);
        removed.iter_mut().for_each(|word| word.value = -word.value);
        (self.largest(&grown, count), removed)
    }
}
