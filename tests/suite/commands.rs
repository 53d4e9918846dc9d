//! The examples as commands: what they print, and how they fail.

mod adapt;
mod benchmark;
mod explain;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use clip_adapter::FeatureFile;
use serde_json::Value;

/// Cargo builds the examples before it runs the tests, beside them.
pub fn example(name: &str) -> Command {
    let test = env::current_exe().unwrap();
    let folder = test.parent().and_then(Path::parent).unwrap().join("examples");
    Command::new(folder.join(format!("{name}{}", env::consts::EXE_SUFFIX)))
}

pub fn run(name: &str, arguments: &[&str]) -> Output {
    example(name).args(arguments).output().unwrap_or_else(|error| panic!("example {name}: {error}"))
}

/// Runs an example in a folder, to the end, and returns what it printed.
pub fn run_in(folder: &Path, name: &str, arguments: &[&str]) -> String {
    let output = example(name).current_dir(folder).args(arguments).output().unwrap();
    assert!(output.status.success(), "{name} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs in a folder what must fail: exit status 2 and a sentence, which is returned.
pub fn failure_in(folder: &Path, name: &str, arguments: &[&str]) -> String {
    let output = example(name).current_dir(folder).args(arguments).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{name} {arguments:?}: {message}");
    assert!(!message.contains("panicked"), "{name} {arguments:?}: {message}");
    message
}

/// A path as an argument.
pub fn text(path: impl AsRef<Path>) -> String {
    path.as_ref().to_str().unwrap().to_owned()
}

pub fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn feature_file(folder: &Path) -> PathBuf {
    let path = folder.join("minerals.safetensors");
    FeatureFile::synthetic(0).unwrap().write(&path).unwrap();
    path
}

#[test]
fn few_shot_writes_its_result_and_its_adapter() {
    let folder = tempfile::tempdir().unwrap();
    let (out, adapter) = (folder.path().join("out.json"), folder.path().join("a.safetensors"));
    let output = run(
        "few_shot",
        &[
            "--shots",
            "2",
            "--set",
            "ratio=0.8",
            "--json",
            out.to_str().unwrap(),
            "--save",
            adapter.to_str().unwrap(),
        ],
    );
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let out = json(&out);
    assert_eq!((&out["method"], &out["protocol"]), (&"clip-adapter".into(), &"validation-free".into()));
    assert_eq!((&out["device"], &out["chosen"]["ratio"]), (&"flex".into(), &0.8.into()));
    assert!(out["accuracy"].as_f64() > out["zero_shot_accuracy"].as_f64());
    for key in ["macro_f1", "ece"] {
        assert!((0.0..=100.0).contains(&out[key].as_f64().unwrap()), "{key}");
    }
    assert!(out["fit_seconds"].as_f64().unwrap() > 0.0);
    assert!(adapter.exists());
}

/// From pixels to an adapter, with a tiny random CLIP: the path, not the accuracy.
#[test]
fn photos_become_features_and_features_an_adapter() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("photos");
    for (split, class, image) in [
        ("train", "big_cat", "wide.png"),
        ("train", "dog", "alpha.png"),
        ("test", "big_cat", "wide.png"),
        ("test", "dog", "tall_grey.png"),
    ] {
        let class = images.join(split).join(class);
        fs::create_dir_all(&class).unwrap();
        fs::copy(golden.join("images").join(image), class.join(image)).unwrap();
    }
    let out = folder.path().join("photos.safetensors");
    let backbone = golden.join("hf_sharded");
    let arguments = [
        "--backbone",
        backbone.to_str().unwrap(),
        "--images",
        images.to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
    ];
    let output = run("extract_features", &arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let file = FeatureFile::read(&out).unwrap();
    assert_eq!(file.classifier().class_names(), ["big cat", "dog"]);
    assert_eq!(
        file.split("train").unwrap().embeddings().row(0),
        file.split("test").unwrap().embeddings().row(0)
    );
    assert!(run("few_shot", &["--features", out.to_str().unwrap(), "--shots", "1"]).status.success());

    fs::write(images.join("train/dog/broken.jpg"), b"no image").unwrap();
    let output = run("extract_features", &arguments);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("broken.jpg: expected an image"), "{message}");
    let output = run("extract_features", &[&arguments[..], &["--skip-broken"]].concat());
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("skipped"), "the broken one is named");
    assert_eq!(FeatureFile::read(&out).unwrap().split("train").unwrap().len(), 2);
}

/// One clear sentence, exit status 2, and nothing half-written.
#[test]
fn mistakes_end_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let features = feature_file(folder.path());
    let features = features.to_str().unwrap();
    let broken = folder.path().join("broken.safetensors");
    fs::write(&broken, b"not a safetensors file").unwrap();
    let nowhere = folder.path().join("no/such/folder/a.safetensors");
    for (name, arguments, sentence) in [
        ("few_shot", vec!["--features", "absent.safetensors"], "cannot read absent.safetensors"),
        ("few_shot", vec!["--features", broken.to_str().unwrap()], "expected a whole safetensors file"),
        ("few_shot", vec!["--device", "abacus"], "unknown device `abacus`"),
        ("few_shot", vec!["--method", "magic"], "expected one of zero-shot, auto, clip-adapter, tip-adapter"),
        ("few_shot", vec!["--set", "ratoi=0.8"], "setting `ratoi`"),
        ("few_shot", vec!["--set", "ratio=2"], "setting `ratio`: expected 0..=1, found 2"),
        ("few_shot", vec!["--set", "ratio=high"], "setting `ratio`"),
        ("few_shot", vec!["--set", "ratio"], "expected KEY=VALUE"),
        ("few_shot", vec!["--shots", "99"], "class `amber`: expected at least 99 images, found 32"),
        ("few_shot", vec!["--shots", "many"], "invalid value 'many'"),
        ("few_shot", vec!["--test-split", "exam"], "expected one of test, train, val, found `exam`"),
        ("few_shot", vec!["--protocol", "oracle"], "the example `benchmark` has the oracle"),
        (
            "few_shot",
            vec!["--shots", "1", "--set", "epochs=1", "--save", nowhere.to_str().unwrap()],
            "cannot write",
        ),
        (
            "few_shot",
            vec!["--shots", "1", "--set", "epochs=1", "--json", nowhere.to_str().unwrap()],
            "cannot write",
        ),
        ("benchmark", vec!["--features", broken.to_str().unwrap()], "expected a whole safetensors file"),
        ("benchmark", vec!["--features", features, "--methods", "magic"], "setting `method`"),
        ("benchmark", vec!["--features", features, "--device", "ndarrray"], "unknown device"),
    ] {
        let output = run(name, &arguments);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{name} {arguments:?}: {message}");
        assert!(message.contains(sentence), "{name} {arguments:?}: {message}");
        assert!(!message.contains("panicked"), "{name} {arguments:?}: {message}");
    }
    assert!(!folder.path().join("no").exists());
}

#[test]
fn help_explains_every_flag() {
    for name in ["few_shot", "benchmark"] {
        let help = String::from_utf8(run(name, &["--help"]).stdout).unwrap();
        for flag in ["--features", "--shots", "--protocol", "--device", "--json"] {
            assert!(help.contains(flag), "{name} {flag}");
        }
    }
}

#[test]
fn compare_devices_writes_a_row_a_device() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.json");
    let arguments = [
        "--devices",
        "flex,flex",
        "--batch",
        "2",
        "--batches",
        "1",
        "--set",
        "epochs=1",
        "--precision",
        "f16",
    ];
    let output = run("compare_devices", &[&arguments[..], &["--json", out.to_str().unwrap()]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).matches("| `flex` |").count(), 2);
    let out = json(&out);
    assert_eq!((&out["backbone"], &out["precision"]), (&"random tiny".into(), &"f16".into()));
    for row in out["devices"].as_array().unwrap() {
        for key in ["encoded_per_second", "fit_seconds", "scored_per_second"] {
            assert!(row[key].as_f64().unwrap() > 0.0, "{key}");
        }
        let differ = row["embeddings_differ"].as_f64().unwrap();
        assert!(differ > 0.0 && differ < 1e-2, "f16 against f32: {differ}");
        assert_eq!(row["logits_differ"], 0.0);
    }
    let output = run("compare_devices", &["--devices", "tch:cuda:200"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&output.stderr).starts_with("error: device `tch:cuda:200` is not available")
    );
}
