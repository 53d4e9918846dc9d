use std::{collections::BTreeMap, path::Path, sync::Arc};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::set::{check_class_names, check_same_classes};
use super::{Embeddings, FrameSet, TextClassifier};
use crate::archive::{Archive, ArchiveWriter};
use crate::error::{Error, Result};

/// The format that a file of frames declares in its metadata.
pub const FRAME_FORMAT: &str = "clip-frames/1";

/// Cached CLIP features of the frames of videos: a safetensors file of the format `clip-frames/1`.
///
/// | Tensor | Type, shape | Meaning |
/// | --- | --- | --- |
/// | `{split}.frames` | f16, bf16 or f32 `[n, frames, dim]` | embeddings of the frames, in order |
/// | `{split}.labels` | i64 `[n]` | class indices |
/// | `{split}.counts` | i64 `[n]` | optional: how many frames, from the first on, are the video's own |
/// | `{split}.times` | f32 `[n, frames]` | optional: when a frame is shown, in seconds |
/// | `text.features` | f16, bf16 or f32 `[prompts, classes, dim]` | optional: one embedding a prompt and class |
///
/// The metadata hold `format`, `dataset`, `backbone`, `sampling` and `class_names` (a JSON array), and with texts also
/// `prompts` (a JSON array) and `logit_scale`. How frames were chosen is part of what features are: two samplings of
/// one video are as different as two backbones, and [`identity`](Self::identity) names both.
///
/// # Examples
/// ```
/// use clip_adapter::features::FrameFile;
///
/// let file = FrameFile::synthetic(0)?;
/// let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("clips.safetensors");
/// file.write(&path)?;
/// assert_eq!(FrameFile::read(&path)?, file);
/// assert_eq!(file.split("train")?.frames(), 8);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct FrameFile {
    dataset: String,
    backbone: String,
    sampling: String,
    class_names: Arc<[String]>,
    classifier: Option<TextClassifier>,
    splits: BTreeMap<String, FrameSet>,
}

impl FrameFile {
    /// A file of no videos yet. `sampling` says how frames were chosen, in words.
    ///
    /// # Errors
    /// [`Error::Data`] if a class name is empty or given twice.
    pub fn new<N: Into<String>>(
        dataset: impl Into<String>,
        backbone: impl Into<String>,
        sampling: impl Into<String>,
        class_names: impl IntoIterator<Item = N>,
    ) -> Result<Self> {
        let class_names: Arc<[String]> = class_names.into_iter().map(Into::into).collect();
        check_class_names(&class_names)?;
        let (dataset, backbone, sampling) = (dataset.into(), backbone.into(), sampling.into());
        Ok(Self { dataset, backbone, sampling, class_names, classifier: None, splits: BTreeMap::new() })
    }

    /// Adds what the classes are by their texts.
    ///
    /// # Errors
    /// [`Error::Data`] if its classes are others; [`Error::Fingerprint`] if it is of another backbone.
    pub fn with_classifier(mut self, classifier: TextClassifier) -> Result<Self> {
        check_same_classes("text classifier", &self.class_names, classifier.class_names())?;
        crate::fingerprint::require_backbone("backbones", &self.backbone, classifier.backbone())?;
        self.classifier = Some(classifier);
        Ok(self)
    }

    /// Adds a split, or replaces the one of that name.
    ///
    /// # Errors
    /// [`Error::Data`] if its classes are others or `text` is its name; [`Error::Dim`] if its width is not that of
    /// the texts or of another split.
    pub fn with_split(mut self, name: impl Into<String>, set: FrameSet) -> Result<Self> {
        let name = name.into();
        if name.is_empty() || name == "text" {
            return Err(Error::data("split name", "a name other than `text`", format!("`{name}`")));
        }
        let what = format!("split `{name}`");
        check_same_classes(&what, &self.class_names, set.class_names())?;
        let text = self.classifier.as_ref().map(TextClassifier::weights);
        if let Some(rows) = text.or_else(|| self.splits.values().next().map(FrameSet::rows)) {
            rows.check_dim(&what, set.dim())?;
        }
        self.splits.insert(name, set);
        Ok(self)
    }

    /// The data set's name.
    pub fn dataset(&self) -> &str {
        &self.dataset
    }

    /// Names the weights and preprocessing that made the embeddings.
    pub fn backbone(&self) -> &str {
        &self.backbone
    }

    /// How frames were chosen, in words.
    pub fn sampling(&self) -> &str {
        &self.sampling
    }

    /// What the features belong to: the backbone and the sampling.
    pub fn identity(&self) -> String {
        format!("{} frames:{}", self.backbone, self.sampling)
    }

    /// That the frames are of this backbone, before its texts are compared with them.
    ///
    /// # Errors
    /// [`Error::Fingerprint`] if they are of another.
    pub fn require_backbone(&self, identity: &str) -> Result<()> {
        crate::fingerprint::require_backbone("backbones", identity, &self.backbone)
    }

    /// The classes' names, in label order.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// What the classes are by their texts, if the file has them.
    pub fn classifier(&self) -> Option<&TextClassifier> {
        self.classifier.as_ref()
    }

    /// The names of the splits, sorted.
    pub fn split_names(&self) -> impl Iterator<Item = &str> {
        self.splits.keys().map(String::as_str)
    }

    /// A split.
    ///
    /// # Errors
    /// [`Error::Data`] with the splits there are.
    pub fn split(&self, name: &str) -> Result<&FrameSet> {
        self.splits.get(name).ok_or_else(|| {
            let known = self.split_names().collect::<Vec<_>>().join(", ");
            let what = format!("split of `{}`", self.dataset);
            Error::data(what, format!("one of {known}"), format!("`{name}`"))
        })
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`Error::Read`] if it cannot be read; [`Error::Malformed`] naming the tensor and row if it is truncated, of
    /// another format, has a label outside the classes, a value that is not finite, a zero row, or numbers of rows
    /// that disagree.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let archive = Archive::open(path.as_ref())?;
        archive.require_format(FRAME_FORMAT)?;
        let [dataset, backbone, sampling] =
            ["dataset", "backbone", "sampling"].map(|key| archive.text(key).map(str::to_owned));
        let class_names: Vec<String> = archive.json("class_names")?;
        let mut file = Self::new(dataset?, backbone?, sampling?, class_names)
            .map_err(|error| archive.locate("metadata `class_names`", error))?;
        if archive.place("text.features").is_some() {
            let classifier = read_classifier(&archive, &file)?;
            file =
                file.with_classifier(classifier).map_err(|error| archive.locate("text.features", error))?;
        }
        for name in archive.names() {
            if let Some(split) = name.strip_suffix(".frames") {
                let set = read_split(&archive, split, file.class_names.clone())?;
                file = file.with_split(split, set).map_err(|error| archive.locate(name, error))?;
            }
        }
        if file.splits.is_empty() {
            return Err(archive.malformed("tensors", "at least one split `{split}.frames`", "none"));
        }
        Ok(file)
    }

    /// Writes the file, the frames rounded to 16 bits, whole or not at all.
    ///
    /// # Errors
    /// [`Error::Write`] if it cannot be written; [`Error::Data`] if a value does not fit into 16 bits, or the
    /// classifier came out of an adapter file, which does not keep the prompts' embeddings.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        let mut archive = ArchiveWriter::new(FRAME_FORMAT);
        archive.text("dataset", &self.dataset);
        archive.text("backbone", &self.backbone);
        archive.text("sampling", &self.sampling);
        archive.text("class_names", serde_json::json!(&self.class_names[..]));
        if let Some(text) = &self.classifier {
            let prompts = text.prompts().ok_or_else(|| {
                Error::data("text classifier", "the embeddings of its prompts", "their mean only")
            })?;
            archive.text("prompts", serde_json::json!(text.templates()));
            archive.text("logit_scale", text.logit_scale());
            let shape = [text.templates().len(), text.class_names().len(), text.dim()];
            archive.floats("text.features", &shape, prompts.values());
        }
        for (name, set) in &self.splits {
            let shape = [set.len(), set.frames(), set.dim()];
            archive.halves(format!("{name}.frames"), &shape, set.rows().values());
            archive.indices(format!("{name}.labels"), set.labels());
            if set.counts().iter().any(|&count| count != set.frames()) {
                archive.indices(format!("{name}.counts"), set.counts());
            }
            if let Some(times) = set.times() {
                archive.floats(format!("{name}.times"), &shape[..2], times);
            }
        }
        archive.write(path.as_ref())
    }

    /// A made-up data set for examples and tests that need no file: four motions, of which each passes through the same
    /// directions as its reverse, so that only the order of the frames tells them apart. The splits `train` and `test`
    /// hold 16 and 25 videos a class of 8 frames.
    ///
    /// # Errors
    /// None in practice: the numbers drawn are finite and no row is zero.
    pub fn synthetic(seed: u64) -> Result<Self> {
        const NAMES: [&str; 4] = ["right", "left", "grow", "shrink"];
        const DIM: usize = 32;
        const FRAMES: usize = 8;
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut noise = |size: f32| -> Vec<f32> {
            (0..DIM)
                .map(|_| size * (0..12).map(|_| random.random::<f32>()).sum::<f32>() - 6.0 * size)
                .collect()
        };
        let ways = [noise(1.0), noise(1.0)];
        let mut file = Self::new("synthetic motions", "synthetic", "8 frames, uniform", NAMES)?;
        for (split, videos) in [("train", 16), ("test", 25)] {
            let labels: Vec<usize> = (0..NAMES.len()).flat_map(|class| vec![class; videos]).collect();
            let mut values = Vec::with_capacity(labels.len() * FRAMES * DIM);
            for &label in &labels {
                let what = noise(1.5); // what is moved
                for frame in 0..FRAMES {
                    let at = frame as f32 / (FRAMES - 1) as f32 - 0.5;
                    let at = if label % 2 == 0 { at } else { -at };
                    let blur = noise(0.3);
                    values.extend((0..DIM).map(|i| what[i] + at * ways[label / 2][i] + blur[i]));
                }
            }
            // Rounded to the 16 bits in which files hold them, so that what is written is what is read.
            values.iter_mut().for_each(|value| *value = half::f16::from_f32(*value).to_f32());
            let set = FrameSet::new(Embeddings::new(values, DIM)?, FRAMES, labels, NAMES)?;
            file = file.with_split(split, set)?;
        }
        Ok(file)
    }
}

fn read_classifier(archive: &Archive, file: &FrameFile) -> Result<TextClassifier> {
    let templates: Vec<String> = archive.json("prompts")?;
    let (values, [_, _, dim]) = archive.floats("text.features")?;
    let (names, scale) = (file.class_names().to_vec(), archive.json("logit_scale")?);
    TextClassifier::new(values, dim, names, templates, scale, &file.backbone)
        .map_err(|error| archive.locate("text.features", error))
}

fn read_split(archive: &Archive, split: &str, class_names: Arc<[String]>) -> Result<FrameSet> {
    let name = format!("{split}.frames");
    let (values, [videos, frames, dim]) = archive.floats(&name)?;
    let rows = Embeddings::new(values, dim).map_err(|error| archive.locate(&name, error))?;
    let labels = archive.indices(&format!("{split}.labels"))?;
    if labels.len() != videos {
        let expected = format!("one for each of {videos} videos");
        return Err(archive.malformed(format!("{split}.labels"), expected, labels.len()));
    }
    let mut set = FrameSet::with_shared_names(rows, frames, labels, class_names)
        .map_err(|error| archive.locate(&name, error))?;
    let name = format!("{split}.counts");
    if archive.place(&name).is_some() {
        let counts = archive.indices(&name)?;
        set = set.with_counts(counts).map_err(|error| archive.locate(&name, error))?;
    }
    let name = format!("{split}.times");
    if archive.place(&name).is_some() {
        let (times, [_, _]) = archive.floats(&name)?;
        set = set.with_times(times).map_err(|error| archive.locate(&name, error))?;
    }
    Ok(set)
}
