//! The methods that train one matrix: their accuracies, what they start from, seeds, files, resuming.

mod accuracy;
mod descent;

use std::{cell::RefCell, fs, ops::ControlFlow, path::Path};

use burn::tensor::Device;
use clip_adapter::{
    Clap, Classifier, CrossModal, Error, FeatureFile, FeatureSet, Fingerprint, Method, Result, Rla, Run,
    Support, TaskRes, TextClassifier, TipAdapter, TipAdapterF, ZeroShot,
    evaluate::Logits,
    methods::{FittedClap, FittedCrossModal, FittedRla, FittedTaskRes, FittedTipAdapterF},
    model::{Model, Open, Save},
    train::{AnyMethod, Registry},
};
use serde_json::{Value, json};

/// Every method, and settings with which it takes seven epochs of a few small batches.
fn short() -> [(&'static str, Value); 5] {
    [
        ("task-res", json!({ "epochs": 7, "batch_size": 5 })),
        ("rla", json!({ "steps": 7 })),
        ("clap", json!({ "epochs": 7, "batch_size": 5 })),
        ("cross-modal", json!({ "steps": 28, "batch_size": 10 })),
        ("tip-adapter-f", json!({ "epochs": 7, "batch_size": 5, "alpha": 50.0 })),
    ]
}

fn method(name: &str, settings: &Value) -> Box<dyn AnyMethod> {
    Registry::builtin().method(name, settings.as_object().unwrap()).unwrap()
}

fn file() -> FeatureFile {
    FeatureFile::synthetic(0).unwrap()
}

fn fit(method: &dyn AnyMethod, support: &Support, classes: &TextClassifier) -> Box<dyn Classifier> {
    method.fit_any(support, classes, &mut Run::new(&Device::flex())).unwrap()
}

fn score(model: &dyn Classifier, file: &FeatureFile) -> Logits {
    model.score(file.split("test").unwrap().embeddings()).unwrap()
}

fn farthest(one: &Logits, other: &Logits) -> f32 {
    let pairs = one.rows().flatten().zip(other.rows().flatten());
    pairs.map(|(one, other)| (one - other).abs()).fold(0.0, f32::max)
}

#[test]
fn without_a_step_they_are_what_they_start_from() {
    let file = file();
    let support = file.support(2, 1).unwrap();
    let zero_shot = fit(&ZeroShot::default(), &support, file.classifier());
    let cache = fit(&TipAdapter { alpha: 50.0, beta: 5.5 }, &support, file.classifier());
    for (name, settings, start) in [
        ("task-res", json!({ "epochs": 0 }), &zero_shot),
        ("rla", json!({ "steps": 0 }), &zero_shot),
        ("clap", json!({ "epochs": 0 }), &zero_shot),
        ("cross-modal", json!({ "steps": 0 }), &zero_shot),
        ("cross-modal", json!({ "average": 1.0 }), &zero_shot),
        ("tip-adapter-f", json!({ "epochs": 0, "alpha": 50.0 }), &cache),
        ("tip-adapter-f", json!({ "epochs": 3, "alpha": 0.0 }), &zero_shot),
    ] {
        let model = fit(&*method(name, &settings), &support, file.classifier());
        let gap = farthest(&score(&*model, &file), &score(&**start, &file));
        assert!(gap < 5e-4, "{name} {settings}: {gap}");
    }
    assert!(farthest(&score(&*cache, &file), &score(&*zero_shot, &file)) > 1.0);
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    let file = file();
    let support = file.support(2, 1).unwrap();
    for (name, mut settings) in short() {
        let first = score(&*fit(&*method(name, &settings), &support, file.classifier()), &file);
        let again = score(&*fit(&*method(name, &settings), &support, file.classifier()), &file);
        assert_eq!(first, again, "{name}");
        // These take all of so few shots at once, in whatever order.
        if !["rla", "tip-adapter-f"].contains(&name) {
            settings["seed"] = json!(1);
            let other = score(&*fit(&*method(name, &settings), &support, file.classifier()), &file);
            assert!(farthest(&first, &other) > 1e-5, "{name}");
        }
    }
}

#[test]
fn a_resumed_fit_is_an_uninterrupted_one() {
    let file = file();
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("fit.state");
    let support = file.support(2, 1).unwrap();
    for (name, settings) in short() {
        let method = method(name, &settings);
        let whole = score(&*fit(&*method, &support, file.classifier()), &file);
        let mut stops = 0;
        let resumed = loop {
            let (left, seen) = (RefCell::new(3), RefCell::new(Vec::new()));
            let mut run = Run::new(&Device::flex()).checkpoint(&state).on_progress(|progress| {
                seen.borrow_mut().push(progress.done);
                *left.borrow_mut() -= 1;
                if *left.borrow() > 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            let fitted = method.fit_any(&support, file.classifier(), &mut run);
            drop(run);
            assert!(seen.borrow().windows(2).all(|pair| pair[0] < pair[1]), "{name}");
            match fitted {
                Ok(model) => break score(&*model, &file),
                Err(Error::Cancelled { checkpoint, .. }) => assert_eq!(checkpoint.as_ref(), Some(&state)),
                Err(other) => panic!("{name}: {other}"),
            }
            stops += 1;
        };
        assert_eq!((stops, resumed), (2, whole), "{name}");
        assert!(!state.exists(), "a finished fit leaves no checkpoint");
    }
}

#[test]
fn another_methods_checkpoint_is_refused() {
    let file = file();
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("fit.state");
    let support = file.support(2, 1).unwrap();
    let device = Device::flex();
    let mut stop = Run::new(&device).checkpoint(&state).on_progress(|_| ControlFlow::Break(()));
    let stopped = Clap::default().fit_with(&support, file.classifier(), &mut stop);
    assert!(matches!(stopped, Err(Error::Cancelled { epoch: 1, epochs: 300, .. })));
    drop(stop);
    for method in [method("task-res", &json!({})), method("clap", &json!({ "constraint": false }))] {
        let mut run = Run::new(&device).checkpoint(&state);
        let refused = method.fit_any(&support, file.classifier(), &mut run);
        assert!(matches!(refused, Err(Error::Fingerprint { what: "checkpoints", .. })));
    }
}

fn saved_is_loaded<M: Method>(
    method: M,
    support: &Support,
    load: impl Fn(&Path, &Fingerprint, &Device) -> Result<M::Fitted>,
) {
    let folder = tempfile::tempdir().unwrap();
    let (path, again) = (folder.path().join("a"), folder.path().join("b"));
    let (file, device) = (file(), Device::flex());
    let fingerprint = file.classifier().fingerprint();
    let model = method.fit(support, file.classifier(), &device).unwrap();
    model.save(&path).unwrap();
    let same = load(&path, &fingerprint, &device).unwrap();
    assert_eq!(score(&same, &file), score(&model, &file), "{}", M::NAME);
    assert_eq!((same.chosen(), same.classes().weights()), (model.chosen(), model.classes().weights()));
    same.save(&again).unwrap();
    assert_eq!(fs::read(&path).unwrap(), fs::read(&again).unwrap(), "{}", M::NAME);

    let other = Fingerprint::new("another", file.classifier().templates(), file.classifier().class_names());
    assert!(matches!(load(&path, &other, &device), Err(Error::Fingerprint { what: "backbones", .. })));
    let zero_shot = ZeroShot::default().fit(support, file.classifier(), &device).unwrap();
    zero_shot.save(&path).unwrap();
    assert!(
        matches!(load(&path, &fingerprint, &device), Err(Error::Malformed { part, .. }) if part == "metadata `method`")
    );
}

#[test]
fn what_is_saved_is_what_is_loaded() {
    let file = file();
    let support = file.support_with_validation(2, 1).unwrap();
    let task_res = TaskRes { epochs: Some(5), ..Default::default() };
    saved_is_loaded(task_res, &support, |p, f, d| FittedTaskRes::load(p, f, d));
    saved_is_loaded(Rla { steps: 5, ..Default::default() }, &support, |p, f, d| FittedRla::load(p, f, d));
    saved_is_loaded(Clap { epochs: 5, ..Default::default() }, &support, |p, f, d| FittedClap::load(p, f, d));
    let cross_modal = CrossModal { steps: 5, ..Default::default() };
    saved_is_loaded(cross_modal, &support, |p, f, d| FittedCrossModal::load(p, f, d));
    let tip_adapter_f = TipAdapterF { epochs: 5, ..Default::default() };
    saved_is_loaded(tip_adapter_f, &support, |p, f, d| FittedTipAdapterF::load(p, f, d));
}

#[test]
fn validation_images_choose_the_cache_settings_after_the_training() {
    let file = file();
    let support = file.support_with_validation(4, 1).unwrap();
    let validation = support.validation().unwrap().clone().into_test_set();
    let device = Device::flex();
    let found = TipAdapterF::default().fit(&support, file.classifier(), &device).unwrap();
    let plain = file.support(4, 1).unwrap();
    let given = TipAdapterF::default().fit(&plain, file.classifier(), &device).unwrap();
    assert_eq!(given.in_force(), TipAdapter::default());
    assert_ne!(found.in_force(), TipAdapter::default());
    let TipAdapter { alpha, beta } = found.in_force();
    assert!((0.1..13.0).contains(&alpha) && (0.1..13.0).contains(&beta), "{alpha} {beta}");
    let accuracy = |model: &FittedTipAdapterF| model.evaluate(&validation).unwrap().accuracy;
    assert!(accuracy(&found) >= accuracy(&given));
}

#[test]
fn the_pull_towards_the_identity_follows_the_shots() {
    let file = file();
    let lambda = |shots, lambda| {
        let method = Rla { lambda, steps: 1, ..Default::default() };
        let support = file.support(shots, 1).unwrap();
        method.fit(&support, file.classifier(), &Device::flex()).unwrap().lambda()
    };
    assert_eq!((lambda(1, None), lambda(4, None), lambda(4, Some(0.7))), (1.0, 0.25, 0.7));
    let far = Rla { lambda: Some(0.0), ..Default::default() };
    let near = Rla { lambda: Some(1000.0), ..Default::default() };
    let support = file.support(4, 1).unwrap();
    let zero_shot = score(&*fit(&ZeroShot::default(), &support, file.classifier()), &file);
    let gap = |method: Rla| farthest(&score(&*fit(&method, &support, file.classifier()), &file), &zero_shot);
    assert!(gap(near) < 0.2 * gap(far));
}

/// No class, one class, one image, and one image many times over: scoring refuses what is not finite.
#[test]
fn uneven_shots_give_finite_logits() {
    let file = file();
    let (train, test) = (file.split("train").unwrap(), file.test_set("test").unwrap());
    for rows in [vec![0, 1, 2, 32, 33, 64], vec![0, 1, 2], vec![7], vec![0, 0, 0, 40, 40]] {
        let support = Support::new(train.select(&rows)).unwrap();
        for (name, _) in short() {
            let model = fit(&*method(name, &json!({})), &support, file.classifier());
            assert!(model.evaluate(&test).unwrap().nll.is_finite(), "{name} {rows:?}");
        }
    }
}

/// Only directions count. A power of two leaves every digit as it was, so that this holds to the last bit.
#[test]
fn long_features_are_those_of_unit_length() {
    let file = file();
    let support = file.support(2, 1).unwrap();
    let set = support.set();
    let values = set.embeddings().values().iter().map(|value| value * 8.0).collect();
    let long = clip_adapter::features::Embeddings::new(values, set.embeddings().dim()).unwrap();
    let long = FeatureSet::new(long, set.labels().to_vec(), set.class_names()).unwrap();
    let long = Support::new(long).unwrap();
    for (name, settings) in short() {
        let method = method(name, &settings);
        let unit = score(&*fit(&*method, &support, file.classifier()), &file);
        let long = score(&*fit(&*method, &long, file.classifier()), &file);
        assert_eq!(unit, long, "{name}");
    }
}

#[test]
fn settings_out_of_range_are_named() {
    let file = file();
    let support = file.support(1, 1).unwrap();
    for (name, key, value) in [
        ("task-res", "alpha", json!(-1)),
        ("task-res", "norm", json!(0)),
        ("task-res", "learning_rate", json!(0)),
        ("task-res", "momentum", json!(0.9)),
        ("rla", "lambda", json!(-1)),
        ("rla", "learning_rate", json!(0)),
        ("rla", "epsilon", json!(0)),
        ("rla", "steps", json!(-1)),
        ("clap", "norm", json!(-6)),
        ("clap", "learning_rate", json!(0)),
        ("clap", "momentum", json!(1)),
        ("clap", "warmup_rate", json!(-1)),
        ("clap", "constraint", json!("yes")),
        ("cross-modal", "average", json!(1.5)),
        ("cross-modal", "batch_size", json!(1)),
        ("cross-modal", "learning_rate", json!(-1)),
        ("cross-modal", "weight_decay", json!(-1)),
        ("tip-adapter-f", "alpha", json!(-1)),
        ("tip-adapter-f", "beta", json!(0)),
        ("tip-adapter-f", "learning_rate", json!(0)),
        ("tip-adapter-f", "epsilon", json!(0)),
        ("tip-adapter-f", "weight_decay", json!(-1)),
    ] {
        let settings = serde_json::Map::from_iter([(key.to_owned(), value)]);
        let fitted = Registry::builtin()
            .method(name, &settings)
            .and_then(|method| method.fit_any(&support, file.classifier(), &mut Run::new(&Device::flex())));
        let error = fitted.expect_err("a setting out of range");
        assert!(matches!(&error, Error::Setting { name, .. } if name == key), "{name} {key}: {error}");
    }
    assert!(TaskRes { norm: f64::NAN, ..Default::default() }.validate().is_err());
    assert!(Clap { warmup_rate: f64::INFINITY, ..Default::default() }.validate().is_err());
}

#[test]
fn a_loss_that_is_not_finite_is_an_error() {
    let file = file();
    let support = file.support(2, 1).unwrap();
    let method = CrossModal { learning_rate: 1e38, ..Default::default() };
    let found = method.fit(&support, file.classifier(), &Device::flex());
    assert!(matches!(found, Err(Error::Diverged { .. })), "{:?}", found.err());
}
