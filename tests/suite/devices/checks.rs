//! What is compared. Differences are relative to the largest value, unless they are of accuracies.

use std::{fs, path::PathBuf};

use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::{Device, Gradients, Tensor},
};
use clip_adapter::{
    Activation, AdapterConfig, Classifier, ClipAdapter, ClipBackbone, Error, FeatureFile, FittedClipAdapter,
    Method, Run,
    backbone::Precision,
    methods::{Branches, Ratio},
    model::{Open, Save},
    train::Registry,
};

use crate::backbone::{GOLDEN, golden};

/// Takes what was compared, by how much it differs, and by how much it may.
pub type Report<'a> = dyn FnMut(&str, f64, f64) + 'a;

/// Of everything that is computed in f32.
const FEATURES: f64 = 1e-4;

/// One test sample per hundred, in percent.
const ACCURACY: f64 = 1.0;

pub fn all(device: &Device, report: &mut Report<'_>) {
    towers(device, report);
    adapter(device, report);
    fits(device, report);
    closed_forms(device, report);
    files(device, report);
}

/// NaN where there is a NaN, so that nothing passes for being no number.
fn difference(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().map(|value| f64::from(value.abs())).fold(0.0, f64::max);
    let differences = found.iter().zip(expected).map(|(a, b)| f64::from((a - b).abs()));
    differences.fold(0.0, |max: f64, value| if value.is_nan() { value } else { max.max(value) }) / largest
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as().unwrap()
}

struct Encoded {
    pixels: Vec<f32>,
    images: Vec<f32>,
    texts: Vec<f32>,
}

/// A golden model's own texts and the golden images, through both towers.
fn encoded(model: &str, precision: Precision, device: &Device) -> Result<Encoded, Error> {
    let clip = ClipBackbone::from_pretrained(golden(model), device)?.with_precision(precision)?;
    let mut files: Vec<PathBuf> =
        fs::read_dir(golden("images")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let texts = fs::read_to_string(golden(model).join("texts.json")).unwrap();
    let texts: Vec<String> = serde_json::from_str(&texts).unwrap();
    let pixels = clip.preprocess().load(&files, device)?;
    Ok(Encoded {
        pixels: values(pixels.clone()),
        images: values(clip.image_embeddings(pixels)),
        texts: clip.encode_texts(&texts)?.values().to_vec(),
    })
}

fn towers(device: &Device, report: &mut Report<'_>) {
    for model in GOLDEN {
        let expected = encoded(model, Precision::F32, &Device::flex()).unwrap();
        for (precision, limit) in
            [(Precision::F32, FEATURES), (Precision::F16, 1e-2), (Precision::Bf16, 5e-2)]
        {
            let found = encoded(model, precision, device);
            if !precision.is_supported(device) {
                let refused = matches!(found, Err(Error::Setting { name, .. }) if name == "precision");
                report(&format!("{model}: {precision} is refused"), if refused { 0.0 } else { 1.0 }, 0.0);
                continue;
            }
            let found = found.unwrap();
            if precision == Precision::F32 {
                report(&format!("{model}: pixels"), difference(&found.pixels, &expected.pixels), FEATURES);
            }
            report(
                &format!("{model}: images, {precision}"),
                difference(&found.images, &expected.images),
                limit,
            );
            report(&format!("{model}: texts, {precision}"), difference(&found.texts, &expected.texts), limit);
        }
    }
}

/// The gradients of all parameters, one after the other.
struct Collected<'a> {
    gradients: &'a Gradients,
    values: Vec<f32>,
}

impl ModuleVisitor for Collected<'_> {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        self.values.extend(values(parameter.val().grad(self.gradients).expect("a gradient")));
    }
}

/// What an adapter makes of 32 images, and the gradients of the sum of its squares.
fn forward_and_backward(activation: Activation, device: &Device) -> [Vec<f32>; 2] {
    let file = FeatureFile::synthetic(0).unwrap();
    let rows: Vec<usize> = (0..32).map(|row| 8 * row).collect();
    let features = file.split("train").unwrap().embeddings().select(&rows).tensor(device);
    let config = AdapterConfig::new(64).with_activation(activation).with_bias(true).with_seed(3);
    let adapter = config.init(&device.clone().autodiff());
    let adapted = adapter.forward(features);
    let gradients = (adapted.clone() * adapted.clone()).sum().backward();
    let mut collected = Collected { gradients: &gradients, values: Vec::new() };
    adapter.visit(&mut collected);
    [values(adapted.inner()), collected.values]
}

fn adapter(device: &Device, report: &mut Report<'_>) {
    for activation in [Activation::Relu, Activation::Gelu] {
        let expected = forward_and_backward(activation, &Device::flex());
        let found = forward_and_backward(activation, device);
        for (way, (found, expected)) in ["forward", "backward"].into_iter().zip(found.iter().zip(&expected)) {
            report(&format!("adapter, {activation:?}: {way}"), difference(found, expected), FEATURES);
        }
    }
}

fn scores(model: &dyn Classifier, file: &FeatureFile) -> Vec<f32> {
    let logits = model.score(file.split("test").unwrap().embeddings()).unwrap();
    logits.rows().flatten().copied().collect()
}

fn accuracy(model: &dyn Classifier, file: &FeatureFile) -> f64 {
    model.evaluate(&file.test_set("test").unwrap()).unwrap().accuracy
}

fn fits(device: &Device, report: &mut Report<'_>) {
    let file = FeatureFile::synthetic(0).unwrap();
    let support = file.support(4, 1).unwrap();
    for branches in [Branches::Image, Branches::Both] {
        for ratio in [Ratio::Fixed(0.6), Ratio::Hoso, Ratio::Learned] {
            let method = ClipAdapter { branches, ratio, epochs: Some(20), ..Default::default() };
            let fit =
                |device: &Device| scores(&method.fit(&support, file.classifier(), device).unwrap(), &file);
            let what = format!("clip-adapter, {branches:?} {ratio:?}: logits");
            report(&what, difference(&fit(device), &fit(&Device::flex())), FEATURES);
        }
    }
    let fit = |device: &Device| {
        let model = ClipAdapter::default().fit(&support, file.classifier(), device).unwrap();
        accuracy(&model, &file)
    };
    report("clip-adapter, a whole fit: accuracy", (fit(device) - fit(&Device::flex())).abs(), ACCURACY);
}

/// Closed forms and caches, with given settings and, where they choose some, with chosen ones.
fn closed_forms(device: &Device, report: &mut Report<'_>) {
    let file = FeatureFile::synthetic(0).unwrap();
    let support = file.support(4, 1).unwrap();
    let none = serde_json::json!({});
    let proker = serde_json::json!({ "beta": 5.0, "lambda": 0.1, "weight": 10.0 });
    for (name, settings) in [
        ("zero-shot", &none),
        ("tip-adapter", &none),
        ("gda", &serde_json::json!({ "alpha": 1.0 })),
        ("proker", &proker),
        ("ss-text", &none),
    ] {
        let fit = |settings: &serde_json::Value, device: &Device| {
            let method = Registry::builtin().method(name, settings.as_object().unwrap()).unwrap();
            method.fit_any(&support, file.classifier(), &mut Run::new(device)).unwrap()
        };
        let (found, expected) = (fit(settings, device), fit(settings, &Device::flex()));
        let logits = difference(&scores(&*found, &file), &scores(&*expected, &file));
        report(&format!("{name}: logits"), logits, FEATURES);
        if *settings != none {
            // A tie between two settings may fall another way.
            let [found, expected] =
                [device, &Device::flex()].map(|device| accuracy(&*fit(&none, device), &file));
            report(&format!("{name}, chosen settings: accuracy"), (found - expected).abs(), ACCURACY);
        }
    }
}

/// An adapter saved on one device and opened on the other gives the logits it had.
fn files(device: &Device, report: &mut Report<'_>) {
    let file = FeatureFile::synthetic(0).unwrap();
    let support = file.support(4, 1).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("adapter.safetensors");
    let method = ClipAdapter { epochs: Some(10), ..Default::default() };
    let flex = Device::flex();
    for (what, from, to) in [("saved here, opened on flex", device, &flex), ("saved on flex", &flex, device)]
    {
        let model = method.fit(&support, file.classifier(), from).unwrap();
        model.save(&path).unwrap();
        let same = FittedClipAdapter::load(&path, &file.classifier().fingerprint(), to).unwrap();
        report(
            &format!("{what}: logits"),
            difference(&scores(&same, &file), &scores(&model, &file)),
            FEATURES,
        );
    }
}
