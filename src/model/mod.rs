//! What everything fitted is: how it is asked, saved, opened and moved.
//!
//! | Trait | Role |
//! | --- | --- |
//! | [`Model`] | has a kind, a device and a fingerprint, and writes itself into a [`Section`] of a file |
//! | [`Classifier`] | gives logits of image features; everything that scores follows from them |
//! | [`FeatureMap`] | adapts features, for retrieval and whatever else compares them |
//! | [`Save`] | writes any model into a file |
//! | [`Open`] | reads itself from a [`Saved`] file or section |
//!
//! A model within a model is a section of the same file, such as `member.0.`, and never a file of its own.

mod extend;
mod kernel;
mod linear;
mod saved;
mod section;
mod units;
mod version1;

pub use kernel::{FittedKernel, InForce};
pub use linear::FittedLinear;
pub use saved::{Open, Opening, Saved};
pub use section::{FORMAT, Section};
pub use units::Units;

pub(crate) use extend::places;
pub(crate) use kernel::KernelHead;
pub(crate) use linear::LinearHead;

use std::fmt;
use std::path::Path;

use burn::tensor::{Device, Tensor};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::archive::ArchiveWriter;
use crate::error::{Error, Result};
use crate::evaluate::{Logits, Ranked, Report, Scores};
use crate::features::{Embeddings, FeatureSet, TestSet, TextClassifier, check_same_classes};
use crate::fingerprint::Fingerprint;

/// The settings of a method: a plain struct, saved as JSON beside what was fitted with it, under the method's name.
pub trait Settings: Serialize + DeserializeOwned + Clone + fmt::Debug + Send + Sync + 'static {
    /// The method's name on a command line, in reports and in files.
    const NAME: &'static str;

    /// Whether a class without images has its zero-shot logits in what is fitted, so that it can be added later.
    const BY_TEXT: bool = false;
}

/// What was fitted: it can be saved, and says what it belongs to.
pub trait Model: fmt::Debug + Send + Sync {
    /// The name by which its file is opened: the method's.
    fn kind(&self) -> &'static str;

    /// The backbone, prompts and classes whose features it takes.
    fn fingerprint(&self) -> Fingerprint;

    /// The device it computes on.
    fn device(&self) -> &Device;

    /// What fitting chose or learned that the settings do not say, such as a learned ratio.
    fn chosen(&self) -> Value {
        Value::Null
    }

    /// Writes everything needed to use it later.
    ///
    /// # Errors
    /// [`Error::Execution`] if a tensor cannot be read from its device.
    fn write(&self, into: &mut Section<'_, '_>) -> Result<()>;
}

/// What every model can do with a path. It stands beside [`Model`] so that it takes any path and can be called on a
/// `dyn Classifier` too.
pub trait Save: Model {
    /// Writes a file, whole or not at all, that [`Saved::open`] reads.
    ///
    /// # Errors
    /// As [`write`](Model::write); [`Error::Write`] if the file cannot be written.
    fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let mut archive = ArchiveWriter::new(FORMAT);
        archive.text("fingerprint", serde_json::json!(self.fingerprint()));
        Section::root(&mut archive).put(self)?;
        archive.write(path.as_ref())
    }
}

impl<M: Model + ?Sized> Save for M {}

fn knows_images_only(kind: &str) -> Error {
    Error::unsupported("new classes", "a method that knows classes by their text", format!("`{kind}`"))
}

/// A classifier of image features.
pub trait Classifier: Model {
    /// The zero-shot classifier it started from.
    fn classes(&self) -> &TextClassifier;

    /// The width of the features it takes: the classifier's, unless it takes them before the last projection.
    fn dim(&self) -> usize {
        self.classes().dim()
    }

    /// Logits of a batch of images.
    ///
    /// # Shapes
    /// - `images`: `[batch, dim]` on [`device`](Model::device), of any length
    /// - returns: `[batch, classes]`
    ///
    /// # Panics
    /// If the width of `images` is not [`dim`](Self::dim).
    fn logits(&self, images: Tensor<2>) -> Tensor<2>;

    /// The same model on another device.
    ///
    /// # Errors
    /// [`Error::Execution`] if a tensor cannot be read from its device.
    fn to_device(&self, device: &Device) -> Result<Box<dyn Classifier>>;

    /// The same model for a longer list of classes, in any order, where its formula allows that without fitting again.
    /// The new ones are known by their text alone.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the method knows a class only by its images; [`Error::Fingerprint`] if `classes` are
    /// of another backbone, [`Error::Dim`] if they have another width, and [`Error::Data`] if one of the present
    /// classes is not among them.
    ///
    /// # Examples
    /// ```
    /// use clip_adapter::prelude::*;
    /// use clip_adapter::{SsText, TextClassifier};
    ///
    /// let file = FeatureFile::synthetic(0)?;
    /// let (device, two) = (Device::flex(), ["amber", "basalt"]);
    /// let text = |names: &[&str]| {
    ///     let rows = file.classifier().weights().select(&(0..names.len()).collect::<Vec<_>>());
    ///     TextClassifier::new(rows.values().to_vec(), 64, names.to_vec(), ["a photo of {}."], 100.0, "synthetic")
    /// };
    /// let all = file.support(4, 1)?;
    /// let few = FeatureSet::new(all.set().embeddings().select(&[0, 1, 4, 5]), vec![0, 0, 1, 1], two)?;
    /// let model = SsText::default().fit(&Support::new(few)?, &text(&two)?, &device)?;
    /// let longer = model.with_classes(&text(&["amber", "basalt", "copper"])?)?;
    /// assert_eq!(longer.classes().class_names(), ["amber", "basalt", "copper"]);
    /// # Ok::<(), clip_adapter::Error>(())
    /// ```
    fn with_classes(&self, classes: &TextClassifier) -> Result<Box<dyn Classifier>> {
        let _ = classes;
        Err(knows_images_only(self.kind()))
    }

    /// Itself as what adapts features, where its logits are cosines of adapted features with adapted texts.
    fn feature_map(&self) -> Option<&dyn FeatureMap> {
        None
    }

    /// Logits of any number of images, on the host.
    ///
    /// # Errors
    /// [`Error::Dim`] if the width is not [`dim`](Self::dim); [`Error::Execution`] if the device fails.
    fn score(&self, images: &Embeddings) -> Result<Logits> {
        if images.dim() != self.dim() {
            let (expected, found) = (self.dim(), images.dim());
            return Err(Error::Dim { what: "image features".to_owned(), expected, found });
        }
        // One tensor of 10,000 x 1,000 logits is 40 MB: blocks keep a large test set within the cache.
        const BLOCK: usize = 1024;
        let mut values = Vec::with_capacity(images.rows() * self.classes().class_names().len());
        for start in (0..images.rows()).step_by(BLOCK) {
            let block = images.tensor_of(start..(start + BLOCK).min(images.rows()), self.device());
            let logits = self.logits(block).try_into_vec_as::<f32>();
            values.extend(logits.map_err(|error| Error::execution("scoring images", error))?);
        }
        Logits::new(values, self.classes().class_names().len())
    }

    /// The likeliest classes of every image, at most `count` of each, with their probabilities.
    ///
    /// # Errors
    /// As [`score`](Self::score).
    fn top(&self, images: &Embeddings, count: usize) -> Result<Vec<Vec<Ranked>>> {
        Ok(self.score(images)?.top(count, self.classes().class_names()))
    }

    /// What labelled images tell of the classifier, such as those that a choice is made by.
    ///
    /// # Errors
    /// As [`score`](Self::score); [`Error::Data`] if there are no images or their classes are others.
    fn scores(&self, set: &FeatureSet) -> Result<Scores> {
        check_same_classes("images", self.classes().class_names(), set.class_names())?;
        Scores::new(&self.score(set.embeddings())?, set.labels())
    }

    /// Scores a test set.
    ///
    /// # Errors
    /// As [`scores`](Self::scores).
    fn evaluate(&self, test: &TestSet) -> Result<Report> {
        Ok(Report::new(self.scores(test.set())?, test.set().class_names()))
    }
}

/// What adapts the features of both sides of CLIP, so that they can be compared in another way than before.
pub trait FeatureMap: Model {
    /// Adapted image features: `[batch, features]` on [`device`](Model::device) to unit rows `[batch, dim]`.
    ///
    /// # Panics
    /// If the width is another.
    fn images(&self, images: Tensor<2>) -> Tensor<2>;

    /// Adapted text features: `[texts, dim]` on [`device`](Model::device) to unit rows `[texts, dim]`.
    ///
    /// # Panics
    /// If the width is another, or a text side that learned one ratio a class is asked for other texts.
    fn texts(&self, texts: Tensor<2>) -> Tensor<2>;

    /// What it adds to image features, unit by unit, where it is made so: [`explain`](crate::explain) tells what they do.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if it is not made so; [`Error::Execution`] if a tensor cannot be read from its device.
    fn units(&self) -> Result<Units> {
        Err(Error::unsupported(
            "units of an adapter",
            "an adapter of rectified or linear units",
            format!("`{}`", self.kind()),
        ))
    }

    /// What it adds to text features, as [`units`](Self::units).
    ///
    /// # Errors
    /// As [`units`](Self::units).
    fn text_units(&self) -> Result<Units> {
        Err(Error::unsupported(
            "units of a text side",
            "an adapter of rectified units on the text side",
            format!("`{}`", self.kind()),
        ))
    }
}
