//! Accuracies on real CLIP features, against the reference and against the same settings in PyTorch.

use std::fs;

use clip_adapter::FeatureFile;
use serde_json::{Value, json};

use super::{fit, method};
use crate::shared::{DATASETS, features, folder};

/// Mean over the recorded draws 1 to 3.
fn mean_accuracy(name: &str, settings: &Value, file: &FeatureFile, shots: usize) -> f64 {
    let test = file.test_set("test").unwrap();
    let accuracy = |draw| {
        let support = file.support(shots, draw).unwrap();
        fit(&*method(name, settings), &support, file.classifier()).evaluate(&test).unwrap().accuracy
    };
    [1, 2, 3].map(accuracy).iter().sum::<f64>() / 3.0
}

fn is_the_reference(test: &str, datasets: &[&str], row: &str, name: &str, settings: &Value) {
    let Some(folder) = folder(test) else { return };
    let reference = fs::read_to_string(folder.join("data/reference.json")).unwrap();
    let reference: Value = serde_json::from_str(&reference).unwrap();
    for &dataset in datasets {
        let file = features(test, dataset).unwrap();
        for shots in [1, 4, 16] {
            let expected = reference[dataset][shots.to_string()][row].as_f64().unwrap();
            let found = mean_accuracy(name, settings, &file, shots);
            let line = format!("{dataset}, {shots} shots, {row}: {found:.2}, reference {expected:.2}");
            println!("{line}");
            assert!((found - expected).abs() <= 1.5, "{line}");
        }
    }
}

/// The reference trains the residual on unit text embeddings.
#[test]
fn task_res_is_the_reference() {
    let (row, unit) = ("taskres a=0.5", json!({ "norm": 1.0 }));
    is_the_reference("task_res_is_the_reference", &DATASETS, row, "task-res", &unit);
}

#[test]
fn rla_is_the_reference() {
    let datasets = ["whurs19_vitb32", "pets25_vitb32", "caltech36_vitb32"];
    let row = "rla lambda=1/K lr=1e-4";
    is_the_reference("rla_is_the_reference", &datasets, row, "rla", &json!({}));
}

/// Four times the parameters of the others: a test of its own, to run beside theirs.
#[test]
fn rla_is_the_reference_on_1024_dimensions() {
    let (test, row) = ("rla_is_the_reference_on_1024_dimensions", "rla lambda=1/K lr=1e-4");
    is_the_reference(test, &["whurs19_rn50"], row, "rla", &json!({}));
}

/// Methods with their accuracies at 1 and 4 shots.
type Methods = [(&'static str, [f64; 2]); 4];

/// What the defaults reached in PyTorch at 1 and 4 shots, means over the recorded draws 1 to 3.
const REACHED: [(&str, Methods); 4] = [
    (
        "whurs19_vitb32",
        [
            ("task-res", [90.02, 93.24]),
            ("clap", [88.73, 92.43]),
            ("cross-modal", [90.02, 94.04]),
            ("tip-adapter-f", [84.70, 90.02]),
        ],
    ),
    (
        "whurs19_rn50",
        [
            ("task-res", [85.51, 92.27]),
            ("clap", [83.41, 91.14]),
            ("cross-modal", [85.99, 93.08]),
            ("tip-adapter-f", [81.32, 90.34]),
        ],
    ),
    (
        "pets25_vitb32",
        [
            ("task-res", [89.03, 91.39]),
            ("clap", [90.55, 91.80]),
            ("cross-modal", [90.43, 92.52]),
            ("tip-adapter-f", [92.15, 92.83]),
        ],
    ),
    (
        "caltech36_vitb32",
        [
            ("task-res", [96.74, 96.97]),
            ("clap", [96.68, 96.94]),
            ("cross-modal", [96.97, 97.20]),
            ("tip-adapter-f", [96.94, 97.49]),
        ],
    ),
];

#[test]
fn the_defaults_reach_what_they_reached_in_pytorch() {
    let test = "the_defaults_reach_what_they_reached_in_pytorch";
    if folder(test).is_none() {
        return;
    }
    for (dataset, rows) in REACHED {
        let file = features(test, dataset).unwrap();
        for (name, expected) in rows {
            for (shots, expected) in [1, 4].into_iter().zip(expected) {
                let found = mean_accuracy(name, &json!({}), &file, shots);
                let line = format!("{dataset}, {shots} shots, {name}: {found:.2}, expected {expected:.2}");
                println!("{line}");
                assert!((found - expected).abs() <= 1.5, "{line}");
            }
        }
    }
}
