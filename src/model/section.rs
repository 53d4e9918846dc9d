use burn::{module::Module, tensor::Tensor};
use serde::Serialize;
use serde_json::json;

use super::Model;
use crate::archive::ArchiveWriter;
use crate::archive::parameters::{self, Parameter};
use crate::error::{Error, Result};
use crate::features::TextClassifier;

/// The format that the file of a model declares in its metadata.
///
/// | Part | Meaning |
/// | --- | --- |
/// | metadata `method`, `fingerprint` | what it is, and what its features must be of |
/// | metadata `settings`, `found` | JSON: what it was fitted with, and what fitting found beside the parameters |
/// | metadata `class_names`, `prompts`, `logit_scale`, tensor `text.weights` | the zero-shot classifier, `[classes, dim]` |
/// | every other tensor | what was learned: `image.adapter.down.weight` is `[out, in]`, as in PyTorch |
///
/// A model within a model stands in the same file, with a prefix before each of its names, such as `inner.`. Files of
/// `clip-adapter/1` open too.
pub const FORMAT: &str = "clip-adapter/2";

/// Where a model writes itself: the names of one file, or those of them that begin with a prefix.
///
/// # Examples
/// In the guide, on the page `own_method`.
#[derive(Debug)]
pub struct Section<'s, 'a> {
    archive: &'s mut ArchiveWriter<'a>,
    prefix: String,
}

impl<'s, 'a> Section<'s, 'a> {
    pub(super) fn root(archive: &'s mut ArchiveWriter<'a>) -> Self {
        Self { archive, prefix: String::new() }
    }

    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A part of this section: its names begin with `name` and a dot.
    pub fn section(&mut self, name: &str) -> Section<'_, 'a> {
        let prefix = format!("{}{name}.", self.prefix);
        Section { archive: self.archive, prefix }
    }

    /// A whole model as a part of this section.
    ///
    /// # Errors
    /// As [`Model::write`].
    pub fn model(&mut self, name: &str, model: &dyn Model) -> Result<()> {
        self.section(name).put(model)
    }

    pub(super) fn put(mut self, model: &(impl Model + ?Sized)) -> Result<()> {
        let method = self.name("method");
        self.archive.text(method, model.kind());
        model.write(&mut self)
    }

    /// Metadata: anything as JSON.
    pub fn json(&mut self, key: &str, value: &impl Serialize) {
        let key = self.name(key);
        self.archive.text(key, json!(value));
    }

    /// Metadata that every method has: its settings, and what fitting found beside the parameters.
    pub fn settings(&mut self, settings: &impl Serialize, found: &impl Serialize) {
        self.json("settings", settings);
        self.json("found", found);
    }

    /// The zero-shot classifier. The sections of a file share it, and so a model within another has the same classes,
    /// prompts and scale: else writing the file is an error.
    pub fn classes(&mut self, classes: &TextClassifier) {
        let [names, prompts, scale] = [
            json!(classes.class_names()).to_string(),
            json!(classes.templates()).to_string(),
            classes.logit_scale().to_string(),
        ];
        let parts = [("class_names", names), ("prompts", prompts), ("logit_scale", scale)];
        if self.archive.get_text("class_names").is_some() {
            for (key, found) in parts {
                if let Some(expected) = self.archive.get_text(key).filter(|expected| **expected != found) {
                    let what = format!("{key} of a model within another");
                    let error = Error::data(what, expected, found);
                    self.archive.fail(error);
                }
            }
            return;
        }
        for (key, value) in parts {
            self.archive.text(key, value);
        }
        let shape = [classes.class_names().len(), classes.dim()];
        self.archive.floats(TEXT, &shape, classes.weights().values());
    }

    /// A tensor from any device, as f32.
    ///
    /// # Errors
    /// [`Error::Execution`](crate::Error::Execution) if it cannot be read from its device.
    pub fn tensor<const D: usize>(&mut self, name: &str, tensor: &Tensor<D>) -> Result<()> {
        let Parameter { shape, values } = Parameter::of(tensor)?;
        self.floats(name, &shape, &values);
        Ok(())
    }

    /// Numbers in row-major order.
    ///
    /// # Panics
    /// When the file is written, if there are not as many as the shape asks for.
    pub fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        let name = self.name(name);
        self.archive.floats(name, shape, values);
    }

    /// Indices, such as labels or rows.
    pub fn indices(&mut self, name: &str, values: &[usize]) {
        let name = self.name(name);
        self.archive.indices(name, values);
    }

    /// Every parameter of a Burn module, by the names that PyTorch would give them: a linear layer's weight is
    /// `[out, in]`, a norm has `weight` and `bias`.
    pub fn module(&mut self, module: &impl Module) {
        for (name, Parameter { shape, values }) in parameters::collect(module) {
            self.floats(&name, &shape, &values);
        }
    }
}

/// The name of the zero-shot classifier's tensor.
pub(super) const TEXT: &str = "text.weights";
