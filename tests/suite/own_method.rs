//! A method that is written outside the crate can do all that the crate's own can. Nothing here is `pub(crate)`.

use std::ops::ControlFlow;

use clip_adapter::burn::module::{Module, Param};
use clip_adapter::burn::nn::{Linear, LinearConfig};
use clip_adapter::burn::optim::GradientsParams;
use clip_adapter::burn::tensor::{Tensor, activation::log_softmax};
use clip_adapter::features::normalise;
use clip_adapter::methods::Guard;
use clip_adapter::model::{Open, Opening, Saved, Section, Settings};
use clip_adapter::train::{Examples, MethodSpec, NoMonitor, Optimiser, Registry, Schedule, Session, Trainer};
use clip_adapter::{Fingerprint, SsText, prelude::*};
use serde::{Deserialize, Serialize};

/// Class weights that are trained from the texts on, and then blended with them: `w = share W + (1 - share) t`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TextProbe {
    /// Epochs of training.
    epochs: usize,
    /// Weight of what was trained, 0..=1.
    share: f64,
}

impl Default for TextProbe {
    fn default() -> Self {
        Self { epochs: 30, share: 0.7 }
    }
}

impl Settings for TextProbe {
    const NAME: &'static str = "text-probe";
}

impl Method for TextProbe {
    type Fitted = FittedTextProbe;

    fn fit_with(
        &self,
        support: &Support,
        classes: &TextClassifier,
        run: &mut Run<'_>,
    ) -> Result<FittedTextProbe> {
        support.check(classes)?;
        if !(0.0..=1.0).contains(&self.share) {
            return Err(Error::setting("share", "0..=1", self.share));
        }
        let device = run.device().clone();
        let scale = classes.logit_scale();
        let mut layer = empty_layer(classes, &device.clone().autodiff());
        let text = classes.tensor(&device).transpose().into_data();
        layer.weight = Param::from_tensor(Tensor::<2>::from_data(text, &device).autodiff());
        let gradients = |layer: &Linear, [batch]: [Examples; 1]| {
            let log_p = log_softmax(layer.forward(batch.images).mul_scalar(scale), 1);
            let loss = (log_p * batch.targets).sum_dim(1).mean().neg();
            Ok((loss.clone().inner(), GradientsParams::from_grads(loss.backward(), layer)))
        };
        let trainer = Trainer {
            schedule: Schedule::cosine(0.002, self.epochs),
            optimiser: Optimiser::Adam { epsilon: Optimiser::EPSILON },
        };
        let batches = Examples::unit(support.set(), &device).shuffled(8, 0);
        let identity = serde_json::json!([Self::NAME, self, classes.fingerprint(), support.set().digest()]);
        let mut session = Session::open(run, identity.to_string(), 1)?;
        let layer = trainer.train(layer, &batches, gradients, &mut NoMonitor, "all shots", &mut session)?;
        session.close()?;
        let layer = layer.valid();
        Ok(FittedTextProbe { settings: self.clone(), layer, classes: classes.clone(), device })
    }
}

fn empty_layer(classes: &TextClassifier, device: &Device) -> Linear {
    LinearConfig::new(classes.dim(), classes.class_names().len()).with_bias(false).init(device)
}

/// Its own type, and no linear layer of the crate's.
#[derive(Debug)]
struct FittedTextProbe {
    settings: TextProbe,
    layer: Linear,
    classes: TextClassifier,
    device: Device,
}

impl Model for FittedTextProbe {
    fn kind(&self) -> &'static str {
        TextProbe::NAME
    }

    fn fingerprint(&self) -> Fingerprint {
        self.classes.fingerprint()
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn write(&self, into: &mut Section<'_, '_>) -> Result<()> {
        into.classes(&self.classes);
        into.settings(&self.settings, &());
        into.module(&self.layer);
        Ok(())
    }
}

impl Classifier for FittedTextProbe {
    fn classes(&self) -> &TextClassifier {
        &self.classes
    }

    fn logits(&self, images: Tensor<2>) -> Tensor<2> {
        let text = self.classes.tensor(&self.device).transpose().mul_scalar(1.0 - self.settings.share);
        let weights = self.layer.weight.val().mul_scalar(self.settings.share) + text;
        normalise(images).matmul(weights).mul_scalar(self.classes.logit_scale())
    }

    fn to_device(&self, device: &Device) -> Result<Box<dyn Classifier>> {
        let device = device.clone().without_autodiff();
        let layer = self.layer.clone().to_device(&device);
        Ok(Box::new(Self { settings: self.settings.clone(), layer, classes: self.classes.clone(), device }))
    }
}

impl Open for FittedTextProbe {
    const KIND: &'static str = TextProbe::NAME;

    fn open(saved: &Saved, opening: &Opening<'_>) -> Result<Self> {
        let classes = saved.classes()?.clone();
        let layer = saved.module(empty_layer(&classes, opening.device()))?;
        Ok(Self { settings: saved.json("settings")?, layer, classes, device: opening.device().clone() })
    }
}

fn ores() -> (FeatureFile, Support, Device) {
    let file = FeatureFile::synthetic(0).unwrap();
    let support = file.support(4, 1).unwrap();
    (file, support, Device::flex())
}

#[test]
fn it_computes_and_reports() {
    let (file, support, device) = ores();
    let test = file.test_set("test").unwrap();
    let before =
        ZeroShot::default().fit(&support, file.classifier(), &device).unwrap().evaluate(&test).unwrap();
    let mut epochs = Vec::new();
    let mut run = Run::new(&device).on_progress(|now| {
        assert_eq!((now.stage.as_str(), now.epochs), ("all shots", 30));
        epochs.push(now.epoch);
        ControlFlow::Continue(())
    });
    let model = TextProbe::default().fit_with(&support, file.classifier(), &mut run).unwrap();
    drop(run);
    assert_eq!(epochs, (1..=30).collect::<Vec<_>>());
    let after = model.evaluate(&test).unwrap();
    assert!(after.accuracy > before.accuracy + 9.0, "{before} {after}");

    let wrong = TextProbe { share: 1.5, ..Default::default() };
    let error = wrong.fit(&support, file.classifier(), &device).unwrap_err();
    assert_eq!(error.to_string(), "setting `share`: expected 0..=1, found 1.5");
}

#[test]
fn it_is_cancelled_and_goes_on_with_the_same_bits() {
    let (file, support, device) = ores();
    let (method, classes) = (TextProbe::default(), file.classifier());
    let folder = tempfile::tempdir().unwrap();
    let (state, path) = (folder.path().join("fit.state"), folder.path().join("a"));
    let bytes = |model: &FittedTextProbe| {
        model.save(&path).unwrap();
        std::fs::read(&path).unwrap()
    };
    let whole = bytes(&method.fit(&support, classes, &device).unwrap());

    let at_7 =
        |now: &Progress| if now.epoch < 7 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) };
    let mut run = Run::new(&device).checkpoint(&state).on_progress(at_7);
    let error = method.fit_with(&support, classes, &mut run).unwrap_err();
    assert!(
        matches!(&error, Error::Cancelled { epoch: 7, epochs: 30, checkpoint: Some(at) } if *at == state)
    );
    assert!(error.is_cancelled());

    // Another fit does not go on from it.
    let other = TextProbe { epochs: 31, ..method.clone() };
    let error = other.fit_with(&support, classes, &mut Run::new(&device).checkpoint(&state)).unwrap_err();
    assert!(matches!(error, Error::Fingerprint { .. }), "{error}");

    let mut first = None;
    let mut run = Run::new(&device).checkpoint(&state).on_progress(|now| {
        first.get_or_insert(now.epoch);
        ControlFlow::Continue(())
    });
    let resumed = method.fit_with(&support, classes, &mut run).unwrap();
    drop(run);
    assert_eq!((bytes(&resumed), first), (whole, Some(8)));
    assert!(!state.exists(), "the fit is done");
}

#[test]
fn it_is_found_by_name_saved_and_opened() {
    let (file, support, device) = ores();
    let (classes, test) = (file.classifier(), file.split("test").unwrap().embeddings());
    let registry = Registry::builtin().with::<TextProbe>();
    assert_eq!(registry.names().last(), Some(&"text-probe"));
    let error = Registry::builtin().method("text-probe", &Default::default()).err().unwrap().to_string();
    assert!(error.starts_with("setting `method`: expected one of zero-shot, "), "{error}");

    let spec: MethodSpec = "text-probe:epochs=3:share=0.5".parse().unwrap();
    let method = spec.method(&registry).unwrap();
    assert_eq!(method.settings(), serde_json::json!({ "epochs": 3, "share": 0.5 }));
    let model = method.fit_any(&support, classes, &mut Run::new(&device)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    model.save(&path).unwrap();

    let saved = Saved::open(&path).unwrap();
    assert_eq!((saved.kind(), saved.class_names()), ("text-probe", classes.class_names()));
    assert_eq!(saved.settings(), method.settings());
    let same = registry.load(&saved, &classes.fingerprint(), &device).unwrap();
    assert_eq!(same.score(test).unwrap(), model.score(test).unwrap());
    let own = FittedTextProbe::load(&path, &classes.fingerprint(), &device).unwrap();
    assert_eq!(own.score(test).unwrap(), model.score(test).unwrap());
    assert_eq!(own.to_device(&device).unwrap().score(test).unwrap(), model.score(test).unwrap());
    // Without the registry, nobody knows what it is.
    let error = clip_adapter::methods::load(&path, &classes.fingerprint(), &device).unwrap_err();
    assert!(matches!(&error, Error::Malformed { found, .. } if found.contains("text-probe")), "{error}");
    // What the formula does not allow is one error, and not a wrong answer.
    assert!(matches!(own.with_classes(classes), Err(Error::Unsupported { .. })));
}

/// The crate's own methods that hold another take it too, as a section of their file.
#[test]
fn it_stands_within_another_model() {
    let (file, support, device) = ores();
    let (classes, test) = (file.classifier(), file.split("test").unwrap().embeddings());
    let registry = Registry::builtin().with::<TextProbe>();
    let settings = serde_json::json!({ "epochs": 3 });
    let guard = Guard {
        method: TextProbe::NAME.into(),
        settings: settings.as_object().unwrap().clone(),
        ..Default::default()
    };
    let mut run = Run::new(&device).registry(&registry);
    let model = guard.fit_with(&support, classes, &mut run).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    model.save(&path).unwrap();
    let same = registry.load(&Saved::open(&path).unwrap(), &classes.fingerprint(), &device).unwrap();
    assert_eq!(same.score(test).unwrap(), model.score(test).unwrap());
    // A section loads by itself too, as often as one likes.
    let inner = Saved::open(&path).unwrap().section("inner").unwrap();
    assert_eq!(inner.kind(), "text-probe");
    for _ in 0..2 {
        let loaded = registry.load(&inner, &classes.fingerprint(), &device).unwrap();
        assert_eq!(loaded.score(test).unwrap(), model.inner().score(test).unwrap());
    }

    let plain = SsText::default().fit(&support, classes, &device).unwrap();
    assert_eq!(plain.kind(), "ss-text");
}

/// And one of them within a model from outside.
#[derive(Debug)]
struct Halved(Box<dyn Classifier>);

impl Model for Halved {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn fingerprint(&self) -> Fingerprint {
        self.0.fingerprint()
    }

    fn device(&self) -> &Device {
        self.0.device()
    }

    fn write(&self, into: &mut Section<'_, '_>) -> Result<()> {
        into.classes(self.0.classes());
        into.model("whole", &*self.0)
    }
}

impl Classifier for Halved {
    fn classes(&self) -> &TextClassifier {
        self.0.classes()
    }

    fn logits(&self, images: Tensor<2>) -> Tensor<2> {
        self.0.logits(images).mul_scalar(0.5)
    }

    fn to_device(&self, device: &Device) -> Result<Box<dyn Classifier>> {
        Ok(Box::new(Self(self.0.to_device(device)?)))
    }
}

impl Open for Halved {
    const KIND: &'static str = "halved";

    fn open(saved: &Saved, opening: &Opening<'_>) -> Result<Self> {
        Ok(Self(opening.open(&saved.section("whole")?)?))
    }
}

#[test]
fn another_stands_within_it() {
    let (file, support, device) = ores();
    let (classes, test) = (file.classifier(), file.split("test").unwrap().embeddings());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let registry = Registry::builtin().with::<TextProbe>().with_model::<Halved>();
    for name in ["ss-text", "text-probe"] {
        let method = registry.method(name, &Default::default()).unwrap();
        let model = Halved(method.fit_any(&support, classes, &mut Run::new(&device)).unwrap());
        model.save(&path).unwrap();
        let saved = Saved::open(&path).unwrap();
        let same = registry.load(&saved, &classes.fingerprint(), &device).unwrap();
        assert_eq!(same.score(test).unwrap(), model.score(test).unwrap(), "{name}");
    }
}
