//! Support sets as users have them, for every method: uneven, with one image many times over, of two classes or of
//! a thousand. None may give what is not a number, nor lose what zero-shot CLIP knew.

use std::{fs, path::Path};

use burn::tensor::Device;
use clip_adapter::{
    Error, FeatureFile, FeatureSet, Run, Support, TextClassifier, evaluate::Scores, features::Embeddings,
    train::Registry,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::SafeTensors;
use serde_json::{Value, json};

use crate::{commands::run, methods::uneven};

/// Points of accuracy that a method may lose against zero-shot. Few steps of training hardly change anything, and
/// those that take none gain on these data.
const SLACK: f64 = 5.0;

/// Settings with which those that train are quick.
fn quick(name: &str) -> Value {
    match name {
        "clip-adapter" | "clap" | "task-res" | "tip-adapter-f" => json!({ "epochs": 2 }),
        "rla" | "cross-modal" => json!({ "steps": 10 }),
        "lp-plus-plus" => json!({ "iterations": 10 }),
        "ensemble" => json!({ "grid": { "ratio": [0.2, 0.6], "epochs": [2] } }),
        _ => json!({}),
    }
}

/// As [`quick`], and those that choose in minutes among many classes are given what they would choose.
fn quick_of_many(name: &str) -> Value {
    match name {
        "proker" => json!({ "beta": 5.0, "lambda": 0.1, "weight": 10.0 }),
        "linear-probe" => json!({ "c": 10.0 }),
        _ => quick(name),
    }
}

/// Fits and scores every method; a failure names the case and the method.
fn every_method(case: &str, file: &FeatureFile, support: &Support, settings: fn(&str) -> Value) {
    let test = file.split("test").unwrap();
    let accuracy = |name: &str| {
        let method = Registry::builtin().method(name, settings(name).as_object().unwrap()).unwrap();
        let fitted = method.fit_any(support, file.classifier(), &mut Run::new(&Device::flex()));
        let model = fitted.unwrap_or_else(|error| panic!("{case}, {name}: {error}"));
        let logits = model.score(test.embeddings()).unwrap_or_else(|error| panic!("{case}, {name}: {error}"));
        assert!(logits.rows().flatten().all(|logit| logit.is_finite()), "{case}, {name}");
        Scores::new(&logits, test.labels()).unwrap().accuracy()
    };
    let before = accuracy("zero-shot");
    for name in Registry::builtin().names() {
        let after = accuracy(name);
        println!("{case}, {name}: {after:.2}, zero-shot {before:.2}");
        assert!(after >= before - SLACK, "{case}, {name}: {after:.2}, zero-shot {before:.2}");
    }
}

/// Classes that gather around random directions, of which their texts know half.
fn made_up(classes: usize, shots: usize, images: usize) -> FeatureFile {
    const DIM: usize = 64;
    let mut random = ChaCha8Rng::seed_from_u64(0);
    let mut noise = move |rows: usize| -> Vec<f32> {
        (0..rows * DIM).map(|_| random.random_range(-1.0f32..1.0)).collect()
    };
    let centres = noise(classes);
    let mut around = |labels: &[usize]| -> Vec<f32> {
        let centres = labels.iter().flat_map(|&label| &centres[label * DIM..(label + 1) * DIM]);
        centres.zip(noise(labels.len())).map(|(centre, noise)| centre + noise).collect()
    };
    let names: Vec<String> = (0..classes).map(|class| format!("class {class}")).collect();
    let text = around(&(0..classes).collect::<Vec<_>>());
    let text = TextClassifier::new(text, DIM, names.clone(), ["a {}."], 100.0, "made up").unwrap();
    let mut file = FeatureFile::new("made up", text);
    for (split, count) in [("train", shots), ("test", images)] {
        let labels: Vec<usize> = (0..classes).flat_map(|class| vec![class; count]).collect();
        let rows = Embeddings::new(around(&labels), DIM).unwrap().normalised();
        file = file.with_split(split, FeatureSet::new(rows, labels, names.clone()).unwrap()).unwrap();
    }
    file
}

#[test]
fn one_to_sixteen_shots_a_class() {
    let file = FeatureFile::synthetic(0).unwrap();
    let support = uneven(&file, |class| [1, 16, 2, 11, 3, 8, 5, 14][class]);
    assert_eq!(support.set().class_counts(), [1, 16, 2, 11, 3, 8, 5, 14]);
    every_method("uneven", &file, &support, quick);
    every_method("uneven and balanced", &file, &support.balanced(), quick);
}

#[test]
fn one_shot_of_one_class_among_sixteen_of_the_others() {
    let file = FeatureFile::synthetic(0).unwrap();
    let support = uneven(&file, |class| if class == 5 { 1 } else { 16 });
    every_method("a single shot", &file, &support, quick);
}

#[test]
fn one_image_many_times_over() {
    let file = FeatureFile::synthetic(0).unwrap();
    let train = file.split("train").unwrap(); // 32 images a class, class by class
    let rows: Vec<usize> = (0..8).flat_map(|class| [class * 32; 16]).collect();
    every_method("the same image", &file, &Support::new(train.select(&rows)).unwrap(), quick);

    let rows: Vec<usize> = (0..8).flat_map(|class| (0..4).map(move |shot| class * 32 + shot)).collect();
    let rows = [rows, vec![0; 12]].concat();
    every_method("of one class", &file, &Support::new(train.select(&rows)).unwrap(), quick);

    // Under the names of two classes.
    let labels = rows[..33].iter().enumerate().map(|(at, row)| if at == 32 { 1 } else { row / 32 });
    let images = train.embeddings().select(&rows[..33]);
    let set = FeatureSet::new(images, labels.collect(), train.class_names()).unwrap();
    assert_eq!(set.class_counts(), [4, 5, 4, 4, 4, 4, 4, 4]);
    every_method("of two classes", &file, &Support::new(set).unwrap(), quick);
}

#[test]
fn two_classes() {
    let file = made_up(2, 4, 100);
    for shots in [1, 4] {
        let case = format!("two classes, {shots} shots");
        every_method(&case, &file, &file.support(shots, 1).unwrap(), quick);
    }
}

#[test]
fn a_thousand_classes() {
    let file = made_up(1000, 2, 1);
    every_method("a thousand classes", &file, &file.support(2, 1).unwrap(), quick_of_many);
}

/// Reports and adapter files tell classes apart by name alone: a name twice is an error that says which.
#[test]
fn two_classes_of_one_name_are_refused() {
    let names = ["cat", "dog", "cat"];
    let is_named = |error: Error| {
        let found = "class 2: expected a name of its own, found `cat` again";
        assert!(matches!(&error, Error::Data { what, .. } if what == "class 2"), "{error}");
        assert_eq!(error.to_string(), found);
    };
    let rows = Embeddings::new(vec![1.0; 6], 2).unwrap();
    is_named(FeatureSet::new(rows, vec![0, 1, 2], names).unwrap_err());
    is_named(TextClassifier::new(vec![1.0; 6], 2, names, ["a {}."], 100.0, "tiny").unwrap_err());

    // In a file.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("two.safetensors");
    made_up(2, 1, 1).write(&path).unwrap();
    let bytes = fs::read(&path).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let mut metadata = header.metadata().clone().unwrap();
    metadata.insert("class_names".into(), json!(["cat", "cat"]).to_string());
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let views: Vec<_> = tensors.iter().collect();
    fs::write(&path, safetensors::serialize(views, Some(metadata)).unwrap()).unwrap();
    let error = FeatureFile::read(&path).unwrap_err();
    assert!(matches!(&error, Error::Malformed { found, .. } if found == "`cat` again"), "{error}");

    // As folders of images that come to the same name.
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let photos = folder.path().join("photos");
    for class in ["big_cat", "big cat"] {
        fs::create_dir_all(photos.join(class)).unwrap();
        fs::copy(golden.join("images/wide.png"), photos.join(class).join("wide.png")).unwrap();
    }
    let (backbone, out) = (golden.join("hf_sharded"), folder.path().join("photos.safetensors"));
    let output = run(
        "extract_features",
        &[
            "--backbone",
            backbone.to_str().unwrap(),
            "--images",
            photos.to_str().unwrap(),
            "--out",
            out.to_str().unwrap(),
        ],
    );
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("found `big cat` again"), "{message}");
    assert!(!out.exists());
}
