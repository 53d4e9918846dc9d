//! From a folder to an adapter, and from the adapter to labels.

use std::{
    fs,
    path::{Path, PathBuf},
};

use image::{Rgb, RgbImage};

use crate::{
    backbone::golden,
    commands::{failure_in, json, run_in, text},
};

const CLASSES: [&str; 3] = ["blue", "green", "red"];

/// Four pictures of each of three colours, which even random weights tell apart.
fn pictures(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for (channel, class) in [(2, "blue"), (1, "green"), (0, "red")] {
        fs::create_dir_all(root.join(class)).unwrap();
        for index in 0..4_u32 {
            let shade = |x: u32, y: u32| {
                let mut pixel = [20 + (7 * x * (index + 1) % 40) as u8, 20, 20 + (y % 30) as u8];
                pixel[channel] = 200 + (index * 10) as u8;
                Rgb(pixel)
            };
            let file = root.join(class).join(format!("{index}.png"));
            RgbImage::from_fn(60, 60, shade).save(&file).unwrap();
            files.push(file);
        }
    }
    files
}

#[test]
fn what_train_folder_writes_classify_reads() {
    let folder = tempfile::tempdir().unwrap();
    let (model, photos) = (text(golden("hf_gelu_patch14")), folder.path().join("photos"));
    let files: Vec<String> = pictures(&photos).iter().map(text).collect();
    let photos = text(photos);
    let mut arguments = vec!["--backbone", &model, "--images", &photos, "--method", "linear-probe"];
    arguments.extend(["--set", "c=10000", "--out", "colours.adapter", "--json", "trained.json"]);
    run_in(folder.path(), "train_folder", &arguments);
    let trained = json(&folder.path().join("trained.json"));
    assert_eq!((&trained["method"], &trained["skipped"]), (&"linear-probe".into(), &0.into()));
    assert_eq!(trained["classes"], serde_json::json!(CLASSES));

    let mut arguments =
        vec!["--backbone", &model, "--adapter", "colours.adapter", "--json", "out.json", "--images"];
    arguments.extend(files.iter().map(String::as_str));
    run_in(folder.path(), "classify", &arguments);
    let out = json(&folder.path().join("out.json"));
    let images = out["images"].as_array().unwrap();
    assert_eq!(images.len(), 12);
    for (index, image) in images.iter().enumerate() {
        let top = image["top"].as_array().unwrap();
        let probabilities: Vec<f64> = top.iter().filter_map(|top| top["probability"].as_f64()).collect();
        assert_eq!(probabilities.len(), 3);
        assert!(probabilities.is_sorted_by(|a, b| a >= b));
        approx::assert_abs_diff_eq!(probabilities.iter().sum::<f64>(), 1.0, epsilon = 1e-5);
        assert_eq!(top[0]["class"], CLASSES[index / 4], "{}", image["file"]);
    }

    let other = text(golden("hf_sharded"));
    let arguments = ["--backbone", &other, "--adapter", "colours.adapter", "--images", &files[0]];
    assert!(failure_in(folder.path(), "classify", &arguments).contains("backbones differ"));
}

#[test]
fn mistakes_end_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let (model, photos) = (text(golden("hf_gelu_patch14")), folder.path().join("photos"));
    let picture = text(&pictures(&photos)[0]);
    let photos = text(photos);
    let weights = text(golden("hf_gelu_patch14").join("model.safetensors"));
    let train = ["--backbone", &model, "--images", &photos, "--out", "a"];
    let classify = ["--backbone", &model, "--images", &picture, "--adapter"];
    for (name, arguments, sentence) in [
        ("train_folder", train[..4].to_vec(), "--out"),
        ("train_folder", [&train[..], &["--method", "magic"]].concat(), "setting `method`"),
        ("train_folder", [&train[..], &["--set", "ratoi=1"]].concat(), "setting `ratoi`"),
        ("train_folder", [&train[..], &["--prompts", "imagenet-81"]].concat(), "expected one of single"),
        ("train_folder", [&train[..4], &["--out", "no/such/a"]].concat(), "cannot write no/such/a"),
        (
            "train_folder",
            vec!["--backbone", &model, "--images", "absent", "--out", "a"],
            "cannot read absent",
        ),
        ("classify", [&classify[..], &["absent"]].concat(), "cannot read absent"),
        ("classify", [&classify[..], &[picture.as_str()]].concat(), "a whole safetensors file"),
        ("classify", [&classify[..], &[weights.as_str()]].concat(), "metadata `format`"),
        ("classify", [&classify[..], &["absent", "--top", "0"]].concat(), "invalid value '0'"),
    ] {
        let message = failure_in(folder.path(), name, &arguments);
        assert!(message.contains(sentence), "{name} {arguments:?}: {message}");
    }
    assert!(!folder.path().join("a").exists(), "nothing is written");
}
