//! The methods in closed form: their accuracies, what they choose, saved and loaded, and on uneven shots.

mod formulas;
pub mod plain;

use std::{fs, path::Path};

use burn::tensor::Device;
use clip_adapter::{
    AutoAdapter, Classifier, Error, FeatureFile, FeatureSet, Fingerprint, Gda, Method, ProKeR, Result,
    SsText, Support, TextClassifier, TipAdapter,
    methods::{FittedAutoAdapter, FittedGda, FittedProKeR, FittedSsText, FittedTipAdapter},
    model::{Model, Open, Save},
    train::Registry,
};
use safetensors::{SafeTensors, tensor::TensorView};

use crate::shared::{DATASETS, features, folder};

const NAMES: [&str; 5] = ["tip-adapter", "gda", "proker", "ss-text", "auto"];

/// Accuracies in NumPy at 1, 4 and 16 shots, means over the recorded draws 1 to 3: ProKeR that chooses,
/// SS-Text, and GDA that chooses.
type Means = [f64; 3];
const REACHED: [(&str, Means, Means, Means); 4] = [
    ("whurs19_vitb32", [88.89, 92.75, 97.26], [89.37, 94.36, 97.75], [82.13, 95.33, 99.68]),
    ("whurs19_rn50", [84.54, 91.63, 96.30], [85.02, 89.05, 92.43], [77.13, 91.79, 97.26]),
    ("pets25_vitb32", [90.58, 92.62, 92.40], [91.01, 91.27, 89.81], [91.97, 92.58, 93.31]),
    ("caltech36_vitb32", [96.74, 97.03, 97.64], [96.91, 97.14, 97.03], [96.85, 97.29, 97.47]),
];

fn file() -> FeatureFile {
    FeatureFile::synthetic(0).unwrap()
}

fn fit<M: Method>(method: M, file: &FeatureFile, support: &Support) -> M::Fitted {
    method.fit(support, file.classifier(), &Device::flex()).unwrap()
}

/// The first `count` training images of every class.
pub fn uneven(file: &FeatureFile, count: impl Fn(usize) -> usize) -> Support {
    let train = file.split("train").unwrap();
    let mut left: Vec<usize> = (0..train.class_names().len()).map(count).collect();
    let mut rows = Vec::new();
    for (row, &label) in train.labels().iter().enumerate() {
        if left[label] > 0 {
            left[label] -= 1;
            rows.push(row);
        }
    }
    Support::new(train.select(&rows)).unwrap()
}

#[test]
fn what_is_given_is_not_chosen_and_one_shot_is_no_evidence() {
    let file = file();
    let some = ProKeR { lambda: Some(0.7), ..Default::default() };
    let model = fit(some, &file, &file.support(3, 1).unwrap());
    assert_eq!((model.chosen()["lambda"].as_f64(), *model.settings()), (Some(0.7), some));

    let one = file.support(1, 1).unwrap();
    let model = fit(ProKeR { beta: Some(2.0), ..Default::default() }, &file, &one);
    assert_eq!(model.chosen(), serde_json::json!({ "beta": 2.0, "lambda": 0.1, "weight": 10.0 }));
    assert_eq!(fit(Gda::default(), &file, &one).alpha(), 1.0);
}

fn mean_accuracy<M: Method + Copy>(method: M, file: &FeatureFile, shots: usize) -> f64 {
    let test = file.test_set("test").unwrap();
    let accuracy =
        |seed| fit(method, file, &file.support(shots, seed).unwrap()).evaluate(&test).unwrap().accuracy;
    [1, 2, 3].map(accuracy).iter().sum::<f64>() / 3.0
}

#[test]
fn tip_adapter_and_gda_are_the_reference() {
    let test = "tip_adapter_and_gda_are_the_reference";
    let Some(folder) = folder(test) else { return };
    let reference = fs::read_to_string(folder.join("data/reference.json")).unwrap();
    let reference: serde_json::Value = serde_json::from_str(&reference).unwrap();
    for dataset in DATASETS {
        let file = features(test, dataset).unwrap();
        for shots in [1, 4, 16] {
            for (row, found) in [
                ("tip-adapter a=1 b=5.5", mean_accuracy(TipAdapter::default(), &file, shots)),
                ("gda a=1", mean_accuracy(Gda { alpha: Some(1.0), ..Default::default() }, &file, shots)),
            ] {
                let expected = reference[dataset][shots.to_string()][row].as_f64().unwrap();
                let line = format!("{dataset}, {shots} shots, {row}: {found:.2}, reference {expected:.2}");
                println!("{line}");
                assert!((found - expected).abs() <= 0.3, "{line}");
            }
        }
    }
}

/// What has no row in the reference is held against an independent implementation in NumPy. A tie between
/// settings may fall another way there, hence the wider margin.
#[test]
fn the_defaults_reach_what_they_reached_in_numpy() {
    let test = "the_defaults_reach_what_they_reached_in_numpy";
    if folder(test).is_none() {
        return;
    }
    for (dataset, proker, ss_text, gda) in REACHED {
        let file = features(test, dataset).unwrap();
        for (at, shots) in [1, 4, 16].into_iter().enumerate() {
            for (name, found, expected) in [
                ("proker", mean_accuracy(ProKeR::default(), &file, shots), proker[at]),
                ("ss-text", mean_accuracy(SsText::default(), &file, shots), ss_text[at]),
                ("gda, chosen", mean_accuracy(Gda::default(), &file, shots), gda[at]),
            ] {
                let line = format!("{dataset}, {shots} shots, {name}: {found:.2}, expected {expected:.2}");
                println!("{line}");
                assert!((found - expected).abs() <= 0.5, "{line}");
            }
        }
    }
}

#[test]
fn validation_images_choose_the_cache_settings() {
    let file = file();
    let support = file.support_with_validation(4, 1).unwrap();
    let validation = support.validation().unwrap().clone().into_test_set();
    let found = fit(TipAdapter::default(), &file, &support);
    let default = fit(TipAdapter::default(), &file, &file.support(4, 1).unwrap());
    let accuracy = |model: &FittedTipAdapter| model.evaluate(&validation).unwrap().accuracy;
    assert!(accuracy(&found) >= accuracy(&default));
    assert_eq!((default.in_force(), *found.settings()), (TipAdapter::default(), TipAdapter::default()));
    let TipAdapter { alpha, beta } = found.in_force();
    assert!((0.1..13.0).contains(&alpha) && (0.1..13.0).contains(&beta), "{alpha} {beta}");

    let chosen = fit(Gda::default(), &file, &support);
    let given = fit(Gda { alpha: Some(1.0), ..Default::default() }, &file, &support);
    let accuracy = |model: &FittedGda| model.evaluate(&validation).unwrap().accuracy;
    assert!(accuracy(&chosen) >= accuracy(&given));
    assert_eq!(given.alpha(), 1.0);
}

#[test]
fn a_cache_grows_by_images_and_by_classes() {
    let file = file();
    let (train, text) = (file.split("train").unwrap(), file.classifier());
    let test = file.split("test").unwrap().embeddings();
    let rows_of = |class: usize| class * 32..class * 32 + 2;
    let whole = Support::new(train.select(&(0..8).flat_map(rows_of).collect::<Vec<_>>())).unwrap();
    let expected = fit(TipAdapter::default(), &file, &whole);

    // Image by image.
    let support = |rows: Vec<usize>| Support::new(train.select(&rows)).unwrap();
    let part = fit(TipAdapter::default(), &file, &support((0..5).flat_map(rows_of).collect()));
    let grown = part.with_more(&support((5..8).flat_map(rows_of).collect())).unwrap();
    assert_eq!((part.shots(), grown.shots()), (10, 16));
    assert_eq!(grown.score(test).unwrap(), expected.score(test).unwrap());

    // The last class comes later, and the others change their places.
    let names: Vec<&String> = [6, 5, 4, 3, 2, 1, 0].map(|class| &text.class_names()[class]).to_vec();
    let prompts: Vec<f32> =
        (0..7).rev().flat_map(|class| text.prompts().unwrap().row(class).to_vec()).collect();
    let seven = TextClassifier::new(
        prompts,
        64,
        names.iter().map(|name| name.as_str()),
        text.templates().to_vec(),
        100.0,
        text.backbone(),
    )
    .unwrap();
    let rows: Vec<usize> = (0..7).flat_map(rows_of).collect();
    let labels = train.select(&rows).labels().iter().map(|label| 6 - label).collect();
    let set = FeatureSet::new(train.embeddings().select(&rows), labels, seven.class_names()).unwrap();
    let model = TipAdapter::default().fit(&Support::new(set).unwrap(), &seven, &Device::flex()).unwrap();
    assert!(matches!(model.with_more(&support(vec![0])), Err(Error::Data { .. })), "it has seven classes");
    let grown = model.with_classes(text).unwrap().with_more(&support(rows_of(7).collect())).unwrap();
    assert_eq!(grown.score(test).unwrap(), expected.score(test).unwrap());

    assert!(matches!(expected.with_classes(&seven), Err(Error::Data { what, .. }) if what == "classes"));
    let elsewhere = TextClassifier::new(vec![1.0; 8 * 64], 64, text.class_names(), ["a {}."], 100.0, "other");
    let refused = expected.with_classes(&elsewhere.unwrap());
    assert!(matches!(refused, Err(Error::Fingerprint { what: "backbones", .. })));
}

pub fn saved_is_loaded<M: Method>(
    method: M,
    support: &Support,
    load: impl Fn(&Path, &Fingerprint, &Device) -> Result<M::Fitted>,
) {
    let folder = tempfile::tempdir().unwrap();
    let (path, again) = (folder.path().join("a"), folder.path().join("b"));
    let (file, device) = (file(), Device::flex());
    let (test, fingerprint) = (file.split("test").unwrap().embeddings(), file.classifier().fingerprint());
    let model = fit(method, &file, support);
    model.save(&path).unwrap();
    let same = load(&path, &fingerprint, &device).unwrap();
    assert_eq!(same.score(test).unwrap(), model.score(test).unwrap(), "{}", M::NAME);
    assert_eq!((same.chosen(), same.classes().weights()), (model.chosen(), model.classes().weights()));
    same.save(&again).unwrap();
    let bytes = fs::read(&path).unwrap();
    assert_eq!(bytes, fs::read(&again).unwrap(), "{}", M::NAME);

    // Without one of its tensors, with one too many, and with one of another shape.
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let learned: Vec<String> =
        tensors.names().into_iter().filter(|name| *name != "text.weights").map(str::to_owned).collect();
    for name in &learned {
        for spoil in ["absent", "unknown", "shape"] {
            let views = tensors.iter().filter(|(known, _)| spoil != "absent" || known != name);
            let mut views: Vec<(String, TensorView<'_>)> =
                views.map(|(name, view)| (name.to_owned(), view)).collect();
            let at = views.iter().position(|(known, _)| known == name);
            match (spoil, at) {
                ("unknown", Some(at)) => views.push(("other".into(), views[at].1.clone())),
                ("shape", Some(at)) => {
                    let view = &views[at].1;
                    let shape = vec![1, view.shape().iter().product(), 1];
                    views[at].1 = TensorView::new(view.dtype(), shape, view.data()).unwrap();
                }
                _ => {}
            }
            fs::write(&path, safetensors::serialize(views, header.metadata().clone()).unwrap()).unwrap();
            let error = load(&path, &fingerprint, &device).expect_err("a spoiled file").to_string();
            let expected = if spoil == "unknown" { "other" } else { name };
            assert!(error.contains(&format!("tensor `{expected}`")), "{} {spoil}: {error}", M::NAME);
        }
    }
}

#[test]
fn what_is_saved_is_what_is_loaded() {
    let file = file();
    let support = file.support_with_validation(2, 1).unwrap();
    saved_is_loaded(TipAdapter::default(), &support, |p, f, d| FittedTipAdapter::load(p, f, d));
    saved_is_loaded(Gda::default(), &support, |p, f, d| FittedGda::load(p, f, d));
    saved_is_loaded(ProKeR::default(), &support, |p, f, d| FittedProKeR::load(p, f, d));
    saved_is_loaded(SsText::default(), &support, |p, f, d| FittedSsText::load(p, f, d));
    saved_is_loaded(AutoAdapter::default(), &support, |p, f, d| FittedAutoAdapter::load(p, f, d));
    let alone = AutoAdapter { most_shots: 0, ..Default::default() };
    saved_is_loaded(alone, &support, |p, f, d| FittedAutoAdapter::load(p, f, d));
}

/// No class, one class, one image, and one image many times over: scoring refuses what is not finite.
#[test]
fn uneven_shots_give_finite_logits() {
    let file = file();
    let test = file.test_set("test").unwrap();
    let train = file.split("train").unwrap();
    let chosen = serde_json::json!({ "alpha": null });
    for support in [
        uneven(&file, |class| class),
        uneven(&file, |class| if class == 3 { 16 } else { 1 }),
        uneven(&file, |class| if class == 3 { 5 } else { 0 }),
        uneven(&file, |class| usize::from(class == 3)),
        Support::new(train.select(&[0, 0, 0, 40, 40])).unwrap(),
    ] {
        for name in NAMES {
            let method = Registry::builtin().method(name, &Default::default()).unwrap();
            let mut run = clip_adapter::Run::new(&Device::flex());
            let model = method.fit_any(&support, file.classifier(), &mut run).unwrap();
            let report = model.evaluate(&test).unwrap();
            assert!(report.nll.is_finite(), "{name} {:?}", support.set().class_counts());
        }
        let method = Registry::builtin().method("gda", chosen.as_object().unwrap()).unwrap();
        let mut run = clip_adapter::Run::new(&Device::flex());
        method.fit_any(&support, file.classifier(), &mut run).unwrap().evaluate(&test).unwrap();
    }
}

#[test]
fn settings_out_of_range_are_named() {
    let file = file();
    let support = file.support(2, 1).unwrap();
    for (method, key, value) in [
        ("tip-adapter", "alpha", serde_json::json!(-1.0)),
        ("tip-adapter", "beta", serde_json::json!(0.0)),
        ("gda", "alpha", serde_json::json!(-0.5)),
        ("gda", "text_shots", serde_json::json!(-1)),
        ("proker", "beta", serde_json::json!(0)),
        ("proker", "lambda", serde_json::json!(-1)),
        ("proker", "weight", serde_json::json!(-1)),
        ("ss-text", "tau", serde_json::json!(0)),
        ("ss-text", "sigma", serde_json::json!(1)),
    ] {
        let settings = serde_json::Map::from_iter([(key.to_owned(), value)]);
        let fitted = Registry::builtin().method(method, &settings).and_then(|method| {
            method.fit_any(&support, file.classifier(), &mut clip_adapter::Run::new(&Device::flex()))
        });
        let error = fitted.expect_err("a setting out of range");
        assert!(matches!(&error, Error::Setting { name, .. } if name == key), "{method} {key}: {error}");
    }
    assert!(TipAdapter { alpha: f64::NAN, ..Default::default() }.validate().is_err());
    assert!(SsText { tau: f64::INFINITY }.validate().is_err());
}
