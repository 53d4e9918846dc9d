//! The example `explain`: from a feature file and from a folder, with methods of every kind, and what it refuses.

use std::{fs, path::Path};

use clip_adapter::FeatureFile;

use super::{failure_in, feature_file, json, run_in, text};

const PARTS: [&str; 9] = [
    "id=\"trust\"",
    "id=\"classes\"",
    "id=\"concepts\"",
    "id=\"units\"",
    "id=\"decisions\"",
    "id=\"suspects\"",
    "id=\"duplicates\"",
    "id=\"map\"",
    "prefers-color-scheme: dark",
];

/// Everything that the JSON holds.
const KEYS: [&str; 29] = [
    "accuracy",
    "backbone",
    "certificate",
    "changes",
    "chosen",
    "concept_deletion",
    "concepts",
    "curve",
    "curve_method",
    "dataset",
    "device",
    "diagnosis",
    "duplicates",
    "fit_seconds",
    "heat",
    "held_out",
    "held_out_shots",
    "lower_95",
    "map",
    "method",
    "neighbour_purity",
    "seed",
    "settings",
    "shots",
    "suspects",
    "unit_deletion",
    "units",
    "why",
    "zero_shot_accuracy",
];

/// A page that needs nothing else, and has a name for every picture.
fn check_page(path: &Path) {
    let page = fs::read_to_string(path).unwrap();
    for part in PARTS {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("<script") && !page.contains("http") && !page.contains("url("), "self-contained");
    assert_eq!(page.matches("<svg").count(), page.matches("role=\"img\" aria-label=\"").count());
    assert_eq!(page.matches("<img").count(), page.matches("\" alt=\"").count());
    assert!(page.len() < 2_000_000, "{} bytes", page.len());
}

#[test]
fn it_explains_an_adapter_of_features() {
    let folder = tempfile::tempdir().unwrap();
    let features = text(feature_file(folder.path()));
    let arguments = ["--features", &features, "--shots", "8", "--json", "out.json", "--html", "out.html"];
    let printed = run_in(folder.path(), "explain", &[&arguments[..], &["--method", "rla"]].concat());
    for word in ["zero-shot", "rla", "from the shots alone", "twice as many shots"] {
        assert!(printed.contains(word), "{word}: {printed}");
    }
    check_page(&folder.path().join("out.html"));
    let out = json(&folder.path().join("out.json"));
    let number = |key: &str| out[key].as_f64().unwrap_or_else(|| panic!("{key}: {}", out[key]));
    assert!(number("accuracy") > number("zero_shot_accuracy"));
    assert!(number("lower_95") < number("held_out") && number("held_out") <= 100.0);
    let changes = &out["changes"];
    let gained = changes["fixed"].as_i64().unwrap() - changes["broken"].as_i64().unwrap();
    assert_eq!((4.0 * (number("accuracy") - number("zero_shot_accuracy"))).round() as i64, gained); // of 400 images
    for decision in changes["decisions"].as_array().unwrap() {
        assert_eq!(decision["nearest"].as_array().unwrap().len(), 4);
        let shares = &decision["shares"];
        let sum = shares["kept"].as_f64().unwrap() + shares["all_units"].as_f64().unwrap();
        approx::assert_abs_diff_eq!(sum, shares["margin"].as_f64().unwrap(), epsilon = 1e-6);
        approx::assert_abs_diff_eq!(sum, decision["margin_after"].as_f64().unwrap(), epsilon = 1e-3);
    }
    assert_eq!(out["suspects"].as_array().unwrap().len(), 64);
    assert_eq!(out["concepts"]["classes"].as_array().unwrap().len(), 8);
    assert!(!out["units"].as_array().unwrap().is_empty());
    assert_eq!(out["curve"]["points"].as_array().unwrap().len(), 4); // 1, 2, 4, 7 shots
    assert_eq!(out["why"], serde_json::json!({}));
    let mut keys: Vec<&str> = out.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, KEYS);
}

/// What adapts logits has no units, and two shots have no curve; the rest is there.
#[test]
fn a_part_that_says_nothing_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--method", "auto", "--shots", "2", "--json", "out.json", "--html", "out.html"];
    let printed = run_in(folder.path(), "explain", &arguments);
    assert!(printed.contains("no learning curve") && printed.contains("no units"), "{printed}");
    check_page(&folder.path().join("out.html"));
    let out = json(&folder.path().join("out.json"));
    for part in ["curve", "certificate", "concepts", "units", "unit_deletion"] {
        assert!(out[part].is_null() && out["why"][part].is_string(), "{part}");
    }
    assert!(out["why"]["shares"].is_string());
    assert!(out["held_out"].is_f64() && out["suspects"].is_array());
    assert!(out["concept_deletion"]["flips"].is_f64());
}

#[test]
fn it_explains_an_adapter_of_a_folder_with_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let icons = text(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/pocket/images/icon-line"));
    fs::write(folder.path().join("words.txt"), "wheel\nwing\ncloud\nroof\n").unwrap();
    let arguments = [
        "--images",
        &icons,
        "--concepts",
        "words.txt",
        "--shots",
        "8",
        "--set",
        "ratio=0.6",
        "--set",
        "epochs=20",
        "--json",
        "out.json",
        "--html",
        "out.html",
    ];
    run_in(folder.path(), "explain", &arguments);
    check_page(&folder.path().join("out.html"));
    let page = fs::read_to_string(folder.path().join("out.html")).unwrap();
    assert!(page.contains("<img src=\"data:image/jpeg;base64,"));
    let out = json(&folder.path().join("out.json"));
    assert!(out["units"].is_array() && out["unit_deletion"]["flips"].is_f64());
    assert!(!out["heat"].as_array().unwrap().is_empty());
    for heat in out["heat"].as_array().unwrap() {
        assert_eq!(heat["covered"]["values"].as_array().unwrap().len(), 49);
        assert_eq!(heat["patches"]["values"].as_array().unwrap().len(), 36);
    }
    assert!(page.contains("What speaks for the new answer"));
}

/// Units of the text side have shares in a decision, though no names.
#[test]
fn it_explains_an_adapter_of_texts() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [
        "--shots",
        "4",
        "--set",
        "branches=text",
        "--set",
        "ratio=0.6",
        "--json",
        "out.json",
        "--html",
        "out.html",
    ];
    run_in(folder.path(), "explain", &arguments);
    check_page(&folder.path().join("out.html"));
    let out = json(&folder.path().join("out.json"));
    assert!(out["why"]["units"].as_str().unwrap().contains("image side") && out["why"]["shares"].is_null());
    let decisions = out["changes"]["decisions"].as_array().unwrap();
    assert!(!decisions.is_empty());
    for decision in decisions {
        let shares = &decision["shares"];
        assert_eq!(shares["side"], "text");
        let sum = shares["kept"].as_f64().unwrap() + shares["all_units"].as_f64().unwrap();
        approx::assert_abs_diff_eq!(sum, decision["margin_after"].as_f64().unwrap(), epsilon = 1e-3);
    }
}

/// Two images to ask about: little can be said, and no part fails the others.
#[test]
fn few_images_are_enough() {
    let folder = tempfile::tempdir().unwrap();
    let file = FeatureFile::synthetic(0).unwrap();
    for count in [1, 2] {
        let path = folder.path().join("few.safetensors");
        let (train, test) = (file.split("train").unwrap(), file.split("test").unwrap());
        let few = test.select(&(0..count).collect::<Vec<_>>());
        let made = FeatureFile::new("few", file.classifier().clone()).with_split("train", train.clone());
        made.unwrap().with_split("test", few).unwrap().write(&path).unwrap();
        let arguments =
            ["--features", "few.safetensors", "--shots", "4", "--json", "out.json", "--html", "out.html"];
        run_in(folder.path(), "explain", &arguments);
        check_page(&folder.path().join("out.html"));
        let out = json(&folder.path().join("out.json"));
        assert_eq!(out["changes"]["images"], count);
        assert_eq!(out["map"].is_null(), count == 1);
    }
}

#[test]
fn a_wrong_argument_ends_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let features = text(feature_file(folder.path()));
    for (arguments, word) in [
        (&["--lambda", "0"][..], "lambda"),
        (&["--duplicates", "2"], "duplicates"),
        (&["--method", "magic"], "magic"),
        (&["--curve", "magic"], "magic"),
        (&["--shots", "99"], "--shots"),
        (&["--shots", "0"], "shots"),
        (&["--concepts", "none.safetensors"], "none.safetensors"),
        (&["--test-split", "other"], "other"),
        (&["--html", "nowhere/out.html"], "nowhere"),
        (&["--json", "nowhere/out.json"], "nowhere"),
        (&["--set", "magic=1"], "magic"),
        (&["--set", "ratio=2"], "ratio"),
        (&["--device", "magic"], "magic"),
        (&["--seed", "magic"], "seed"),
        (&["--images", "."], "--images"),
        (&["--backbone", "."], "--features"),
        (&["--prompts", "imagenet-80"], "--features"),
    ] {
        let message = failure_in(folder.path(), "explain", &[&["--features", &features], arguments].concat());
        assert!(message.contains(word), "{arguments:?}: {message}");
    }
    // Files that are missing, or have no texts, of which nothing here can be said.
    let bytes = fs::read(&features).unwrap();
    let metadata = safetensors::SafeTensors::read_metadata(&bytes).unwrap().1.metadata().clone();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap().tensors();
    let kept = tensors.into_iter().filter(|(name, _)| name != "text.features");
    let without = safetensors::serialize(kept, metadata).unwrap();
    fs::write(folder.path().join("mute.safetensors"), without).unwrap();
    fs::create_dir_all(folder.path().join("empty")).unwrap();
    for (arguments, word) in [
        (["--features", "none.safetensors"], "none.safetensors"),
        (["--features", "mute.safetensors"], "text.features"),
        (["--images", "nowhere"], "nowhere"),
        (["--images", "empty"], "empty"),
        (["--backbone", "."], "--images"),
    ] {
        let message = failure_in(folder.path(), "explain", &arguments);
        assert!(message.contains(word), "{arguments:?}: {message}");
    }
}
