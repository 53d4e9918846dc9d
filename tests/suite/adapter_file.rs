//! Adapter files: what they hold, and what is refused.

use std::{fs, path::Path};

use burn::tensor::Device;
use clip_adapter::{
    Classifier, ClipAdapter, Error, FeatureFile, Fingerprint, FittedClipAdapter, Method, Run, ZeroShot,
    methods::{self, Branches, FittedZeroShot, Ratio},
    model::{Open, Save, Saved},
    train::Registry,
};
use safetensors::SafeTensors;

fn fitted(method: &ClipAdapter) -> (FeatureFile, FittedClipAdapter) {
    let file = FeatureFile::synthetic(0).unwrap();
    let model = method.fit(&file.support(2, 1).unwrap(), file.classifier(), &Device::flex()).unwrap();
    (file, model)
}

#[test]
fn what_is_saved_is_what_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    for ratio in [Ratio::Hoso, Ratio::Fixed(0.37), Ratio::Learned, Ratio::LearnedPerClass] {
        for branches in [Branches::Image, Branches::Text, Branches::Both] {
            let method = ClipAdapter { ratio, branches, bias: true, epochs: Some(3), ..Default::default() };
            let (file, model) = fitted(&method);
            model.save(&path).unwrap();
            let same =
                FittedClipAdapter::load(&path, &model.classes().fingerprint(), &Device::flex()).unwrap();
            let test = file.split("test").unwrap().embeddings();
            assert_eq!(same.score(test).unwrap(), model.score(test).unwrap(), "{ratio:?} {branches:?}");
            assert_eq!((same.ratios(), same.settings()), (model.ratios(), &method));
            assert_eq!(same.classes().class_names(), file.classifier().class_names());
        }
    }
}

#[test]
fn the_same_fit_writes_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str| {
        let (_, model) = fitted(&ClipAdapter { epochs: Some(3), ..Default::default() });
        model.save(folder.path().join(name)).unwrap();
        fs::read(folder.path().join(name)).unwrap()
    };
    assert_eq!(write("a"), write("b"));
}

#[test]
fn tensors_have_pytorchs_names_and_layout() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let (_, model) = fitted(&ClipAdapter { epochs: Some(1), bias: true, ..Default::default() });
    model.save(&path).unwrap();
    let bytes = fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut shapes: Vec<(&str, Vec<usize>)> =
        tensors.iter().map(|(name, view)| (name, view.shape().to_vec())).collect();
    shapes.sort();
    let expected = [
        ("image.adapter.down.bias", vec![16]),
        ("image.adapter.down.weight", vec![16, 64]),
        ("image.adapter.up.bias", vec![64]),
        ("image.adapter.up.weight", vec![64, 16]),
        ("text.weights", vec![8, 64]),
    ];
    assert_eq!(shapes, expected);
}

#[test]
fn another_backbone_prompt_or_class_list_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let (file, model) = fitted(&ClipAdapter { epochs: Some(1), ..Default::default() });
    model.save(&path).unwrap();
    let text = file.classifier();
    let (templates, names) = (text.templates(), text.class_names());
    for (what, other) in [
        ("backbones", Fingerprint::new("CLIP RN50", templates, names)),
        ("prompts", Fingerprint::new(text.backbone(), &["a {}."], names)),
        ("classes", Fingerprint::new(text.backbone(), templates, &names[1..])),
    ] {
        let error = FittedClipAdapter::load(&path, &other, &Device::flex()).unwrap_err();
        assert!(matches!(&error, Error::Fingerprint { what: found, .. } if *found == what), "{error}");
    }
}

#[test]
fn another_methods_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let file = FeatureFile::synthetic(0).unwrap();
    let device = Device::flex();
    let model = ZeroShot::default().fit(&file.support(1, 1).unwrap(), file.classifier(), &device).unwrap();
    model.save(&path).unwrap();
    let fingerprint = file.classifier().fingerprint();
    let same = FittedZeroShot::load(&path, &fingerprint, &device).unwrap();
    let test = file.test_set("test").unwrap();
    assert_eq!(same.evaluate(&test).unwrap(), model.evaluate(&test).unwrap());
    let error = FittedClipAdapter::load(&path, &fingerprint, &device).unwrap_err();
    assert!(matches!(&error, Error::Malformed { part, .. } if part == "metadata `method`"), "{error}");
}

/// Files that version 0.1.0 wrote before its release, in the format `clip-adapter/1`: one plain, one that held another
/// file, one that held a list. They open, and say what a fit of today says.
#[test]
fn files_of_version_1_still_open() {
    let (file, device) = (FeatureFile::synthetic(0).unwrap(), Device::flex());
    let (support, classes) = (file.support(2, 1).unwrap(), file.classifier());
    let test = file.split("test").unwrap().embeddings();
    for name in ["clip-adapter", "guard", "ensemble"] {
        let old =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/version1/{name}.safetensors"));
        let opened = methods::load(&old, &classes.fingerprint(), &device).unwrap();
        assert_eq!(opened.kind(), name);
        let settings = Saved::open(&old).unwrap().settings();
        let method = Registry::builtin().method(name, settings.as_object().unwrap()).unwrap();
        let fitted = method.fit_any(&support, classes, &mut Run::new(&device)).unwrap();
        let (before, after) = (opened.score(test).unwrap(), fitted.score(test).unwrap());
        for (before, after) in before.rows().flatten().zip(after.rows().flatten()) {
            approx::assert_abs_diff_eq!(before, after, epsilon = 1e-3);
        }
        // Saved again, it is a file of today.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("again");
        opened.save(&path).unwrap();
        let again = methods::load(&path, &classes.fingerprint(), &device).unwrap();
        assert_eq!(again.score(test).unwrap(), before);
        let bytes = fs::read(&path).unwrap();
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!(metadata.metadata().as_ref().unwrap()["format"], "clip-adapter/2");
    }
}

/// Labels that were exchanged in the file would be wrong silently: the fingerprint knows them.
#[test]
fn exchanged_class_names_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let (_, model) = fitted(&ClipAdapter { epochs: Some(1), ..Default::default() });
    model.save(&path).unwrap();
    let bytes = fs::read(&path).unwrap();
    let (names, swapped) = (b"\\\"amber\\\",\\\"basalt\\\"", b"\\\"basalt\\\",\\\"amber\\\"");
    let at = bytes.windows(names.len()).position(|part| part == names).unwrap();
    fs::write(&path, [&bytes[..at], swapped, &bytes[at + names.len()..]].concat()).unwrap();
    let error = Saved::open(&path).unwrap_err();
    assert!(matches!(&error, Error::Malformed { part, .. } if part.contains("fingerprint")), "{error}");
}
