use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, activation};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::features::{Support, TextClassifier};
use crate::fingerprint::Fingerprint;
use crate::model::{Classifier, Model, Open, Opening, Saved, Section, Settings};
use crate::train::{AnyMethod, Method, Registry, Run};

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
/// | `grid` | `ratio` 0.2, 0.4, 0.6, 0.8 and `learning_rate` 0.002, 0.008 | values a setting | the members |
///
/// A setting that is not in the grid has its default. A fit costs as much as its members together. With a
/// checkpoint, `PATH.0`, `PATH.1` and so on hold the state of the members: an interrupted fit goes on with the
/// member that was being fitted, after the earlier ones were fitted again.
///
/// # Examples
/// ```
/// use burn::tensor::Device;
/// use clip_adapter::{Classifier, FeatureFile, Method, methods::Ensemble};
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

/// Members that are ever fitted: far more than help.
const MAX_MEMBERS: usize = 1000;

impl Ensemble {
    /// Checks that the method is known, and that it has the grid's settings.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first one that is not right.
    pub fn validate(&self) -> Result<()> {
        self.methods(&Registry::builtin()).map(drop)
    }

    /// The members, not yet fitted.
    fn methods(&self, registry: &Registry) -> Result<Vec<Box<dyn AnyMethod>>> {
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
        let count = self.grid.values().map(Vec::len).fold(1, usize::saturating_mul);
        if count > MAX_MEMBERS {
            return Err(Error::setting("grid", format!("at most {MAX_MEMBERS} combinations"), count));
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
        combinations.iter().map(|settings| registry.method(&self.method, settings)).collect()
    }
}

/// One member: the settings that tell it from the others, and the model.
#[derive(Debug)]
struct Member {
    settings: Value,
    model: Box<dyn Classifier>,
}

/// The members of an [`Ensemble`].
#[derive(Debug)]
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
    pub fn members(&self) -> Vec<&dyn Classifier> {
        self.members.iter().map(|member| member.model.as_ref()).collect()
    }

    /// The same with other models of the same members.
    fn with_models(
        &self,
        device: &Device,
        model: impl Fn(&dyn Classifier) -> Result<Box<dyn Classifier>>,
    ) -> Result<Self> {
        let member = |member: &Member| -> Result<Member> {
            Ok(Member { settings: member.settings.clone(), model: model(&*member.model)? })
        };
        let members = self.members.iter().map(member).collect::<Result<Vec<_>>>()?;
        let classes = members.first().map_or(&self.classes, |member| member.model.classes()).clone();
        Ok(Self { settings: self.settings.clone(), members, classes, device: device.clone() })
    }
}

impl Settings for Ensemble {
    const NAME: &'static str = "ensemble";
}

impl Method for Ensemble {
    type Fitted = FittedEnsemble;

    fn fit_with(
        &self,
        support: &Support,
        classes: &TextClassifier,
        run: &mut Run<'_>,
    ) -> Result<FittedEnsemble> {
        support.check(classes)?;
        let methods = self.methods(&run.registry_in_use())?;
        let count = methods.len();
        let (device, checkpoint) = (run.device().clone(), run.checkpoint_path().map(Path::to_owned));
        let mut members = Vec::with_capacity(count);
        for (at, method) in methods.iter().enumerate() {
            let mut own = run.part(at, count, format!("member {} of {count}", at + 1));
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

impl Model for FittedEnsemble {
    fn kind(&self) -> &'static str {
        Ensemble::NAME
    }

    fn fingerprint(&self) -> Fingerprint {
        self.classes.fingerprint()
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn chosen(&self) -> Value {
        let member = |member: &Member| {
            let settings =
                self.settings.grid.keys().map(|name| (name.clone(), member.settings[name].clone()));
            json!({ "settings": settings.collect::<Map<_, _>>(), "chosen": member.model.chosen() })
        };
        json!({ "method": self.settings.method, "members": self.members.iter().map(member).collect::<Vec<_>>() })
    }

    fn write(&self, into: &mut Section<'_, '_>) -> Result<()> {
        into.classes(&self.classes);
        into.settings(&self.settings, &());
        let mut members = self.members.iter().enumerate();
        members.try_for_each(|(at, member)| into.model(&section(at), &*member.model))
    }
}

/// The name of a member's section.
fn section(member: usize) -> String {
    format!("member.{member}")
}

impl Classifier for FittedEnsemble {
    fn classes(&self) -> &TextClassifier {
        &self.classes
    }

    fn logits(&self, images: Tensor<2>) -> Tensor<2> {
        let of = |member: &Member| activation::log_softmax(member.model.logits(images.clone()), 1);
        let scores: Vec<Tensor<2>> = self.members.iter().map(of).collect();
        let scores = Tensor::stack::<3>(scores, 0); // [members, batch, classes]
        let largest = scores.clone().max_dim(0);
        ((scores - largest.clone()).exp().mean_dim(0).log() + largest).squeeze_dim(0)
    }

    fn to_device(&self, device: &Device) -> Result<Box<dyn Classifier>> {
        let device = device.clone().without_autodiff();
        Ok(Box::new(self.with_models(&device, |model| model.to_device(&device))?))
    }

    fn with_classes(&self, classes: &TextClassifier) -> Result<Box<dyn Classifier>> {
        Ok(Box::new(self.with_models(&self.device, |model| model.with_classes(classes))?))
    }
}

impl Open for FittedEnsemble {
    const KIND: &'static str = Ensemble::NAME;

    fn open(saved: &Saved, opening: &Opening<'_>) -> Result<Self> {
        let settings: Ensemble = saved.json("settings")?;
        let count = settings.grid.values().map(Vec::len).fold(1, usize::saturating_mul);
        let member = |at: usize| -> Result<Member> {
            let section = saved.section(&section(at))?;
            Ok(Member { settings: section.settings(), model: opening.open(&section)? })
        };
        let members = (0..count).map(member).collect::<Result<Vec<_>>>()?;
        if members.is_empty() {
            return Err(saved.malformed("metadata `settings`", "one member or more", "none"));
        }
        Ok(Self { settings, members, classes: saved.classes()?.clone(), device: opening.device().clone() })
    }
}
