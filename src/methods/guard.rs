use std::path::Path;

use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::ZeroShot;
use crate::choose::{Choice, hold_out, rotations};
use crate::error::{Error, Result};
use crate::evaluate::Logits;
use crate::features::{FeatureSet, Support, TextClassifier};
use crate::fingerprint::Fingerprint;
use crate::model::{Classifier, Model, Open, Opening, Saved, Section, Settings};
use crate::train::{Method, Registry, Run};

/// The shares of the method that are compared: of those that do equally well the least is taken.
const WEIGHTS: [f64; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];

/// The share where nothing can be held out.
const UNTESTED: f64 = 0.25;

/// The name of the guarded method's section in a guard's file.
const INNER: &str = "inner";

/// Any method, held back as far as it loses against zero-shot CLIP on shots that it did not see.
///
/// `logits = z + g (m - z)` with the zero-shot logits `z` and those of the method `m`. The method is fitted
/// without one shot of each class, up to `hold_outs` times, and `g` is the one of 0, 0.25, 0.5, 0.75 and 1
/// with the most right answers on those, and of as many the lowest negative log-likelihood. 0 is zero-shot
/// itself. Then the method is fitted on all shots. Of one shot a class none can be held out: few-shot
/// validation images decide if there are some, and else `g` is 0.25, which nothing tests.
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `method` | gda | a method's name | the method that is guarded |
/// | `settings` | {} | | its settings, where they are not the defaults |
/// | `hold_outs` | 4 | 1 or more | how often it is fitted without a shot, at most once a shot |
///
/// A fit takes as long as `hold_outs + 1` fits of the method. A checkpoint holds the last one.
///
/// # Examples
/// ```
/// use burn::tensor::Device;
/// use clip_adapter::{Classifier, FeatureFile, Method, ZeroShot, methods::Guard};
///
/// let (file, device) = (FeatureFile::synthetic(0)?, Device::flex());
/// let (support, test) = (file.support(4, 1)?, file.test_set("test")?);
/// let model = Guard::default().fit(&support, file.classifier(), &device)?;
/// let before = ZeroShot::default().fit(&support, file.classifier(), &device)?.evaluate(&test)?;
/// assert!(model.weight() > 0.0);
/// assert!(model.evaluate(&test)?.accuracy > before.accuracy + 10.0);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Guard {
    /// The name of the method that is guarded.
    pub method: String,
    /// Its settings, where they are not the defaults.
    pub settings: Map<String, Value>,
    /// How often it is fitted without a shot of each class, at most once a shot.
    pub hold_outs: usize,
}

impl Default for Guard {
    fn default() -> Self {
        Self { method: super::Gda::NAME.to_owned(), settings: Map::new(), hold_outs: 4 }
    }
}

impl Guard {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first one outside, or for one that the method does not know.
    pub fn validate(&self) -> Result<()> {
        Registry::builtin().method(&self.method, &self.settings)?;
        self.check_hold_outs()
    }

    fn check_hold_outs(&self) -> Result<()> {
        if self.hold_outs == 0 {
            return Err(Error::setting("hold_outs", "1 or more", 0));
        }
        Ok(())
    }
}

/// A fitted method beside zero-shot CLIP.
#[derive(Debug)]
pub struct FittedGuard {
    settings: Guard,
    weight: f64,
    inner: Box<dyn Classifier>,
}

impl FittedGuard {
    /// The settings it was fitted with.
    pub fn settings(&self) -> &Guard {
        &self.settings
    }

    /// The share of the method, 0..=1; 0 is zero-shot.
    pub fn weight(&self) -> f64 {
        self.weight
    }

    /// The guarded method as it was fitted on all shots.
    pub fn inner(&self) -> &dyn Classifier {
        self.inner.as_ref()
    }
}

/// What a method and zero-shot say of images that the method did not see.
#[derive(Default)]
struct Evidence {
    labels: Vec<usize>,
    zero_shot: Vec<f32>,
    adapted: Vec<f32>,
}

impl Evidence {
    fn add(
        &mut self,
        unseen: &FeatureSet,
        zero_shot: &dyn Classifier,
        adapted: &dyn Classifier,
    ) -> Result<()> {
        let values = |logits: Logits| logits.rows().flatten().copied().collect::<Vec<f32>>();
        self.zero_shot.extend(values(zero_shot.score(unseen.embeddings())?));
        self.adapted.extend(values(adapted.score(unseen.embeddings())?));
        self.labels.extend_from_slice(unseen.labels());
        Ok(())
    }

    /// The share with which most are right.
    fn weight(&self) -> f64 {
        let mut choice = Choice::new(&self.labels);
        for weight in WEIGHTS {
            let mixed = self.zero_shot.iter().zip(&self.adapted).map(|(z, m)| z + weight as f32 * (m - z));
            choice.consider(weight, &mixed.collect::<Vec<f32>>());
        }
        choice.best().unwrap_or(UNTESTED)
    }
}

impl Settings for Guard {
    const NAME: &'static str = "guard";
}

impl Method for Guard {
    type Fitted = FittedGuard;

    fn fit_with(
        &self,
        support: &Support,
        classes: &TextClassifier,
        run: &mut Run<'_>,
    ) -> Result<FittedGuard> {
        self.check_hold_outs()?;
        let method = run.registry_in_use().method(&self.method, &self.settings)?;
        let zero_shot = ZeroShot::default().fit(support, classes, run.device())?;
        let set = support.set();
        let rotations = rotations(set, self.hold_outs);
        let mut evidence = Evidence::default();
        for rotation in 0..rotations {
            let (held_out, kept) = hold_out(set, rotation);
            let mut kept = Support::new(set.select(&kept))?;
            if let Some(validation) = support.validation() {
                kept = kept.with_validation(validation.clone())?;
            }
            let model = method.fit_any(&kept, classes, &mut run.part(rotation, rotations + 1, ""))?;
            evidence.add(&set.select(&held_out), &zero_shot, model.as_ref())?;
        }
        let checkpoint = run.checkpoint_path().map(Path::to_owned);
        let mut last = run.part(rotations, rotations + 1, "");
        if let Some(path) = checkpoint {
            last = last.checkpoint(path);
        }
        let inner = method.fit_any(support, classes, &mut last)?;
        if let (0, Some(validation)) = (rotations, support.validation()) {
            evidence.add(validation, &zero_shot, inner.as_ref())?;
        }
        let weight = if evidence.labels.is_empty() { UNTESTED } else { evidence.weight() };
        Ok(FittedGuard { settings: self.clone(), weight, inner })
    }
}

impl Model for FittedGuard {
    fn kind(&self) -> &'static str {
        Guard::NAME
    }

    fn fingerprint(&self) -> Fingerprint {
        self.classes().fingerprint()
    }

    fn device(&self) -> &Device {
        self.inner.device()
    }

    fn chosen(&self) -> Value {
        json!({ "weight": self.weight, "method": self.inner.chosen() })
    }

    fn write(&self, into: &mut Section<'_, '_>) -> Result<()> {
        into.classes(self.classes());
        into.settings(&self.settings, &self.weight);
        into.model(INNER, &*self.inner)
    }
}

impl Classifier for FittedGuard {
    fn classes(&self) -> &TextClassifier {
        self.inner.classes()
    }

    fn logits(&self, images: Tensor<2>) -> Tensor<2> {
        if self.weight == 1.0 {
            return self.inner.logits(images);
        }
        let zero_shot = self.classes().logits(images.clone());
        if self.weight == 0.0 {
            return zero_shot;
        }
        let change = self.inner.logits(images) - zero_shot.clone();
        zero_shot + change.mul_scalar(self.weight)
    }

    fn to_device(&self, device: &Device) -> Result<Box<dyn Classifier>> {
        let (settings, inner) = (self.settings.clone(), self.inner.to_device(device)?);
        Ok(Box::new(Self { settings, inner, weight: self.weight }))
    }

    fn with_classes(&self, classes: &TextClassifier) -> Result<Box<dyn Classifier>> {
        let (settings, inner) = (self.settings.clone(), self.inner.with_classes(classes)?);
        Ok(Box::new(Self { settings, inner, weight: self.weight }))
    }
}

impl Open for FittedGuard {
    const KIND: &'static str = Guard::NAME;

    fn open(saved: &Saved, opening: &Opening<'_>) -> Result<Self> {
        let weight: f64 = saved.json("found")?;
        if !(0.0..=1.0).contains(&weight) {
            return Err(saved.malformed("metadata `found`", "a share in 0..=1", weight));
        }
        let inner = opening.open(&saved.section(INNER)?)?;
        Ok(Self { settings: saved.json("settings")?, weight, inner })
    }
}
