use std::{fs, path::Path};

use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Fitted, Method, Progress, Run, ZeroShot,
    choice::Choice,
    clip_adapter::{hold_out, rotations},
    registry,
};
use crate::{
    Error, FeatureSet, Fingerprint, Result, Support, TextClassifier,
    adapter::{AdapterFile, parameters::Parameters},
    evaluate::Logits,
};

/// The shares of the method that are compared: of those that do equally well the least is taken.
const WEIGHTS: [f64; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];

/// The share where nothing can be held out.
const UNTESTED: f64 = 0.25;

/// The name of the guarded method's own file within a guard's file.
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
/// | `method` | gda | [`NAMES`](super::NAMES) | the method that is guarded |
/// | `settings` | {} | | its settings, where they are not the defaults |
/// | `hold_outs` | 4 | 1 or more | how often it is fitted without a shot, at most once a shot |
///
/// A fit takes as long as `hold_outs + 1` fits of the method. A checkpoint holds the last one.
///
/// # Examples
/// ```
/// use burn::tensor::Device;
/// use clip_adapter::{FeatureFile, Fitted, Method, ZeroShot, methods::Guard};
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
        registry::by_name(&self.method, &self.settings)?;
        if self.hold_outs == 0 {
            return Err(Error::setting("hold_outs", "1 or more", 0));
        }
        Ok(())
    }
}

/// A fitted method beside zero-shot CLIP.
pub struct FittedGuard {
    settings: Guard,
    weight: f64,
    inner: Box<dyn Fitted>,
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
    pub fn inner(&self) -> &dyn Fitted {
        self.inner.as_ref()
    }

    /// Opens a file that [`save`](Fitted::save) wrote, for features that `expected` names.
    ///
    /// # Errors
    /// As [`FittedClipAdapter::load`](crate::FittedClipAdapter::load).
    pub fn load(path: impl AsRef<Path>, expected: &Fingerprint, device: &Device) -> Result<Self> {
        let (file, archive) =
            AdapterFile::<Guard, f64>::read_with(&[INNER], path.as_ref(), Guard::NAME, expected)?;
        file.expect_names(&[], &archive)?;
        if !(0.0..=1.0).contains(&file.found) {
            return Err(archive.malformed("metadata `found`", "a share in 0..=1", file.found));
        }
        let bytes = archive.bytes(INNER)?;
        let inner = within_a_folder(|path| {
            fs::write(path, bytes).map_err(|source| Error::Write { path: path.into(), source })?;
            registry::load(path, expected, device)
        });
        let inner = inner.map_err(|error| match error {
            Error::Malformed { part, expected, found, .. } => {
                archive.malformed(format!("tensor `{INNER}`: {part}"), expected, found)
            }
            other => other,
        })?;
        Ok(Self { settings: file.settings, weight: file.found, inner })
    }
}

/// Gives `work` a path of its own that is gone afterwards.
fn within_a_folder<T>(work: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let folder = tempfile::tempdir().map_err(|source| Error::Write { path: std::env::temp_dir(), source })?;
    work(&folder.path().join("inner.safetensors"))
}

/// What a method and zero-shot say of images that the method did not see.
#[derive(Default)]
struct Evidence {
    labels: Vec<usize>,
    zero_shot: Vec<f32>,
    adapted: Vec<f32>,
}

impl Evidence {
    fn add(&mut self, unseen: &FeatureSet, zero_shot: &dyn Fitted, adapted: &dyn Fitted) -> Result<()> {
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

/// A run for one of several fits, which reports its part of the whole and keeps no state.
fn part<'a>(run: &'a mut Run<'_>, fit: usize, fits: usize) -> Run<'a> {
    let device = run.device().clone();
    Run::new(&device).on_progress(move |progress| {
        let done = (fit as f64 + progress.done) / fits as f64;
        run.report(&Progress { done, ..progress.clone() })
    })
}

impl Method for Guard {
    const NAME: &'static str = "guard";
    type Fitted = FittedGuard;

    fn fit_with(
        &self,
        support: &Support,
        classes: &TextClassifier,
        run: &mut Run<'_>,
    ) -> Result<FittedGuard> {
        self.validate()?;
        let method = registry::by_name(&self.method, &self.settings)?;
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
            let model = method.fit_any(&kept, classes, &mut part(run, rotation, rotations + 1))?;
            evidence.add(&set.select(&held_out), &zero_shot, model.as_ref())?;
        }
        let checkpoint = run.checkpoint_path().map(Path::to_owned);
        let mut last = part(run, rotations, rotations + 1);
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

impl Fitted for FittedGuard {
    fn classes(&self) -> &TextClassifier {
        self.inner.classes()
    }

    fn device(&self) -> &Device {
        self.inner.device()
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

    fn chosen(&self) -> Value {
        serde_json::json!({ "weight": self.weight, "method": self.inner.chosen() })
    }

    fn save(&self, path: &Path) -> Result<()> {
        let inner = within_a_folder(|path| {
            self.inner.save(path)?;
            fs::read(path).map_err(|source| Error::Read { path: path.into(), source })
        })?;
        AdapterFile {
            method: Guard::NAME,
            settings: self.settings.clone(),
            found: self.weight,
            classes: self.classes().clone(),
            parameters: Parameters::new(),
        }
        .write_with(vec![(INNER, inner)], path)
    }
}
