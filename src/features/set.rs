use std::collections::HashMap;
use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, TensorData};
use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;

use super::Embeddings;
use crate::error::{Error, Result};
use crate::fingerprint::short_hex;

/// Image embeddings with their labels: what every method trains on.
///
/// Every label is an index into the class names; two classes may not share a name.
///
/// # Examples
/// ```
/// use clip_adapter::{FeatureSet, features::Embeddings};
///
/// let rows = Embeddings::new(vec![1.0, 0.0, 0.0, 1.0], 2)?;
/// let set = FeatureSet::new(rows, vec![0, 1], ["cat", "dog"])?;
/// assert_eq!(set.class_counts(), [1, 1]);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureSet {
    embeddings: Embeddings,
    labels: Vec<usize>,
    class_names: Arc<[String]>,
    balanced: bool,
}

impl FeatureSet {
    /// Joins embeddings, one label a row, and the names the labels point at.
    ///
    /// # Errors
    /// [`Error::Data`] if there is not one label a row, a label is no class, or a class name is empty or
    /// given twice.
    pub fn new<N: Into<String>>(
        embeddings: Embeddings,
        labels: Vec<usize>,
        class_names: impl IntoIterator<Item = N>,
    ) -> Result<Self> {
        let class_names: Arc<[String]> = class_names.into_iter().map(Into::into).collect();
        check_class_names(&class_names)?;
        Self::with_shared_names(embeddings, labels, class_names)
    }

    pub(crate) fn with_shared_names(
        embeddings: Embeddings,
        labels: Vec<usize>,
        class_names: Arc<[String]>,
    ) -> Result<Self> {
        if labels.len() != embeddings.rows() {
            return Err(Error::data(
                "labels",
                format!("one for each of {} rows", embeddings.rows()),
                labels.len(),
            ));
        }
        if let Some(row) = labels.iter().position(|&label| label >= class_names.len()) {
            return Err(Error::data(
                format!("row {row} of the labels"),
                format!("a class below {}", class_names.len()),
                labels[row],
            ));
        }
        Ok(Self { embeddings, labels, class_names, balanced: false })
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image at all.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The image embeddings, `[len, dim]`.
    pub fn embeddings(&self) -> &Embeddings {
        &self.embeddings
    }

    /// One class index a row.
    pub fn labels(&self) -> &[usize] {
        &self.labels
    }

    /// The labels as a tensor `[len]`.
    pub fn label_tensor(&self, device: &Device) -> Tensor<1, Int> {
        let labels: Vec<i64> = self.labels.iter().map(|&label| label as i64).collect();
        Tensor::from_data(TensorData::new(labels, [self.len()]), device)
    }

    /// One-hot labels `[len, classes]`, of which `smoothing` is spread evenly over all classes, times the
    /// weights of the images.
    pub(crate) fn targets(&self, smoothing: f64, device: &Device) -> Tensor<2> {
        let classes = self.class_names.len();
        let mut targets = Vec::with_capacity(self.len() * classes);
        for (weight, &label) in self.image_weights().into_iter().zip(&self.labels) {
            let row = targets.len();
            targets.resize(row + classes, (weight * smoothing / classes as f64) as f32);
            targets[row + label] += (weight * (1.0 - smoothing)) as f32;
        }
        Tensor::from_data(TensorData::new(targets, [self.len(), classes]), device)
    }

    /// The classes' names, in label order.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// The number of images of each class, in label order.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.class_names.len()];
        for &label in &self.labels {
            counts[label] += 1;
        }
        counts
    }

    /// The mean number of images of the classes that have any; not a number without images.
    pub(crate) fn shots_a_class(&self) -> f64 {
        let present = self.class_counts().into_iter().filter(|&count| count > 0).count();
        self.len() as f64 / present as f64
    }

    /// The given rows, in the given order, with the same classes.
    ///
    /// # Panics
    /// If a row is not below [`len`](Self::len).
    pub fn select(&self, rows: &[usize]) -> Self {
        Self {
            embeddings: self.embeddings.select(rows),
            labels: rows.iter().map(|&row| self.labels[row]).collect(),
            class_names: self.class_names.clone(),
            balanced: self.balanced,
        }
    }

    /// The same labels with other embeddings, one for each.
    pub(crate) fn with_embeddings(&self, embeddings: Embeddings) -> Result<Self> {
        let set = Self::with_shared_names(embeddings, self.labels.clone(), self.class_names.clone())?;
        Ok(Self { balanced: self.balanced, ..set })
    }

    /// The same images without the classes that have none, and the names of these.
    ///
    /// # Examples
    /// ```
    /// use clip_adapter::{FeatureSet, features::Embeddings};
    ///
    /// let rows = Embeddings::new(vec![1.0, 0.0, 0.0, 1.0], 2)?;
    /// let (set, empty) = FeatureSet::new(rows, vec![2, 0], ["cat", "cow", "dog"])?.without_empty_classes();
    /// assert_eq!((set.class_names(), set.labels()), (&["cat".to_owned(), "dog".into()][..], &[1, 0][..]));
    /// assert_eq!(empty, ["cow"]);
    /// # Ok::<(), clip_adapter::Error>(())
    /// ```
    pub fn without_empty_classes(mut self) -> (Self, Vec<String>) {
        let counts = self.class_counts();
        let (mut names, mut empty, mut places) = (Vec::new(), Vec::new(), Vec::new());
        for (name, count) in self.class_names.iter().zip(counts) {
            places.push(names.len());
            if count > 0 { names.push(name.clone()) } else { empty.push(name.clone()) }
        }
        self.labels.iter_mut().for_each(|label| *label = places[*label]);
        self.class_names = names.into();
        (self, empty)
    }

    /// The images of all sets, one set after the other; balanced if one of them is.
    pub(crate) fn merged(sets: &[&Self]) -> Result<Self> {
        let Some((first, others)) = sets.split_first() else {
            return Err(Error::data("sets to merge", "at least one", "none"));
        };
        for other in others {
            first.embeddings.check_dim("features to merge", other.embeddings.dim())?;
            check_same_classes("sets to merge", &first.class_names, &other.class_names)?;
        }
        let values = sets.iter().flat_map(|set| set.embeddings.values()).copied().collect();
        Ok(Self {
            embeddings: Embeddings::new(values, first.embeddings.dim())?,
            labels: sets.iter().flat_map(|set| &set.labels).copied().collect(),
            class_names: first.class_names.clone(),
            balanced: sets.iter().any(|set| set.balanced),
        })
    }

    /// The same images, of which each class has the same weight in a fit.
    pub(crate) fn balanced(self) -> Self {
        Self { balanced: true, ..self }
    }

    /// Whether each class has the same weight in a fit: [`Support::balanced`](super::Support::balanced).
    pub fn is_balanced(&self) -> bool {
        self.balanced
    }

    /// What each image weighs in a fit: 1, or in a balanced set `N / (C n_c)` for the `n_c` of `N` images that
    /// are of its class and the `C` classes that have images. Their mean is 1.
    pub fn image_weights(&self) -> Vec<f64> {
        if !self.balanced {
            return vec![1.0; self.len()];
        }
        let counts = self.class_counts();
        let present = counts.iter().filter(|&&count| count > 0).count();
        let weight = |&label: &usize| self.len() as f64 / (present * counts[label]) as f64;
        self.labels.iter().map(weight).collect()
    }

    /// 16 hexadecimal digits that stand for the embeddings, the labels and their weights. A checkpoint says by it what
    /// it belongs to.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for value in self.embeddings.values() {
            hash.update(value.to_le_bytes());
        }
        for &label in &self.labels {
            hash.update((label as u64).to_le_bytes());
        }
        if self.balanced {
            hash.update("balanced");
        }
        short_hex(hash)
    }

    /// Declares that these images are only ever scored, never trained on or selected with.
    pub fn into_test_set(self) -> TestSet {
        TestSet(self)
    }
}

/// Images that may be scored, and nothing else.
///
/// No method's `fit` takes a `TestSet`, and it does not give its features back, so that no setting can be
/// chosen on it by accident:
///
/// ```compile_fail,E0308
/// # use clip_adapter::{ClipAdapter, FeatureFile, Method};
/// # fn never() -> clip_adapter::Result<()> {
/// let file = FeatureFile::read("photos.safetensors")?;
/// let test = file.test_set("test")?;
/// // expected `&Support`, found `&TestSet`
/// ClipAdapter::default().fit(&test, file.classifier(), &burn::tensor::Device::flex())?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct TestSet(FeatureSet);

impl TestSet {
    /// The number of images.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no image at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The classes' names, in label order.
    pub fn class_names(&self) -> &[String] {
        self.0.class_names()
    }

    /// For the one place that scores.
    pub(crate) fn set(&self) -> &FeatureSet {
        &self.0
    }
}

/// That two lists of classes are the same; else the error names the first class that differs.
pub(crate) fn check_same_classes(what: &str, expected: &[String], found: &[String]) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    let at = (0..).find(|&at| expected.get(at) != found.get(at)).unwrap_or(0);
    let name = |names: &[String]| match names.get(at) {
        Some(name) => format!("`{name}` of {}", names.len()),
        None => format!("only {}", names.len()),
    };
    Err(Error::data(format!("{what}: class {at}"), name(expected), name(found)))
}

/// Every class has a name, and a name of its own.
pub(crate) fn check_class_names(names: &[String]) -> Result<()> {
    let mut seen = HashMap::new();
    for (index, name) in names.iter().enumerate() {
        if name.trim().is_empty() {
            return Err(Error::data(format!("class {index}"), "a name", "an empty one"));
        }
        // Letters with marks can be spelled in two ways, which look the same and mean the same to a tokenizer.
        if let Some(same) = seen.insert(name.nfc().collect::<String>(), name) {
            let found = match same == name {
                true => format!("`{name}` again"),
                false => format!("`{name}` again, in another normal form of Unicode"),
            };
            return Err(Error::data(format!("class {index}"), "a name of its own", found));
        }
    }
    Ok(())
}
