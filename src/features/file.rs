use std::{collections::BTreeMap, path::Path, sync::Arc};

use super::set::check_same_classes;
use super::{Embeddings, FeatureSet, Support, TestSet, TextClassifier};
use crate::archive::{Archive, ArchiveWriter};
use crate::error::{Error, Result};

/// The format a feature file declares in its metadata.
pub const FORMAT: &str = "clip-features/1";

/// At most this many images a class serve for validation, as in CoOp (Zhou et al., 2022,
/// <https://arxiv.org/abs/2109.01134>).
const VALIDATION_SHOTS: usize = 4;

/// Cached CLIP features of one data set: a safetensors file of the format `clip-features/1`.
///
/// | Tensor | Type, shape | Meaning |
/// | --- | --- | --- |
/// | `{split}.features` | f16, bf16 or f32 `[n, dim]` | image embeddings; splits `train`, `val`, `test` or others |
/// | `{split}.labels` | i64 `[n]` | class indices |
/// | `text.features` | f16, bf16 or f32 `[prompts, classes, dim]` | one embedding a prompt and class |
/// | `shots.{K}.seed{S}` | i64 `[classes * K]` | optional: the rows of `train` that make a draw |
///
/// The metadata hold `format`, `dataset`, `backbone`, `class_names` and `prompts` (JSON arrays), `logit_scale`
/// and optionally `source`.
///
/// # Examples
/// ```
/// use clip_adapter::{FeatureFile, FeatureSet, TextClassifier, features::Embeddings};
///
/// let text = TextClassifier::new(vec![1.0, 0.0, 0.0, 1.0], 2, ["cat", "dog"], ["a {}."], 100.0, "tiny")?;
/// let train = FeatureSet::new(Embeddings::new(vec![0.8, 0.6, 0.6, 0.8], 2)?, vec![0, 1], ["cat", "dog"])?;
/// let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("tiny.safetensors");
///
/// FeatureFile::new("two pets", text).with_split("train", train)?.write(&path)?;
/// let file = FeatureFile::read(&path)?;
/// assert_eq!(file.split("train")?.labels(), [0, 1]);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureFile {
    dataset: String,
    source: String,
    classifier: TextClassifier,
    splits: BTreeMap<String, FeatureSet>,
    draws: BTreeMap<(usize, u64), Vec<usize>>,
}

impl FeatureFile {
    /// A file with a text classifier and no images yet.
    pub fn new(dataset: impl Into<String>, classifier: TextClassifier) -> Self {
        Self {
            dataset: dataset.into(),
            source: String::new(),
            classifier,
            splits: BTreeMap::new(),
            draws: BTreeMap::new(),
        }
    }

    /// Records where the features came from.
    pub fn with_source(mut self, source: impl Into<String>) -> Self {
        self.source = source.into();
        self
    }

    /// Adds a split, or replaces the one of that name.
    ///
    /// # Errors
    /// [`Error::Dim`] or [`Error::Data`] if the split's width or classes are not the classifier's.
    pub fn with_split(mut self, name: impl Into<String>, set: FeatureSet) -> Result<Self> {
        let name = name.into();
        self.check_split(&name, set.embeddings().dim(), set.class_names())?;
        self.splits.insert(name, set);
        Ok(self)
    }

    /// That a split's width and classes are the classifier's.
    pub(crate) fn check_split(&self, name: &str, dim: usize, class_names: &[String]) -> Result<()> {
        if name.is_empty() || name == "text" {
            return Err(Error::data("split name", "a name other than `text`", format!("`{name}`")));
        }
        self.classifier.weights().check_dim(&format!("split `{name}`"), dim)?;
        check_same_classes(&format!("split `{name}`"), self.classifier.class_names(), class_names)
    }

    /// Records the draw of `shots` images a class by `seed`, so that other programs use the same images.
    ///
    /// # Errors
    /// As [`FeatureSet::shots`]; [`Error::Data`] if there is no split `train`.
    pub fn with_draw(mut self, shots: usize, seed: u64) -> Result<Self> {
        let rows = self.split("train")?.shot_rows(shots, seed)?;
        self.draws.insert((shots, seed), rows);
        Ok(self)
    }

    /// The data set's name.
    pub fn dataset(&self) -> &str {
        &self.dataset
    }

    /// Where the features came from, or nothing.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The zero-shot classifier.
    pub fn classifier(&self) -> &TextClassifier {
        &self.classifier
    }

    /// The names of the splits, sorted.
    pub fn split_names(&self) -> impl Iterator<Item = &str> {
        self.splits.keys().map(String::as_str)
    }

    /// A split to learn from.
    ///
    /// # Errors
    /// [`Error::Data`] with the splits there are.
    pub fn split(&self, name: &str) -> Result<&FeatureSet> {
        self.splits.get(name).ok_or_else(|| {
            let known = self.split_names().collect::<Vec<_>>().join(", ");
            Error::data(
                format!("split of `{}`", self.dataset),
                format!("one of {known}"),
                format!("`{name}`"),
            )
        })
    }

    /// A split to score on, which no method can learn from.
    ///
    /// # Errors
    /// As [`split`](Self::split).
    pub fn test_set(&self, name: &str) -> Result<TestSet> {
        Ok(self.split(name)?.clone().into_test_set())
    }

    /// `shots` training images a class: the recorded draw of this seed if the file has one, else a new one.
    ///
    /// # Errors
    /// As [`FeatureSet::shots`]; [`Error::Data`] if there is no split `train`.
    pub fn support(&self, shots: usize, seed: u64) -> Result<Support> {
        let train = self.split("train")?;
        match self.draws.get(&(shots, seed)) {
            Some(rows) => Support::new(train.select(rows)),
            None => train.shots(shots, seed),
        }
    }

    /// As [`support`](Self::support), with min(shots, 4) images a class of the split `val` for validation.
    ///
    /// # Errors
    /// As [`support`](Self::support), also for `val`.
    pub fn support_with_validation(&self, shots: usize, seed: u64) -> Result<Support> {
        let validation = self.split("val")?.shots(shots.min(VALIDATION_SHOTS), seed)?;
        self.support(shots, seed)?.with_validation(validation.set().clone())
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`Error::Read`] if it cannot be read; [`Error::Malformed`] naming the tensor and row if it is truncated,
    /// of another format, has a label outside the classes, a value that is not finite, a zero row, or numbers
    /// of rows that disagree.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let archive = Archive::open(path.as_ref())?;
        archive.require_format(FORMAT)?;
        let classifier = read_classifier(&archive)?;
        let mut file = Self::new(archive.text("dataset")?, classifier);
        file.source = archive.text("source").unwrap_or_default().to_owned();
        for name in archive.names() {
            if let Some(split) = name.strip_suffix(".features").filter(|&split| split != "text") {
                let set = read_split(&archive, split, file.classifier.shared_names())?;
                file = file.with_split(split, set).map_err(|error| archive.locate(name, error))?;
            }
        }
        for name in archive.names() {
            if let Some((shots, seed)) = parse_draw(name) {
                let rows = archive.indices(name)?;
                file.check_draw(shots, &rows).map_err(|error| archive.locate(name, error))?;
                file.draws.insert((shots, seed), rows);
            }
        }
        Ok(file)
    }

    /// Writes the file as f32, whole or not at all; what was there before is replaced.
    ///
    /// # Errors
    /// [`Error::Write`] if it cannot be written; the file that was there is then untouched. [`Error::Data`] if the
    /// classifier came out of an adapter file, which does not keep the prompts' embeddings.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        self.archive()?.write(path.as_ref())
    }

    /// Everything this file holds, about to be written.
    pub(crate) fn archive(&self) -> Result<ArchiveWriter<'_>> {
        let text = &self.classifier;
        let prompts = text.prompts().ok_or_else(|| {
            Error::data(
                "text classifier",
                "the embeddings of its prompts",
                "their mean only, from an adapter file",
            )
        })?;
        let mut archive = ArchiveWriter::new(FORMAT);
        archive.text("dataset", &self.dataset);
        archive.text("source", &self.source);
        archive.text("backbone", text.backbone());
        archive.text("logit_scale", text.logit_scale());
        archive.text("class_names", serde_json::json!(text.class_names()));
        archive.text("prompts", serde_json::json!(text.templates()));
        archive.text("normalised", self.is_normalised());
        let shape = [text.templates().len(), text.class_names().len(), text.dim()];
        archive.floats("text.features", &shape, prompts.values());
        for (name, set) in &self.splits {
            let rows = set.embeddings();
            let shape = [rows.rows(), rows.dim()];
            archive.floats_from(format!("{name}.features"), &shape, move |put| put(rows.values()));
            archive.indices(format!("{name}.labels"), set.labels());
        }
        for ((shots, seed), rows) in &self.draws {
            archive.indices(format!("shots.{shots}.seed{seed}"), rows);
        }
        Ok(archive)
    }

    /// Whether every image embedding has unit length, to the precision of an f16 file.
    fn is_normalised(&self) -> bool {
        self.splits.values().all(|set| {
            let rows = set.embeddings();
            (0..rows.rows()).all(|row| {
                let square: f32 = rows.row(row).iter().map(|value| value * value).sum();
                (square - 1.0).abs() < 1e-2
            })
        })
    }

    /// A recorded draw holds `shots` rows of each class.
    fn check_draw(&self, shots: usize, rows: &[usize]) -> Result<()> {
        let train = self.split("train")?;
        if let Some(at) = rows.iter().position(|&row| row >= train.len()) {
            let expected = format!("a row of `train` below {}", train.len());
            return Err(Error::data(format!("row {at}"), expected, rows[at]));
        }
        let counts = train.select(rows).class_counts();
        match counts.iter().position(|&count| count != shots) {
            None => Ok(()),
            Some(class) => {
                let name = &train.class_names()[class];
                Err(Error::data(format!("images of class `{name}`"), shots, counts[class]))
            }
        }
    }
}

fn read_classifier(archive: &Archive) -> Result<TextClassifier> {
    let class_names: Vec<String> = archive.json("class_names")?;
    let templates: Vec<String> = archive.json("prompts")?;
    let logit_scale: f64 = archive.json("logit_scale")?;
    let (values, [prompts, classes, dim]) = archive.floats("text.features")?;
    if prompts != templates.len() || classes != class_names.len() {
        return Err(archive.malformed(
            "text.features",
            format!("{} prompts x {} classes", templates.len(), class_names.len()),
            format!("{prompts} x {classes}"),
        ));
    }
    TextClassifier::new(values, dim, class_names, templates, logit_scale, archive.text("backbone")?)
        .map_err(|error| archive.locate("text.features", error))
}

fn read_split(archive: &Archive, split: &str, class_names: Arc<[String]>) -> Result<FeatureSet> {
    let name = format!("{split}.features");
    let (values, [_, dim]) = archive.floats(&name)?;
    let embeddings = Embeddings::new(values, dim).map_err(|error| archive.locate(name, error))?;
    let name = format!("{split}.labels");
    FeatureSet::with_shared_names(embeddings, archive.indices(&name)?, class_names)
        .map_err(|error| archive.locate(name, error))
}

/// `shots.16.seed3` is `(16, 3)`.
fn parse_draw(name: &str) -> Option<(usize, u64)> {
    let (shots, seed) = name.strip_prefix("shots.")?.split_once(".seed")?;
    Some((shots.parse().ok()?, seed.parse().ok()?))
}
