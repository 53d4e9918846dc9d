//! A model is its weights: the same under every name, and nothing where they are no numbers.

use std::{
    fs,
    path::{Path, PathBuf},
};

use burn::tensor::Device;
use clip_adapter::{
    ClipBackbone, Error, SsText, TextClassifier,
    extract::Store,
    input::{ImageFolder, ImageSource},
    prelude::*,
    tasks,
};
use half::f16;
use image::RgbImage;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::{
    backbone::{copy_golden, golden},
    commands::{failure_in, run_in, text},
};

fn copy(to: &Path) -> PathBuf {
    copy_golden("hf_gelu_patch14", to);
    to.to_owned()
}

fn photos(root: &Path) -> ImageFolder {
    for (class, shade) in [("dark", 20), ("light", 220)] {
        fs::create_dir_all(root.join(class)).unwrap();
        for index in 0..2 {
            let picture = RgbImage::from_pixel(30, 30, image::Rgb([shade + index, shade, shade]));
            picture.save(root.join(class).join(format!("{index}.png"))).unwrap();
        }
    }
    ImageFolder::open(root).unwrap()
}

#[test]
fn a_model_is_the_same_under_every_name() {
    let folder = tempfile::tempdir().unwrap();
    let device = Device::flex();
    let first = copy(&folder.path().join("clip-a"));
    let mut names = vec![copy(&folder.path().join("deployed")), first.join("."), first.join("")];
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("clip-a", folder.path().join("current")).unwrap();
        names.push(folder.path().join("current"));
    }
    let clip = ClipBackbone::from_pretrained(&first, &device).unwrap();
    let photos = photos(&folder.path().join("photos"));
    let (store, adapter) = (folder.path().join("store"), folder.path().join("a"));
    clip.extract().store(&store).fill(&photos).unwrap();
    let set = Store::open(&[&store], clip.identity()).unwrap().load(&photos).unwrap().labelled().unwrap();
    let classes = clip.text_classifier(photos.class_names(), &Prompts::default()).unwrap();
    let model = SsText::default().fit(&Support::new(set).unwrap(), &classes, &device).unwrap();
    model.save(&adapter).unwrap();
    for name in names {
        let other = ClipBackbone::from_pretrained(&name, &device).unwrap();
        assert_eq!(other.identity(), clip.identity(), "{}", name.display());
        tasks::Predictor::open(&name, &adapter, &device).unwrap();
        Store::open(&[&store], other.identity()).unwrap();
    }
    // From within, by `.`, as a command is run.
    run_in(&first, "classify", &["--backbone", ".", "--adapter", "../a", "--images", "../photos/dark/0.png"]);
    assert!(!clip.identity().contains("clip-a"));

    // What an older version wrote has the folder's name in front.
    let manifest = store.join("manifest.json");
    let old = fs::read_to_string(&manifest).unwrap().replace("weights:", "clip-a weights:");
    fs::write(&manifest, &old).unwrap();
    Store::open(&[&store], clip.identity()).unwrap();
    fs::write(&manifest, old.replace("weights:", "weights:0")).unwrap();
    assert!(matches!(Store::open(&[&store], clip.identity()), Err(Error::Fingerprint { .. })));
    assert_eq!(photos.len(), 4);
}

/// The golden model with other values in one tensor.
fn with(folder: &Path, tensor: &str, change: impl Fn(&mut [f32])) -> PathBuf {
    let model = copy(&folder.join("changed"));
    let bytes = fs::read(model.join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut changed = None;
    for (name, view) in tensors.tensors().into_iter().filter(|(name, _)| name == tensor) {
        let mut values: Vec<f32> = match view.dtype() {
            Dtype::F16 => view.data().as_chunks().0.iter().map(|&b| f16::from_le_bytes(b).to_f32()).collect(),
            _ => view.data().as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
        };
        change(&mut values);
        changed = Some((
            name,
            view.shape().to_vec(),
            values.into_iter().flat_map(f32::to_le_bytes).collect::<Vec<u8>>(),
        ));
    }
    let (name, shape, bytes_of) = changed.as_ref().unwrap();
    let others = tensors.tensors().into_iter().filter(|(other, _)| other != name);
    let views = others.chain([(name.clone(), TensorView::new(Dtype::F32, shape.clone(), bytes_of).unwrap())]);
    fs::write(model.join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    model
}

#[test]
fn weights_that_are_no_numbers_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let names = [
        "vision_model.encoder.layers.1.mlp.fc2.weight",
        "vision_model.encoder.layers.0.mlp.fc1.weight",
        "text_model.encoder.layers.1.mlp.fc2.weight",
        "visual_projection.weight",
        "logit_scale",
    ];
    for (at, name) in names.into_iter().enumerate() {
        let value = [f32::NAN, f32::INFINITY][at % 2];
        let model = with(folder.path(), name, |values| *values.last_mut().unwrap() = value);
        let error = ClipBackbone::from_pretrained(&model, &Device::flex()).unwrap_err();
        let Error::Weights { misshapen, .. } = &error else { panic!("{error}") };
        assert_eq!(misshapen[..], [format!("{name}: expected finite values, found {value}")]);
    }
}

#[test]
fn a_logit_scale_that_cannot_be_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for scale in [900.0, 100.0, -800.0, 7.0] {
        let model = with(folder.path(), "logit_scale", |values| values.fill(scale));
        let error = ClipBackbone::from_pretrained(&model, &Device::flex()).unwrap_err();
        assert!(matches!(&error, Error::Malformed { part, .. } if part == "exp(logit_scale)"), "{error}");
    }
    let model = with(folder.path(), "logit_scale", |values| values.fill(100f32.ln()));
    let clip = ClipBackbone::from_pretrained(&model, &Device::flex()).unwrap();
    approx::assert_relative_eq!(clip.logit_scale(), 100.0, epsilon = 1e-4);
    let classifier =
        |scale| TextClassifier::new(vec![1.0, 0.0, 0.0, 1.0], 2, ["a", "b"], ["a {}."], scale, "none");
    for scale in [1e-3, 4.5, 100.0, 1000.0] {
        classifier(scale).unwrap();
    }
    for scale in [0.0, -1.0, 4.6052, 4.605_170_2, 1000.1, f64::NAN, f64::INFINITY] {
        let error = classifier(scale).unwrap_err();
        assert!(matches!(&error, Error::Setting { name, .. } if name == "logit_scale"), "{scale}: {error}");
    }
}

#[test]
fn no_command_writes_embeddings_that_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let model = text(with(folder.path(), "visual_projection.weight", |values| values.fill(0.0)));
    photos(&folder.path().join("photos"));
    let encode = ["--backbone", &model, "--images", "photos/dark/0.png", "--out", "out"];
    let error = failure_in(folder.path(), "encode", &encode);
    assert!(error.contains("0.png: expected a direction, found only zeros"), "{error}");
    for (command, arguments) in [
        ("zero_shot", &["--classes", "a,b", "--images", "photos/dark/0.png", "--json", "out"][..]),
        ("extract_features", &["--images", "photos", "--out", "out"]),
        ("train_folder", &["--images", "photos", "--out", "out"]),
    ] {
        failure_in(folder.path(), command, &[&["--backbone", &model], arguments].concat());
    }
    assert!(!folder.path().join("out").exists());
}

#[test]
fn what_is_no_checkpoint_is_called_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let model = copy(&folder.path().join("clip"));
    let load = || ClipBackbone::from_pretrained(&model, &Device::flex()).unwrap_err().to_string();
    let file = model.join("model.safetensors");
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0000\nsize 605247071\n";
    fs::write(&file, pointer).unwrap();
    assert!(load().contains("found a Git LFS pointer: `git lfs pull`"), "{}", load());
    fs::write(&file, "<!DOCTYPE html><html><body>404</body></html>").unwrap();
    assert!(load().contains("found a web page"), "{}", load());

    // Hundreds of tensors under other names are a few lines all the same, and all of them are in the error.
    let bytes = fs::read(golden("hf_gelu_patch14").join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let views = tensors.tensors().into_iter().map(|(name, view)| (format!("module.{name}"), view));
    fs::write(&file, safetensors::serialize(views, None).unwrap()).unwrap();
    let error = ClipBackbone::from_pretrained(&model, &Device::flex()).unwrap_err();
    assert!(error.to_string().len() < 1000 && error.to_string().contains("module."), "{error}");
    let Error::Weights { missing, unused, .. } = error else { panic!() };
    assert!(missing.len() > 30 && unused.len() >= missing.len());
}
