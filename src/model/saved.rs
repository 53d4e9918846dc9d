use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use burn::{
    module::Module,
    tensor::{Device, Tensor, TensorData},
};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::section::TEXT;
use super::{Classifier, FORMAT, Model, version1};
use crate::archive::Archive;
use crate::archive::parameters::{self, Parameter, Parameters};
use crate::error::{Error, Result, listed};
use crate::features::{Embeddings, TextClassifier};
use crate::fingerprint::Fingerprint;

/// Models within models that are opened: more is no file that was written.
pub(super) const MAX_DEPTH: usize = 8;

/// A saved model that is opened and not yet loaded: what it is, and what it belongs to. Also a part of one.
///
/// # Examples
/// ```
/// use clip_adapter::{SsText, model::Saved, prelude::*};
///
/// let (file, device) = (FeatureFile::synthetic(0)?, Device::flex());
/// let model = SsText::default().fit(&file.support(1, 1)?, file.classifier(), &device)?;
/// let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("minerals.adapter.safetensors");
/// model.save(&path)?;
///
/// let saved = Saved::open(&path)?; // reads no more than the header and the texts
/// assert_eq!((saved.kind(), saved.class_names()[0].as_str()), ("ss-text", "amber"));
/// assert_eq!(saved.settings()["tau"], 0.3);
/// let same = saved.load_for(&file.classifier().fingerprint(), &device)?;
/// let test = file.test_set("test")?;
/// assert_eq!(same.evaluate(&test)?, model.evaluate(&test)?);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Saved {
    file: Arc<SavedFile>,
    /// The tensors that a load asked for; of its own for each load.
    used: Arc<Mutex<BTreeSet<String>>>,
    prefix: String,
    kind: String,
    depth: usize,
}

/// What all sections of a file share.
#[derive(Debug)]
struct SavedFile {
    archive: Archive,
    fingerprint: Fingerprint,
    classes: Option<TextClassifier>,
}

impl Saved {
    /// Opens the file of a model, and reads what it is.
    ///
    /// # Errors
    /// [`Error::Read`] if it cannot be read, [`Error::Malformed`] if it is not the whole file of a model.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::of(Archive::open(path.as_ref())?)
    }

    /// The same of a file in memory, such as one that is part of the program; errors call it `name`.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is not the whole file of a model.
    pub fn from_bytes(bytes: Vec<u8>, name: impl AsRef<Path>) -> Result<Self> {
        Self::of(Archive::from_bytes(name.as_ref(), bytes)?)
    }

    fn of(archive: Archive) -> Result<Self> {
        let archive = if archive.require_format(version1::FORMAT).is_ok() {
            version1::upgraded(archive)?
        } else {
            archive
        };
        archive.require_format(FORMAT)?;
        let fingerprint: Fingerprint = archive.json("fingerprint")?;
        let classes = match archive.place(TEXT) {
            Some(_) => Some(read_classes(&archive, &fingerprint)?),
            None => None,
        };
        if let Some(found) = classes.as_ref().map(TextClassifier::fingerprint)
            && (&found.classes, &found.prompts) != (&fingerprint.classes, &fingerprint.prompts)
        {
            let expected = "that of the classes and prompts in the file";
            return Err(archive.malformed("metadata `fingerprint`", expected, json!(fingerprint)));
        }
        let kind = archive.text("method")?.to_owned();
        let file = Arc::new(SavedFile { archive, fingerprint, classes });
        Ok(Self { file, used: Arc::default(), prefix: String::new(), kind, depth: 0 })
    }

    /// A model within this one.
    ///
    /// # Errors
    /// [`Error::Malformed`] if there is none of this name.
    pub fn section(&self, name: &str) -> Result<Self> {
        let prefix = format!("{}{name}.", self.prefix);
        if self.depth == MAX_DEPTH {
            let expected = format!("models within models at most {MAX_DEPTH} deep");
            return Err(self.malformed(format!("model `{prefix}`"), expected, "one more"));
        }
        let kind = self.file.archive.text(&format!("{prefix}method"))?.to_owned();
        Ok(Self { file: self.file.clone(), used: self.used.clone(), prefix, kind, depth: self.depth + 1 })
    }

    /// The method's name.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The backbone, prompts and classes whose features it takes.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.file.fingerprint
    }

    /// The classes' names, in label order; none of a model that does not classify.
    pub fn class_names(&self) -> &[String] {
        self.file.classes.as_ref().map_or(&[], TextClassifier::class_names)
    }

    /// The templates of the prompts that its classes' texts were made with.
    pub fn prompts(&self) -> &[String] {
        self.file.classes.as_ref().map_or(&[], TextClassifier::templates)
    }

    /// The settings that it was fitted with; null if the file has none.
    pub fn settings(&self) -> serde_json::Value {
        self.json("settings").unwrap_or_default()
    }

    /// The zero-shot classifier it started from.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the file has none.
    pub fn classes(&self) -> Result<&TextClassifier> {
        self.file
            .classes
            .as_ref()
            .ok_or_else(|| self.malformed(format!("tensor `{TEXT}`"), "to be there", "none"))
    }

    /// Metadata that [`Section::json`](super::Section::json) wrote.
    ///
    /// # Errors
    /// [`Error::Malformed`] if there is none, or it is of another kind.
    pub fn json<T: DeserializeOwned>(&self, key: &str) -> Result<T> {
        self.file.archive.json(&self.name(key))
    }

    /// A tensor of `expected` sizes, of which `None` stands for any but 0.
    ///
    /// # Errors
    /// [`Error::Malformed`] if there is none, it has other sizes, or a value is not finite.
    pub fn tensor<const D: usize>(
        &self,
        name: &str,
        expected: [Option<usize>; D],
        device: &Device,
    ) -> Result<Tensor<D>> {
        let fits = |shape: &[usize]| {
            let mut axes = shape.iter().zip(&expected);
            shape.len() == D
                && axes.all(|(&size, wanted)| size > 0 && wanted.is_none_or(|wanted| wanted == size))
        };
        let full = self.name(name);
        match self.file.archive.place(&full) {
            Some(place) if fits(&place.shape) => {
                let Parameter { shape, values } = self.parameter(&full)?;
                Ok(Tensor::from_data(TensorData::new(values, shape), &device.clone().without_autodiff()))
            }
            other => {
                let axes = expected.map(|size| size.map_or("any".to_owned(), |size| size.to_string()));
                let found = other.map_or("none".to_owned(), |place| format!("{:?}", place.shape));
                let expected = format!("shape [{}]", axes.join(", "));
                Err(self.malformed(format!("tensor `{full}`"), expected, found))
            }
        }
    }

    /// That a tensor is there and of this shape, before memory is taken for what it will be put into.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is not.
    pub fn require_shape(&self, name: &str, expected: &[usize]) -> Result<()> {
        let full = self.name(name);
        match self.file.archive.place(&full) {
            Some(place) if place.shape == expected => Ok(()),
            other => {
                let found = other.map_or("none".to_owned(), |place| format!("{:?}", place.shape));
                Err(self.malformed(format!("tensor `{full}`"), format!("shape {expected:?}"), found))
            }
        }
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.file.archive.place(&self.name(name)).is_some()
    }

    /// Indices that [`Section::indices`](super::Section::indices) wrote.
    ///
    /// # Errors
    /// [`Error::Malformed`] if there are none, or one is negative.
    pub fn indices(&self, name: &str) -> Result<Vec<usize>> {
        let full = self.name(name);
        self.used(&full);
        self.file.archive.indices(&full)
    }

    /// Puts the parameters that [`Section::module`](super::Section::module) wrote into a module of the same structure.
    ///
    /// # Errors
    /// [`Error::Malformed`] for the first one that is missing or of another shape, or if a value is not finite.
    pub fn module<M: Module>(&self, module: M) -> Result<M> {
        let mut found = Parameters::new();
        for name in parameters::collect(&module).into_keys() {
            let full = self.name(&name);
            if self.file.archive.place(&full).is_some() {
                let parameter = self.parameter(&full)?;
                found.insert(name, parameter);
            }
        }
        parameters::load(module, &found).map_err(|mismatch| {
            self.malformed(
                format!("tensor `{}`", self.name(&mismatch.name)),
                format!("shape {:?}", mismatch.expected),
                mismatch.found.map_or("none".into(), |shape| format!("{shape:?}")),
            )
        })
    }

    fn parameter(&self, full: &str) -> Result<Parameter> {
        self.used(full);
        let (values, shape) = self.file.archive.floats_of_any_shape(full)?;
        match values.iter().find(|value| !value.is_finite()) {
            Some(bad) => Err(self.malformed(full, "finite values", bad)),
            None => Ok(Parameter { shape, values }),
        }
    }

    /// An error about a part of this file: a metadata key, a tensor, a value.
    pub fn malformed(&self, part: impl ToString, expected: impl ToString, found: impl ToString) -> Error {
        self.file.archive.malformed(part, expected, found)
    }

    /// Puts this file's name and the metadata key in front of an error about a value of it that was in memory.
    pub fn locate(&self, key: &str, error: Error) -> Error {
        self.file.archive.locate(format!("metadata `{}`", self.name(key)), error)
    }

    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn used(&self, name: &str) {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
    }

    /// Refuses a section with a tensor that nothing has asked for.
    fn finish(&self) -> Result<()> {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let mut own =
            self.file.archive.names().filter(|name| *name != TEXT && name.starts_with(&self.prefix));
        match own.find(|&name| !used.contains(name)) {
            None => Ok(()),
            Some(unknown) => {
                let known: Vec<&String> = used.iter().collect();
                let expected = format!("one that is asked for, such as {}", listed(&known));
                Err(self.malformed(format!("tensor `{unknown}`"), expected, "an unknown one"))
            }
        }
    }

    /// Loads this section, or the whole file, by `open`, if it is of what `expected` names.
    pub(crate) fn load_by<T>(
        &self,
        expected: &Fingerprint,
        open: impl FnOnce(&Self) -> Result<T>,
    ) -> Result<T> {
        expected.require(&self.file.fingerprint)?;
        let once = Self { used: Arc::default(), ..self.clone() };
        let model = open(&once)?;
        once.finish()?;
        Ok(model)
    }
}

fn read_classes(archive: &Archive, fingerprint: &Fingerprint) -> Result<TextClassifier> {
    let (values, [_, dim]) = archive.floats(TEXT)?;
    Embeddings::new(values, dim)
        .and_then(|weights| {
            TextClassifier::from_weights(
                weights,
                archive.json("class_names")?,
                archive.json("prompts")?,
                archive.json("logit_scale")?,
                fingerprint.backbone.clone(),
            )
        })
        .map_err(|error| archive.locate(TEXT, error))
}

/// What opens a model by its kind.
type ByKind<'a> = &'a dyn Fn(&Saved, &Opening<'_>) -> Result<Box<dyn Classifier>>;

/// How a model is opened: where it will compute, and how the models within it are found.
pub struct Opening<'a> {
    device: Device,
    by_kind: Option<ByKind<'a>>,
}

impl fmt::Debug for Opening<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening").field("device", &self.device).finish_non_exhaustive()
    }
}

impl<'a> Opening<'a> {
    /// On this device; models within a model are of this crate's kinds.
    pub fn new(device: &Device) -> Self {
        Self { device: device.clone().without_autodiff(), by_kind: None }
    }

    pub(crate) fn by(device: &Device, by_kind: ByKind<'a>) -> Self {
        Self { by_kind: Some(by_kind), ..Self::new(device) }
    }

    /// The device, without autodiff.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Opens a model within a model by the registry that is in use, or else by `builtin`.
    pub(crate) fn model(&self, saved: &Saved, builtin: ByKind<'_>) -> Result<Box<dyn Classifier>> {
        match self.by_kind {
            Some(by_kind) => by_kind(saved, self),
            None => builtin(saved, self),
        }
    }
}

/// A model that opens what it wrote.
pub trait Open: Model + Sized + 'static {
    /// What [`kind`](super::Model::kind) says of each of them.
    const KIND: &'static str;

    /// Reads what [`write`](super::Model::write) wrote. The device and the fingerprint are the caller's matter.
    ///
    /// # Errors
    /// [`Error::Malformed`] if something is missing or out of range.
    fn open(saved: &Saved, opening: &Opening<'_>) -> Result<Self>;

    /// Opens a file of this kind, for features that `expected` names.
    ///
    /// # Errors
    /// [`Error::Read`] if it cannot be read, [`Error::Malformed`] if it is not a whole file of this kind, and
    /// [`Error::Fingerprint`] if it was fitted for another backbone, other prompts or other classes.
    ///
    /// # Examples
    /// ```
    /// use clip_adapter::{FittedClipAdapter, model::Open, prelude::*};
    ///
    /// let (file, device) = (FeatureFile::synthetic(0)?, Device::flex());
    /// let model = ClipAdapter::default().fit(&file.support(1, 1)?, file.classifier(), &device)?;
    /// let folder = tempfile::tempdir().unwrap();
    /// let path = folder.path().join("minerals.adapter.safetensors");
    ///
    /// model.save(&path)?;
    /// let same = FittedClipAdapter::load(&path, &file.classifier().fingerprint(), &device)?;
    /// let test = file.test_set("test")?;
    /// assert_eq!(same.evaluate(&test)?, model.evaluate(&test)?);
    /// # Ok::<(), clip_adapter::Error>(())
    /// ```
    fn load(path: impl AsRef<Path>, expected: &Fingerprint, device: &Device) -> Result<Self> {
        let saved = Saved::open(path)?;
        if saved.kind() != Self::KIND {
            let (expected, found) = (format!("`{}`", Self::KIND), format!("`{}`", saved.kind()));
            return Err(saved.malformed("metadata `method`", expected, found));
        }
        saved.load_by(expected, |saved| Self::open(saved, &Opening::new(device)))
    }
}
