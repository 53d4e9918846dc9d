//! Adapter files: what they hold, and what is refused.

use std::fs;

use burn::tensor::Device;
use clip_adapter::{
    Classifier, ClipAdapter, Error, FeatureFile, Fingerprint, FittedClipAdapter, Method, ZeroShot,
    methods::{Branches, FittedZeroShot, Ratio},
    model::{Model, Open},
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
        model.save(&folder.path().join(name)).unwrap();
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
