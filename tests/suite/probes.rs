//! The probes, APE and the ensemble: their accuracies, what they choose, saved and loaded, and on uneven shots.

mod formulas;
mod prolip;

use std::{fs, ops::ControlFlow};

use burn::tensor::Device;
use clip_adapter::{
    Ape, Classifier, Ensemble, Error, FeatureFile, FeatureSet, LinearProbe, LpPlusPlus, Method, Run, Support,
    TextClassifier,
    methods::{self, FittedApe, FittedEnsemble, FittedLinearProbe, FittedLpPlusPlus},
    model::{FeatureMap, Model, Open, Save},
    train::{AnyMethod, Registry},
};
use safetensors::SafeTensors;
use serde_json::{Value, json};

use crate::{
    methods::{saved_is_loaded, uneven},
    shared::{DATASETS, features, folder},
};

/// Accuracies in NumPy at 1, 4 and 16 shots, means over the recorded draws 1 to 3: linear probe that chooses, LP++
/// without validation images, and APE.
type Means = [f64; 3];
const REACHED: [(&str, Means, Means, Means); 4] = [
    ("whurs19_vitb32", [79.55, 92.75, 98.87], [89.37, 94.52, 99.19], [85.67, 92.75, 96.78]),
    ("whurs19_rn50", [71.66, 90.18, 98.23], [80.84, 91.95, 97.91], [82.13, 91.47, 94.36]),
    ("pets25_vitb32", [43.50, 70.17, 85.66], [87.72, 90.16, 91.74], [91.70, 92.44, 91.66]),
    ("caltech36_vitb32", [88.55, 95.10, 97.03], [96.53, 96.62, 97.47], [96.88, 96.97, 97.55]),
];

fn file() -> FeatureFile {
    FeatureFile::synthetic(0).unwrap()
}

fn fit<M: Method>(method: M, file: &FeatureFile, support: &Support) -> M::Fitted {
    method.fit(support, file.classifier(), &Device::flex()).unwrap()
}

fn ensemble(settings: Value) -> Ensemble {
    serde_json::from_value(settings).unwrap()
}

fn mean_accuracy<M: Method + Copy>(method: M, file: &FeatureFile, shots: usize) -> f64 {
    let test = file.test_set("test").unwrap();
    let accuracy =
        |seed| fit(method, file, &file.support(shots, seed).unwrap()).evaluate(&test).unwrap().accuracy;
    [1, 2, 3].map(accuracy).iter().sum::<f64>() / 3.0
}

#[test]
fn the_defaults_reach_what_they_reached_in_numpy() {
    let test = "the_defaults_reach_what_they_reached_in_numpy";
    if folder(test).is_none() {
        return;
    }
    assert_eq!(REACHED.map(|(dataset, ..)| dataset), DATASETS);
    let reached_ape = Ape { channels: 0.6, alpha: 5.0, beta: 5.5, gamma: 0.1 };
    for (dataset, probe, lp, ape) in REACHED {
        let file = features(test, dataset).unwrap();
        for (at, shots) in [1, 4, 16].into_iter().enumerate() {
            for (name, found, expected) in [
                ("linear-probe", mean_accuracy(LinearProbe::default(), &file, shots), probe[at]),
                ("lp-plus-plus", mean_accuracy(LpPlusPlus::default(), &file, shots), lp[at]),
                ("ape", mean_accuracy(reached_ape, &file, shots), ape[at]),
            ] {
                let line = format!("{dataset}, {shots} shots, {name}: {found:.2}, expected {expected:.2}");
                println!("{line}");
                assert!((found - expected).abs() <= 0.3, "{line}");
            }
        }
    }
}

#[test]
fn the_probe_chooses_its_strength() {
    let file = file();
    let given = LinearProbe { c: Some(0.7) };
    assert_eq!(fit(given, &file, &file.support(4, 1).unwrap()).c(), 0.7);
    assert_eq!(fit(LinearProbe::default(), &file, &file.support(1, 1).unwrap()).c(), 10.0);

    let support = file.support_with_validation(4, 1).unwrap();
    let validation = support.validation().unwrap().clone().into_test_set();
    let right = |model: &FittedLinearProbe| model.evaluate(&validation).unwrap().accuracy;
    let chosen = fit(LinearProbe::default(), &file, &support);
    assert_eq!(chosen.chosen(), json!({ "c": chosen.c() }));
    for c in [0.1, 1.0, 10.0, 100.0, 1e3, 1e4] {
        let other = right(&fit(LinearProbe { c: Some(c) }, &file, &support));
        let image = 100.0 / validation.len() as f64; // the fits that choose are less exact
        assert!(right(&chosen) >= other - image - 1e-9, "{c}: {other}");
    }
}

#[test]
fn a_class_without_shots_is_never_predicted_by_the_probe() {
    let file = file();
    let support = uneven(&file, |class| if class == 2 { 0 } else { 4 });
    let model = fit(LinearProbe::default(), &file, &support);
    let logits = model.score(file.split("test").unwrap().embeddings()).unwrap();
    assert!(logits.predictions().all(|class| class != 2));
}

#[test]
fn lp_plus_plus_keeps_the_best_iterate_it_was_shown() {
    let file = file();
    let support = file.support_with_validation(4, 1).unwrap();
    let validation = support.validation().unwrap().clone().into_test_set();
    let best = fit(LpPlusPlus::default(), &file, &support);
    let last = fit(LpPlusPlus::default(), &file, &Support::new(support.set().clone()).unwrap());
    assert_eq!((last.iteration(), last.chosen()), (300, json!({ "iteration": 300 })));
    assert!((1..=300).contains(&best.iteration()));
    let report = |model: &FittedLpPlusPlus| model.evaluate(&validation).unwrap();
    assert!(report(&best).accuracy >= report(&last).accuracy);

    // An iterate that is kept is the last one of a shorter fit.
    let shorter = LpPlusPlus { iterations: best.iteration(), ..Default::default() };
    let shorter = fit(shorter, &file, &Support::new(support.set().clone()).unwrap());
    let test = file.split("test").unwrap().embeddings();
    assert_eq!(shorter.score(test).unwrap(), best.score(test).unwrap());
}

#[test]
fn lp_plus_plus_reports_every_iteration_and_stops() {
    let file = file();
    let support = file.support(4, 1).unwrap();
    let mut losses = Vec::new();
    let device = Device::flex();
    let mut run = Run::new(&device).on_progress(|progress| {
        losses.push(progress.loss);
        if progress.done >= 0.5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let stopped = LpPlusPlus::default().fit_with(&support, file.classifier(), &mut run);
    drop(run);
    assert!(matches!(stopped, Err(Error::Cancelled { epoch: 150, epochs: 300, checkpoint: None })));
    assert_eq!(losses.len(), 150);
    assert!(losses[149] < losses[0] / 2.0);
}

#[test]
fn validation_images_choose_the_weights_of_ape() {
    let file = file();
    let support = file.support_with_validation(4, 1).unwrap();
    let without = Support::new(support.set().clone()).unwrap();
    let validation = support.validation().unwrap().clone().into_test_set();
    let accuracy = |model: &FittedApe| model.evaluate(&validation).unwrap().accuracy;
    let found = fit(Ape::default(), &file, &support);
    let point = |index: f64| 0.1 + index * 12.9 / 20.0;
    for (alpha, beta, gamma) in [(0.0, 0.0, 0.0), (10.0, 9.0, 0.1), (19.0, 1.0, 1.0), (19.0, 8.0, 0.5)] {
        let candidate = Ape { alpha: point(alpha), beta: point(beta), gamma, ..Default::default() };
        assert!(accuracy(&found) >= accuracy(&fit(candidate, &file, &without)), "{candidate:?}");
    }
    assert_eq!((found.settings(), found.in_force().channels), (&Ape::default(), 0.5));
    assert_eq!(found.chosen(), json!(found.in_force()));
    assert_eq!(fit(Ape::default(), &file, &without).in_force(), Ape::default());
}

#[test]
fn what_is_saved_is_what_is_loaded() {
    let support = file().support_with_validation(2, 1).unwrap();
    saved_is_loaded(LinearProbe::default(), &support, |p, f, d| FittedLinearProbe::load(p, f, d));
    saved_is_loaded(LpPlusPlus::default(), &support, |p, f, d| FittedLpPlusPlus::load(p, f, d));
    saved_is_loaded(Ape::default(), &support, |p, f, d| FittedApe::load(p, f, d));
    for settings in [
        json!({ "method": "tip-adapter", "grid": { "alpha": [1, 50], "beta": [2.5] } }),
        json!({ "method": "ape", "grid": { "channels": [0.3, 0.9] } }),
        json!({ "grid": { "ratio": [0.3, "learned"], "epochs": [2] } }),
    ] {
        saved_is_loaded(ensemble(settings), &support, |p, f, d| FittedEnsemble::load(p, f, d));
    }
}

/// A method by its name, with settings that take no time.
fn quick(name: &str) -> Box<dyn AnyMethod> {
    let settings = match name {
        "clip-adapter" => json!({ "epochs": 2 }),
        "ensemble" => json!({ "grid": { "epochs": [1, 2] } }),
        _ => json!({}),
    };
    Registry::builtin().method(name, settings.as_object().unwrap()).unwrap()
}

#[test]
fn a_saved_method_is_known_by_its_file() {
    let (file, device, folder) = (file(), Device::flex(), tempfile::tempdir().unwrap());
    let (support, fingerprint) = (file.support(2, 1).unwrap(), file.classifier().fingerprint());
    let test = file.split("test").unwrap().embeddings();
    for name in Registry::builtin().names() {
        let model = quick(name).fit_any(&support, file.classifier(), &mut Run::new(&device)).unwrap();
        let path = folder.path().join(name);
        model.save(&path).unwrap();
        let same = methods::load(&path, &fingerprint, &device).unwrap();
        assert_eq!(same.score(test).unwrap(), model.score(test).unwrap(), "{name}");
        let moved = same.to_device(&device).unwrap();
        assert_eq!(moved.score(test).unwrap(), model.score(test).unwrap(), "{name}");
    }
}

/// Fitted to six classes in another order, and then told of two more: what it says of the six stays.
#[test]
fn a_method_learns_of_further_classes_or_says_that_it_cannot() {
    const KNOWN: [usize; 6] = [6, 5, 3, 2, 1, 0];
    let (file, device) = (file(), Device::flex());
    let (text, train) = (file.classifier(), file.split("train").unwrap());
    let prompts = KNOWN.iter().flat_map(|&class| text.prompts().unwrap().row(class).to_vec()).collect();
    let names = KNOWN.map(|class| text.class_names()[class].clone());
    let templates = text.templates().to_vec();
    let six = TextClassifier::new(prompts, 64, names.clone(), templates, 100.0, text.backbone()).unwrap();
    let rows: Vec<usize> = KNOWN.iter().flat_map(|class| [class * 32, class * 32 + 1]).collect();
    let labels = (0..12).map(|row| row / 2).collect();
    let shots = FeatureSet::new(train.select(&rows).embeddings().clone(), labels, names).unwrap();
    let support = Support::new(shots).unwrap();
    let test = file.split("test").unwrap().embeddings();

    let mut grown_ones = Vec::new();
    for name in Registry::builtin().names() {
        let model = quick(name).fit_any(&support, &six, &mut Run::new(&device)).unwrap();
        let grown = match model.with_classes(text) {
            Ok(grown) => grown,
            Err(error) => {
                assert!(matches!(error, Error::Unsupported { .. }), "{name}: {error}");
                continue;
            }
        };
        assert_eq!(grown.classes().class_names(), text.class_names());
        grown_ones.push(name);
        if name == "ensemble" {
            continue; // its logits are logarithms of mean probabilities, which more classes share
        }
        let (before, after) = (model.score(test).unwrap(), grown.score(test).unwrap());
        for (before, after) in before.rows().zip(after.rows()) {
            for (before, class) in before.iter().zip(KNOWN) {
                let after = after[class];
                assert!((before - after).abs() < 1e-3 + 1e-4 * before.abs(), "{name}: {before} {after}");
            }
        }
    }
    println!("grown: {grown_ones:?}");
    // The guard can what it guards can, by default `auto`.
    let by_images_alone = ["auto", "gda", "linear-probe", "lp-plus-plus", "guard"];
    let expected: Vec<&str> =
        Registry::builtin().names().into_iter().filter(|name| !by_images_alone.contains(name)).collect();
    assert_eq!(grown_ones, expected);
}

/// A server shares them among its threads, and prints them in its log.
#[test]
fn what_is_shared_can_be() {
    fn check<T: Send + Sync + std::fmt::Debug + ?Sized>() {}
    check::<dyn Classifier>();
    check::<dyn FeatureMap>();
    check::<dyn clip_adapter::train::AnyMethod>();
    check::<Registry>();
    check::<clip_adapter::ClipBackbone>();
    check::<clip_adapter::extract::Store>();
    check::<clip_adapter::model::Saved>();
    check::<clip_adapter::tasks::Predictor>();
}

#[test]
fn a_channel_that_is_not_there_is_refused() {
    let (file, folder) = (file(), tempfile::tempdir().unwrap());
    let path = folder.path().join("a");
    let settings = Ape { channels: 0.05, ..Default::default() };
    let model = fit(settings, &file, &file.support(2, 1).unwrap());
    assert_eq!(model.channels().len(), 3);
    model.save(&path).unwrap();
    let bytes = fs::read(&path).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let mut metadata = header.metadata().clone().unwrap();
    let mut found: Value = serde_json::from_str(&metadata["found"]).unwrap();
    assert_eq!(found["channels"], json!(model.channels()));
    found["channels"][2] = json!(64);
    metadata.insert("found".to_owned(), found.to_string());
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    fs::write(&path, safetensors::serialize(tensors.iter(), Some(metadata)).unwrap()).unwrap();
    let error = FittedApe::load(&path, &file.classifier().fingerprint(), &Device::flex()).unwrap_err();
    assert!(
        matches!(&error, Error::Malformed { part, found, .. } if part == "metadata `found`" && found == "64")
    );
}

#[test]
fn an_ensemble_resumes_the_member_it_was_fitting() {
    let (file, device, folder) = (file(), Device::flex(), tempfile::tempdir().unwrap());
    let state = folder.path().join("state");
    let support = file.support(2, 1).unwrap();
    let method = ensemble(json!({ "grid": { "ratio": [0.3, 0.7], "epochs": [6] } }));
    let mut done = Vec::new();
    let mut run = Run::new(&device).on_progress(|progress| {
        done.push(progress.done);
        ControlFlow::Continue(())
    });
    let whole = method.fit_with(&support, file.classifier(), &mut run).unwrap();
    drop(run);
    assert_eq!((done.len(), done.last()), (12, Some(&1.0)));
    assert!(done.is_sorted());

    let mut run = Run::new(&device).checkpoint(&state).on_progress(|progress| {
        if progress.done > 0.7 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let stopped = method.fit_with(&support, file.classifier(), &mut run).err();
    drop(run);
    let path = folder.path().join("state.1");
    match stopped {
        Some(Error::Cancelled { epoch, checkpoint, .. }) => {
            assert_eq!((epoch, checkpoint.as_ref()), (3, Some(&path)));
        }
        other => panic!("{other:?}"),
    }
    let mut run = Run::new(&device).checkpoint(&state);
    let resumed = method.fit_with(&support, file.classifier(), &mut run).unwrap();
    let test = file.split("test").unwrap().embeddings();
    assert_eq!(resumed.score(test).unwrap(), whole.score(test).unwrap());
    assert!(!path.exists());
}

/// No class, one class, one image, and one image many times over: scoring refuses what is not finite.
#[test]
fn uneven_shots_give_finite_logits() {
    let file = file();
    let test = file.test_set("test").unwrap();
    let train = file.split("train").unwrap();
    for support in [
        uneven(&file, |class| class),
        uneven(&file, |class| if class == 3 { 16 } else { 1 }),
        uneven(&file, |class| if class == 3 { 5 } else { 0 }),
        uneven(&file, |class| usize::from(class == 3)),
        Support::new(train.select(&[0, 0, 0, 40, 40])).unwrap(),
    ] {
        for (name, settings) in [
            ("linear-probe", json!({})),
            ("lp-plus-plus", json!({})),
            ("ape", json!({})),
            ("ensemble", json!({ "method": "ss-text", "grid": { "tau": [0.01, 1] } })),
        ] {
            let method = Registry::builtin().method(name, settings.as_object().unwrap()).unwrap();
            let mut run = Run::new(&Device::flex());
            let model = method.fit_any(&support, file.classifier(), &mut run).unwrap();
            let report = model.evaluate(&test).unwrap();
            assert!(report.nll.is_finite(), "{name} {:?}", support.set().class_counts());
        }
    }
}

#[test]
fn settings_out_of_range_are_named() {
    let file = file();
    let support = file.support(2, 1).unwrap();
    for (method, settings, expected) in [
        ("linear-probe", json!({ "c": 0 }), "c"),
        ("lp-plus-plus", json!({ "iterations": 0 }), "iterations"),
        ("lp-plus-plus", json!({ "alpha_every": 0 }), "alpha_every"),
        ("lp-plus-plus", json!({ "momentum": 1 }), "momentum"),
        ("ape", json!({ "channels": 0 }), "channels"),
        ("ape", json!({ "channels": 1.5 }), "channels"),
        ("ape", json!({ "alpha": -1 }), "alpha"),
        ("ape", json!({ "beta": 0 }), "beta"),
        ("ape", json!({ "gamma": -0.1 }), "gamma"),
        ("ensemble", json!({ "method": "ensemble", "grid": {} }), "method"),
        ("ensemble", json!({ "method": "clip-adaptor" }), "method"),
        ("ensemble", json!({ "method": "gda" }), "learning_rate"),
        ("ensemble", json!({ "grid": { "ratio": [] } }), "grid"),
        ("ensemble", json!({ "grid": { "ratio": [2], "epochs": [1] } }), "ratio"),
    ] {
        let fitted = Registry::builtin()
            .method(method, settings.as_object().unwrap())
            .and_then(|method| method.fit_any(&support, file.classifier(), &mut Run::new(&Device::flex())));
        let error = fitted.expect_err("a setting out of range");
        assert!(matches!(&error, Error::Setting { name, .. } if name == expected), "{method}: {error}");
    }
    assert!(LinearProbe { c: Some(f64::NAN) }.validate().is_err());
    assert!(Ape { gamma: f64::INFINITY, ..Default::default() }.validate().is_err());
    assert!(Ensemble::default().validate().is_ok());
}
