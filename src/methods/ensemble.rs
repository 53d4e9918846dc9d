use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
};

use burn::tensor::{Device, Tensor, activation};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::{AnyMethod, Fitted, Method, Progress, Run, by_name, check_fit, load};
use crate::{
    Error, Fingerprint, Result, Support, TextClassifier,
    adapter::{AdapterFile, parameters::Parameters},
    archive::Archive,
};

/// Hyper-parameter ensembling: does not choose among settings but fits all of them and averages what they say.
///
/// `logits = log mean_m softmax(l_m)` over the members `m`, one for every combination of the grid's values (Luo et
/// al., 2026, <https://arxiv.org/abs/2603.00478>). What few shots cannot tell apart is better averaged than chosen,
/// and averaged probabilities are calibrated where single members are too sure. The logits are logarithms of
/// probabilities.
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `method` | clip-adapter | a method's name | what is fitted |
/// | `grid` | `ratio` 0.2, 0.4, 0.6, 0.8 and `learning_rate` 0.001, 0.004 | values a setting | the members |
///
/// A setting that is not in the grid has its default. A fit costs as much as its members together. With a
/// checkpoint, `PATH.0`, `PATH.1` and so on hold the state of the members: an interrupted fit goes on with the
/// member that was being fitted, after the earlier ones were fitted again.
///
/// # Examples
/// ```
/// use burn::tensor::Device;
/// use clip_adapter::{FeatureFile, Fitted, Method, methods::Ensemble};
/// use serde_json::json;
///
/// let (file, device) = (FeatureFile::synthetic(0)?, Device::flex());
/// let settings = json!({ "method": "tip-adapter", "grid": { "alpha": [10, 100], "beta": [2, 5.5] } });
/// let method: Ensemble = serde_json::from_value(settings).unwrap();
/// let model = method.fit(&file.support(4, 1)?, file.classifier(), &device)?;
/// assert_eq!(model.members().len(), 4);
/// let logits = model.score(file.split("test")?.embeddings())?;
/// assert!(logits.rows().all(|row| (row.iter().map(|logit| logit.exp()).sum::<f32>() - 1.0).abs() < 1e-4));
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ensemble {
    /// The name of what is fitted.
    pub method: String,
    /// The values of each setting; every combination is a member.
    pub grid: BTreeMap<String, Vec<Value>>,
}

impl Default for Ensemble {
    fn default() -> Self {
        let grid = [
            ("ratio".to_owned(), vec![json!(0.2), json!(0.4), json!(0.6), json!(0.8)]),
            ("learning_rate".to_owned(), vec![json!(0.002), json!(0.008)]),
        ];
        Self { method: "clip-adapter".to_owned(), grid: grid.into() }
    }
}

impl Ensemble {
    /// Checks that the method is known, and that it has the grid's settings.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first one that is not right.
    pub fn validate(&self) -> Result<()> {
        self.methods().map(drop)
    }

    /// The members, not yet fitted.
    fn methods(&self) -> Result<Vec<Box<dyn AnyMethod>>> {
        if self.method == Self::NAME {
            return Err(Error::setting(
                "method",
                "a method that is no ensemble",
                format!("`{}`", self.method),
            ));
        }
        if let Some((name, _)) = self.grid.iter().find(|(_, values)| values.is_empty()) {
            return Err(Error::setting("grid", format!("one or more values of `{name}`"), "none"));
        }
        let mut combinations = vec![Map::new()];
        for (name, values) in &self.grid {
            let with = |combination: &Map<String, Value>, value: &Value| {
                let mut combination = combination.clone();
                combination.insert(name.clone(), value.clone());
                combination
            };
            combinations = (combinations.iter())
                .flat_map(|combination| values.iter().map(move |value| with(combination, value)))
                .collect();
        }
        combinations.iter().map(|settings| by_name(&self.method, settings)).collect()
    }
}

/// One member: the settings that tell it from the others, and the model.
struct Member {
    settings: Value,
    model: Box<dyn Fitted>,
}

/// What a file keeps of a member beside its parameters.
#[derive(Serialize, Deserialize)]
struct Found {
    settings: Value,
    found: Value,
}

/// The members of an [`Ensemble`].
pub struct FittedEnsemble {
    settings: Ensemble,
    members: Vec<Member>,
    classes: TextClassifier,
    device: Device,
}

impl FittedEnsemble {
    /// The settings it was fitted with.
    pub fn settings(&self) -> &Ensemble {
        &self.settings
    }

    /// The models that are averaged.
    pub fn members(&self) -> Vec<&dyn Fitted> {
        self.members.iter().map(|member| member.model.as_ref()).collect()
    }

    /// Opens a file that [`save`](Fitted::save) wrote, for features that `expected` names.
    ///
    /// # Errors
    /// As [`FittedClipAdapter::load`](crate::FittedClipAdapter::load).
    pub fn load(path: impl AsRef<Path>, expected: &Fingerprint, device: &Device) -> Result<Self> {
        let (file, archive) =
            AdapterFile::<Ensemble, Vec<Found>>::read(path.as_ref(), Ensemble::NAME, expected)?;
        let methods =
            file.settings.methods().map_err(|error| archive.locate("metadata `settings`", error))?;
        let name = methods.first().map_or(Ensemble::NAME, |method| method.name());
        if file.found.is_empty() {
            return Err(archive.malformed("metadata `found`", "one member or more", "none"));
        }
        let mut left = file.parameters;
        let mut members = Vec::with_capacity(file.found.len());
        for (at, Found { settings, found }) in file.found.into_iter().enumerate() {
            let prefix = prefix(at);
            let (own, others): (Parameters, Parameters) =
                left.into_iter().partition(|(name, _)| name.starts_with(&prefix));
            left = others;
            let strip = |name: String| name[prefix.len()..].to_owned();
            let parameters = own.into_iter().map(|(name, parameter)| (strip(name), parameter)).collect();
            let classes = file.classes.clone();
            let member = AdapterFile { method: name, settings: settings.clone(), found, classes, parameters };
            let model = through_file(|path| {
                member.write(path)?;
                load(path, expected, device)
            });
            let model = model.map_err(|error| locate(&archive, at, error))?;
            members.push(Member { settings, model });
        }
        if let Some(unknown) = left.keys().next() {
            let expected = format!("a tensor of one of {} members", members.len());
            return Err(archive.malformed(format!("tensor `{unknown}`"), expected, "an unknown one"));
        }
        let device = device.clone().without_autodiff();
        Ok(Self { settings: file.settings, members, classes: file.classes, device })
    }
}

/// What stands before the names of a member's tensors.
fn prefix(member: usize) -> String {
    format!("member.{member}.")
}

/// Lets a member be written or read as the file it would be on its own: its format is known to it alone.
fn through_file<T>(work: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let folder = TempDir::new().map_err(|source| Error::Write { path: env::temp_dir(), source })?;
    work(&folder.path().join("member.safetensors"))
}

/// Names the ensemble's file, and the member in it, where the member's own file is at fault.
fn locate(archive: &Archive, member: usize, error: Error) -> Error {
    match error {
        Error::Malformed { part, expected, found, .. } => {
            let part = part.replacen("tensor `", &format!("tensor `{}", prefix(member)), 1);
            archive.malformed(format!("member {member}: {part}"), expected, found)
        }
        other => archive.locate(format!("member {member}"), other),
    }
}

impl Method for Ensemble {
    const NAME: &'static str = "ensemble";
    type Fitted = FittedEnsemble;

    fn fit_with(
        &self,
        support: &Support,
        classes: &TextClassifier,
        run: &mut Run<'_>,
    ) -> Result<FittedEnsemble> {
        check_fit(support, classes)?;
        let methods = self.methods()?;
        let count = methods.len();
        let (device, checkpoint) = (run.device().clone(), run.checkpoint_path().map(Path::to_owned));
        let mut members = Vec::with_capacity(count);
        for (at, method) in methods.iter().enumerate() {
            let mut own = Run::new(&device).on_progress(|progress| {
                run.report(&Progress {
                    stage: format!("member {} of {count}: {}", at + 1, progress.stage),
                    done: (at as f64 + progress.done) / count as f64,
                    ..progress.clone()
                })
            });
            if let Some(path) = &checkpoint {
                own = own.checkpoint(own_checkpoint(path, at));
            }
            let model = method.fit_any(support, classes, &mut own)?;
            members.push(Member { settings: method.settings(), model });
        }
        Ok(FittedEnsemble { settings: self.clone(), members, classes: classes.clone(), device })
    }
}

fn own_checkpoint(path: &Path, member: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{member}"));
    name.into()
}

impl Fitted for FittedEnsemble {
    fn classes(&self) -> &TextClassifier {
        &self.classes
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn logits(&self, images: Tensor<2>) -> Tensor<2> {
        let of = |member: &Member| activation::log_softmax(member.model.logits(images.clone()), 1);
        let scores: Vec<Tensor<2>> = self.members.iter().map(of).collect();
        let scores = Tensor::stack::<3>(scores, 0); // [members, batch, classes]
        let largest = scores.clone().max_dim(0);
        ((scores - largest.clone()).exp().mean_dim(0).log() + largest).squeeze_dim(0)
    }

    fn chosen(&self) -> Value {
        let member = |member: &Member| {
            let settings =
                self.settings.grid.keys().map(|name| (name.clone(), member.settings[name].clone()));
            json!({ "settings": settings.collect::<Map<_, _>>(), "chosen": member.model.chosen() })
        };
        json!({ "method": self.settings.method, "members": self.members.iter().map(member).collect::<Vec<_>>() })
    }

    fn save(&self, path: &Path) -> Result<()> {
        let fingerprint = self.classes.fingerprint();
        let methods = self.settings.methods()?;
        let (mut found, mut parameters) = (Vec::new(), Parameters::new());
        for (at, (member, method)) in self.members.iter().zip(&methods).enumerate() {
            let (own, _) = through_file(|path| {
                member.model.save(path)?;
                AdapterFile::<Value, Value>::read(path, method.name(), &fingerprint)
            })?;
            found.push(Found { settings: own.settings, found: own.found });
            let named = own.parameters.into_iter();
            parameters.extend(named.map(|(name, parameter)| (format!("{}{name}", prefix(at)), parameter)));
        }
        let (settings, classes) = (self.settings.clone(), self.classes.clone());
        AdapterFile { method: Ensemble::NAME, settings, found, classes, parameters }.write(path)
    }
}
