//! The example `adapt`: from a feature file, from a folder with an adapter or with names alone, and what it refuses.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clip_adapter::{SsText, model::Saved, prelude::*, tasks};

use super::{failure_in, feature_file, json, run_in, text};

/// A file or folder beside the pocket model.
fn pocket(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/pocket").join(part)
}

#[test]
fn it_adapts_a_feature_file_and_says_how() {
    let folder = tempfile::tempdir().unwrap();
    let features = text(feature_file(folder.path()));
    let common = [
        "--features",
        &features,
        "--shots",
        "4",
        "--json",
        "out.json",
        "--html",
        "out.html",
        "--save",
        "b.adapter",
    ];
    let printed = run_in(folder.path(), "adapt", &[&common[..], &["--compare"]].concat());
    for word in ["zero-shot", "TransCLIP", "CORAL", "mean shift", "domain-adapter", "round 3"] {
        assert!(printed.contains(word), "{word}: {printed}");
    }
    let out = json(&folder.path().join("out.json"));
    let percent = |key: &str| {
        let value = out[key].as_f64().unwrap_or_else(|| panic!("{key}: {}", out[key]));
        assert!((0.0..=100.0).contains(&value), "{key}");
        value
    };
    assert!(percent("accuracy") > percent("zero_shot_accuracy") + 10.0);
    assert!(percent("macro_f1") > percent("zero_shot_macro_f1") + 7.0);
    assert!(percent("agreement") > 90.0 && (0.0..=1.0).contains(&out["balance"].as_f64().unwrap()));
    assert_eq!(out["rounds"].as_array().unwrap().len(), 3);
    assert!(["balanced", "proportional"].contains(&out["mode"].as_str().unwrap()));
    assert_eq!((out["images"].as_u64(), out["source_images"].as_u64()), (Some(400), Some(32)));
    assert_eq!(out["classes"].as_array().unwrap().len(), 8);
    assert_eq!(out["baselines"].as_array().unwrap().len(), 9);

    let page = fs::read_to_string(folder.path().join("out.html")).unwrap();
    for part in
        ["id=\"scores\"", "id=\"rounds\"", "id=\"classes\"", "id=\"doubtful\"", "prefers-color-scheme: dark"]
    {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("<script") && !page.contains("http"), "self-contained");

    // The file that is saved says the same of the target as the JSON.
    let file = FeatureFile::read(&features).unwrap();
    let model =
        tasks::load(folder.path().join("b.adapter"), &file.classifier().fingerprint(), &Device::flex())
            .unwrap();
    let report = model.evaluate(&file.test_set("test").unwrap()).unwrap();
    approx::assert_abs_diff_eq!(report.accuracy, percent("accuracy"), epsilon = 1e-9);

    run_in(folder.path(), "adapt", &["--features", &features, "--no-source", "--json", "alone.json"]);
    let alone = json(&folder.path().join("alone.json"));
    assert_eq!(alone["source_images"], 0);
    assert!(alone["accuracy"].as_f64() > alone["zero_shot_accuracy"].as_f64());
}

#[test]
fn it_adapts_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let backbone = text(pocket("model"));
    let (clip, photos) =
        (ClipBackbone::from_pretrained(&backbone, &Device::flex()).unwrap(), pocket("images/icon-line"));
    let photos = ImageFolder::open(photos).unwrap();
    let classes = clip.text_classifier(photos.class_names(), &Prompts::default()).unwrap();
    let shots = clip.extract().run(&photos).unwrap().labelled().unwrap().shots(8, 1).unwrap();
    SsText::default()
        .fit(&shots, &classes, &Device::flex())
        .unwrap()
        .save(folder.path().join("a.adapter"))
        .unwrap();

    let target = text(pocket("images/icon-colour"));
    let common = ["--backbone", &backbone, "--images", &target, "--out", "b.adapter", "--json", "out.json"];
    run_in(
        folder.path(),
        "adapt",
        &[&common[..], &["--adapter", "a.adapter", "--html", "out.html"]].concat(),
    );
    let out = json(&folder.path().join("out.json"));
    assert!(out["accuracy"].as_f64() > out["zero_shot_accuracy"].as_f64(), "{out}");
    assert_eq!(out["answers"].as_array().unwrap().len() as u64, out["images"].as_u64().unwrap());
    let page = fs::read_to_string(folder.path().join("out.html")).unwrap();
    assert!(page.contains("data:image/png;base64,"));
    let model = Predictor::open(&backbone, folder.path().join("b.adapter"), &Device::flex()).unwrap();
    assert_eq!(model.class_names(), photos.class_names());

    // Names alone, of which none is a folder's: nothing to score by.
    run_in(folder.path(), "adapt", &[&common[..], &["--classes", "round thing,long thing"]].concat());
    let out = json(&folder.path().join("out.json"));
    assert!(out["accuracy"].is_null() && out["balance"].as_f64() > Some(0.0));
    assert_eq!(Saved::open(folder.path().join("b.adapter")).unwrap().kind(), "domain-adapter");
}

#[test]
fn it_refuses_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let features = text(feature_file(folder.path()));
    let narrow = FeatureFile::synthetic(0).unwrap();
    let narrow = FeatureFile::new("no train", narrow.classifier().clone())
        .with_split("test", narrow.split("test").unwrap().clone())
        .unwrap();
    narrow.write(folder.path().join("target.safetensors")).unwrap();
    fs::create_dir(folder.path().join("empty")).unwrap();
    for (arguments, words) in [
        (vec!["--features", "absent"], "cannot read absent"),
        (
            vec!["--features", &features, "--mode", "odd"],
            "setting `mode`: expected auto, balanced, proportional or source",
        ),
        (vec!["--features", &features, "--no-source", "--absent-classes"], "absent_classes"),
        (vec!["--features", "target.safetensors"], "`train`"),
        (vec!["--features", &features, "--shots", "1000"], "--shots asks for fewer"),
        (vec!["--features", &features, "--json", "no/such/a"], "cannot write no/such/a"),
        (vec!["--backbone", "absent", "--images", "empty", "--out", "b", "--classes", "a,b"], "an image"),
        (
            vec!["--backbone", "absent", "--images", "absent", "--out", "b", "--classes", "a,b"],
            "cannot read absent",
        ),
        (vec!["--backbone", "absent"], "--images"),
        (vec!["--features", &features, "--no-source", "--shots", "2"], "--no-source"),
    ] {
        let message = failure_in(folder.path(), "adapt", &arguments);
        assert!(message.contains(words), "{arguments:?}: {message}");
    }
    run_in(folder.path(), "adapt", &["--features", "target.safetensors", "--no-source"]);
}
