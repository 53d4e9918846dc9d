//! What is promised to those who do not choose, on real features.

use std::time::{Duration, Instant};

use burn::tensor::Device;
use clip_adapter::{
    AutoAdapter, Error, FeatureFile, Fitted, Gda, Method, ProKeR, SsText, Support, TipAdapter, ZeroShot,
    methods,
};

use crate::shared::{DATASETS, features, folder};

const SHOTS: [usize; 3] = [1, 4, 16];
const SEEDS: [u64; 3] = [1, 2, 3];

fn fit(method: AutoAdapter, file: &FeatureFile, support: &Support) -> methods::FittedAutoAdapter {
    method.fit(support, file.classifier(), &Device::flex()).unwrap()
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

/// Mean accuracy over the recorded draws.
fn accuracy<M: Method>(method: &M, file: &FeatureFile, shots: usize) -> f64 {
    let test = file.test_set("test").unwrap();
    mean(SEEDS.iter().map(|&seed| {
        let support = file.support(shots, seed).unwrap();
        method.fit(&support, file.classifier(), &Device::flex()).unwrap().evaluate(&test).unwrap().accuracy
    }))
}

/// Of every file and number of shots.
fn accuracies<M: Method>(method: &M, files: &[FeatureFile]) -> Vec<f64> {
    let cells = files.iter().flat_map(|file| SHOTS.map(|shots| accuracy(method, file, shots)));
    cells.collect()
}

/// The margin over zero-shot is thin where it is thinnest, on Pets at one shot: 0.22 points of the 0.3 are used.
/// The trained methods are held against this in the benchmark, where their fits may take their time; the mean of
/// CLIP-Adapter with the best ratio, chosen on the test set, is in the reference.
#[test]
fn it_beats_what_it_chooses_among_and_keeps_what_clip_knew() {
    let test = "it_beats_what_it_chooses_among_and_keeps_what_clip_knew";
    let Some(folder) = folder(test) else { return };
    let files = DATASETS.map(|dataset| features(test, dataset).unwrap());
    let found = accuracies(&AutoAdapter::default(), &files);
    let total = mean(found.iter().copied());

    let zero_shot = accuracies(&ZeroShot::default(), &files);
    for (at, (found, before)) in found.iter().zip(&zero_shot).enumerate() {
        let line =
            format!("{}, {} shots: {found:.2}, zero-shot {before:.2}", DATASETS[at / 3], SHOTS[at % 3]);
        println!("{line}");
        assert!(*found >= before - 0.3, "{line}");
    }
    for (name, single) in [
        ("tip-adapter", accuracies(&TipAdapter::default(), &files)),
        ("gda", accuracies(&Gda::default(), &files)),
        ("gda with text", accuracies(&Gda { text_shots: 1.0, ..Default::default() }, &files)),
        ("proker", accuracies(&ProKeR::default(), &files)),
        ("ss-text", accuracies(&SsText::default(), &files)),
    ] {
        let single = mean(single.into_iter());
        println!("{name} {single:.2}, auto {total:.2}");
        assert!(total > single + 0.5, "{name} {single:.2}, auto {total:.2}");
    }

    let reference = std::fs::read_to_string(folder.join("data/reference.json")).unwrap();
    let reference: serde_json::Value = serde_json::from_str(&reference).unwrap();
    for (at, shots) in SHOTS.iter().enumerate() {
        let row = |dataset: &str, row: &str| reference[dataset][shots.to_string()][row].as_f64().unwrap();
        let found = mean((0..4).map(|file| found[3 * file + at]));
        for name in ["clip-adapter oracle r", "taskres a=0.5", "rla lambda=1/K lr=1e-4"] {
            let expected = mean(DATASETS.iter().map(|dataset| row(dataset, name)));
            println!("{shots} shots: {found:.2}, {name} {expected:.2}");
            assert!(found >= expected, "{shots} shots: {found:.2}, {name} {expected:.2}");
        }
    }
    // 94.23 in NumPy, where a tie between weights may fall another way.
    assert!((total - 94.23).abs() <= 0.2, "{total:.2}");
}

/// 16 shots of 36 classes, which is the most there is of real features; an unoptimised build has no bound.
#[test]
fn it_takes_seconds() {
    let Some(file) = features("it_takes_seconds", "caltech36_vitb32") else { return };
    let support = file.support(16, 1).unwrap();
    let start = Instant::now();
    fit(AutoAdapter::default(), &file, &support);
    let took = start.elapsed();
    println!("{took:?}");
    assert!(cfg!(debug_assertions) || took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn it_is_the_mean_of_its_members_and_says_why() {
    let file = FeatureFile::synthetic(0).unwrap();
    let support = file.support(3, 1).unwrap();
    let test = file.split("test").unwrap().embeddings();
    let model = fit(AutoAdapter::default(), &file, &support);
    let chosen = model.chosen();
    let proker: ProKeR = serde_json::from_value(chosen["proker"]["settings"].clone()).unwrap();
    let gda: Gda = serde_json::from_value(chosen["gda"]["settings"].clone()).unwrap();
    let device = Device::flex();
    let proker = proker.fit(&support, file.classifier(), &device).unwrap().score(test).unwrap();
    let gaussian = gda.fit(&support, file.classifier(), &device).unwrap().score(test).unwrap();
    let both = proker.rows().zip(gaussian.rows());
    for (found, (one, other)) in model.score(test).unwrap().rows().zip(both) {
        for ((found, one), other) in found.iter().zip(one).zip(other) {
            approx::assert_abs_diff_eq!(*found, (one + other) / 2.0, epsilon = 1e-3);
        }
    }

    // Nothing that was tried is better, and the first is zero-shot.
    let zero_shot = zero_shot_accuracy(&file, &support);
    for member in ["proker", "gda"] {
        assert_eq!(chosen[member]["held_out"], 24);
        let tried = chosen[member]["tried"].as_array().unwrap();
        let best = tried.iter().find(|trial| trial["settings"] == chosen[member]["settings"]).unwrap();
        let accuracy = |trial: &serde_json::Value| trial["accuracy"].as_f64().unwrap();
        assert!(tried.iter().all(|trial| accuracy(trial) <= accuracy(best)), "{member}");
        approx::assert_abs_diff_eq!(accuracy(&tried[0]), zero_shot, epsilon = 1e-9);
    }
    let why = chosen["why"].as_str().unwrap();
    assert!(why.contains(&format!(" % of 24, zero-shot {zero_shot:.1} %; gda ")), "{why}");
}

/// Of the shots, each of which is held out once.
fn zero_shot_accuracy(file: &FeatureFile, support: &Support) -> f64 {
    let model = ZeroShot::default().fit(support, file.classifier(), &Device::flex()).unwrap();
    model.evaluate(&support.set().clone().into_test_set()).unwrap().accuracy
}

#[test]
fn without_second_shots_nothing_is_chosen() {
    let file = FeatureFile::synthetic(0).unwrap();
    let one = file.support(1, 1).unwrap();
    let chosen = fit(AutoAdapter::default(), &file, &one).chosen();
    assert_eq!(chosen["gda"]["settings"]["alpha"], 32.0);
    assert_eq!(chosen["proker"]["settings"]["weight"], 8.0);
    assert_eq!(chosen["gda"]["tried"], serde_json::json!([]));

    // A second shot of one class is no evidence about eight, and changes little.
    let train = file.split("train").unwrap();
    let rows: Vec<usize> = (0..8).map(|class| class * 32).chain([1]).collect();
    let singles = Support::new(train.select(&rows[..8])).unwrap();
    let pair = Support::new(train.select(&rows)).unwrap();
    let (before, after) =
        (fit(AutoAdapter::default(), &file, &singles), fit(AutoAdapter::default(), &file, &pair));
    for member in ["proker", "gda"] {
        assert_eq!(after.chosen()[member]["held_out"], 0);
    }
    let test = file.split("test").unwrap().embeddings();
    let (before, after) = (before.score(test).unwrap(), after.score(test).unwrap());
    let same = before.predictions().zip(after.predictions()).filter(|(one, other)| one == other).count();
    assert!(same * 4 >= test.rows() * 3, "{same} of {}", test.rows());
}

#[test]
fn of_too_many_shots_the_gaussians_stand_alone() {
    let file = FeatureFile::synthetic(0).unwrap();
    let support = file.support(4, 1).unwrap();
    let model = fit(AutoAdapter { most_shots: 31, ..Default::default() }, &file, &support);
    assert!(model.chosen()["proker"].is_null());
    assert!(model.chosen()["why"].as_str().unwrap().starts_with("gda alone"));
    let gda = Gda { text_shots: 1.0, ..Default::default() };
    let gda = gda.fit(&support, file.classifier(), &Device::flex()).unwrap();
    let test = file.split("test").unwrap().embeddings();
    assert_eq!(model.score(test).unwrap(), gda.score(test).unwrap());
}

#[test]
fn a_members_setting_is_named_with_it() {
    let file = FeatureFile::synthetic(0).unwrap();
    let method =
        AutoAdapter { proker: ProKeR { beta: Some(-1.0), ..Default::default() }, ..Default::default() };
    let error = method.fit(&file.support(2, 1).unwrap(), file.classifier(), &Device::flex()).unwrap_err();
    assert!(matches!(&error, Error::Setting { name, .. } if name == "proker.beta"), "{error}");
    let settings = serde_json::json!({ "gda": { "text_shots": 2.0 }, "most_shots": 100 });
    let method = methods::by_name("auto", settings.as_object().unwrap()).unwrap();
    assert_eq!(method.settings()["gda"], serde_json::json!({ "alpha": null, "text_shots": 2.0 }));
    assert_eq!(method.settings()["proker"]["beta"], 5.0);
}
