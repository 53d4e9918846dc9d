use std::path::Path;

use burn::{
    module::Module,
    tensor::{Device, Tensor, TensorData},
};
use serde::{Serialize, de::DeserializeOwned};

use super::parameters::{self, Parameter, Parameters};
use crate::{
    Fingerprint, Result, TextClassifier,
    archive::{Archive, ArchiveWriter},
    features::Embeddings,
};

/// The format an adapter file declares in its metadata.
pub const FORMAT: &str = "clip-adapter/1";

/// A fitted method as a file: one safetensors file with the method's name and settings, the class names, the
/// fingerprint, the zero-shot weights it started from, and what was learned.
///
/// | Tensor | Shape | Meaning |
/// | --- | --- | --- |
/// | `text.weights` | `[classes, dim]` | the zero-shot classifier |
/// | `{path}` | | one learned parameter, such as `image.adapter.down.weight`, `[out, in]` as in PyTorch |
///
/// `S` are the method's settings and `F` is what its fitting found beside the parameters.
pub(crate) struct AdapterFile<S, F> {
    pub method: &'static str,
    pub settings: S,
    pub found: F,
    pub classes: TextClassifier,
    pub parameters: Parameters,
}

impl<S: Serialize + DeserializeOwned, F: Serialize + DeserializeOwned> AdapterFile<S, F> {
    pub fn write(&self, path: &Path) -> Result<()> {
        self.write_with(Vec::new(), path)
    }

    /// Writes the file with tensors of plain bytes, such as another file.
    pub fn write_with(&self, attached: Vec<(&str, Vec<u8>)>, path: &Path) -> Result<()> {
        let text = &self.classes;
        let mut archive = ArchiveWriter::new(FORMAT);
        archive.text("method", self.method);
        archive.text("settings", serde_json::json!(self.settings));
        archive.text("found", serde_json::json!(self.found));
        archive.text("fingerprint", serde_json::json!(text.fingerprint()));
        archive.text("class_names", serde_json::json!(text.class_names()));
        archive.text("prompts", serde_json::json!(text.templates()));
        archive.text("logit_scale", text.logit_scale());
        archive.floats("text.weights", &[text.class_names().len(), text.dim()], text.weights().values());
        for (name, Parameter { shape, values }) in &self.parameters {
            archive.floats(name, shape, values);
        }
        for (name, bytes) in attached {
            archive.bytes(name, bytes);
        }
        archive.write(path)
    }

    /// Reads a file that `method` wrote for what `expected` names.
    pub fn read(path: &Path, method: &'static str, expected: &Fingerprint) -> Result<(Self, Archive)> {
        Self::read_with(&[], path, method, expected)
    }

    /// Reads a file that has these tensors of plain bytes beside its parameters.
    pub fn read_with(
        attached: &[&str],
        path: &Path,
        method: &'static str,
        expected: &Fingerprint,
    ) -> Result<(Self, Archive)> {
        let archive = Archive::read(path)?;
        archive.require_format(FORMAT)?;
        let found = archive.text("method")?;
        if found != method {
            return Err(archive.malformed("metadata `method`", format!("`{method}`"), format!("`{found}`")));
        }
        let fingerprint: Fingerprint = archive.json("fingerprint")?;
        expected.require(&fingerprint)?;
        let (values, [_, dim]) = archive.floats("text.weights")?;
        let classes = Embeddings::new(values, dim)
            .and_then(|weights| {
                TextClassifier::from_weights(
                    weights,
                    archive.json("class_names")?,
                    archive.json("prompts")?,
                    archive.json("logit_scale")?,
                    fingerprint.backbone.clone(),
                )
            })
            .map_err(|error| archive.locate("text.weights", error))?;
        let mut parameters = Parameters::new();
        let is_parameter = |name: &String| name != "text.weights" && !attached.contains(&name.as_str());
        for name in archive.names().into_iter().filter(is_parameter) {
            let (values, shape) = archive.floats_of_any_shape(&name)?;
            if let Some(bad) = values.iter().find(|value| !value.is_finite()) {
                return Err(archive.malformed(&name, "finite values", bad));
            }
            parameters.insert(name, Parameter { shape, values });
        }
        let (settings, found) = (archive.json("settings")?, archive.json("found")?);
        Ok((Self { method, settings, found, classes, parameters }, archive))
    }

    /// Puts the parameters into a module of the same structure.
    pub fn load<M: Module>(&self, module: M, archive: &Archive) -> Result<M> {
        let expected: Vec<String> = parameters::collect(&module).into_keys().collect();
        if let Some(unknown) = self.parameters.keys().find(|name| !expected.contains(name)) {
            return Err(archive.malformed(
                format!("tensor `{unknown}`"),
                format!("one of {expected:?}"),
                "an unknown one",
            ));
        }
        parameters::load(module, &self.parameters).map_err(|mismatch| {
            archive.malformed(
                format!("tensor `{}`", mismatch.name),
                format!("shape {:?}", mismatch.expected),
                mismatch.found.map_or("none".into(), |shape| format!("{shape:?}")),
            )
        })
    }
}

impl<S, F> AdapterFile<S, F> {
    /// Refuses a file whose parameters are not exactly those named.
    pub fn expect_names(&self, expected: &[&str], archive: &Archive) -> Result<()> {
        let found: Vec<&str> = self.parameters.keys().map(String::as_str).collect();
        match (
            expected.iter().find(|name| !found.contains(name)),
            found.iter().find(|name| !expected.contains(name)),
        ) {
            (None, None) => Ok(()),
            (Some(missing), _) => {
                Err(archive.malformed(format!("tensor `{missing}`"), "to be there", "none"))
            }
            (None, Some(unknown)) => {
                let expected = format!("one of {expected:?}");
                Err(archive.malformed(format!("tensor `{unknown}`"), expected, "an unknown one"))
            }
        }
    }

    /// The parameter `name` as a tensor of `expected` sizes, of which `None` stands for any but 0.
    pub fn tensor<const D: usize>(
        &self,
        name: &str,
        expected: [Option<usize>; D],
        archive: &Archive,
        device: &Device,
    ) -> Result<Tensor<D>> {
        let fits = |shape: &[usize]| {
            let mut axes = shape.iter().zip(&expected);
            shape.len() == D
                && axes.all(|(&size, wanted)| size > 0 && wanted.is_none_or(|wanted| wanted == size))
        };
        match self.parameters.get(name) {
            Some(Parameter { shape, values }) if fits(shape) => {
                Ok(Tensor::from_data(TensorData::new(values.clone(), shape.clone()), device))
            }
            other => {
                let axes = expected.map(|size| size.map_or("any".to_owned(), |size| size.to_string()));
                let found = other.map_or("none".to_owned(), |parameter| format!("{:?}", parameter.shape));
                let expected = format!("shape [{}]", axes.join(", "));
                Err(archive.malformed(format!("tensor `{name}`"), expected, found))
            }
        }
    }
}
