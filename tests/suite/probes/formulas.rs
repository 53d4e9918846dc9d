//! The methods against their formulas in plain loops.

use std::{fs, path::Path};

use clip_adapter::{
    Ape, Classifier, LinearProbe, LpPlusPlus, Support, TextClassifier, TipAdapter, ZeroShot,
    features::Embeddings,
    model::{Model, Save},
};
use safetensors::SafeTensors;
use serde_json::json;

use super::{ensemble, file, fit};
use crate::methods::{
    plain::{Rows, dot, kernel_logits, one_hot, softmax, unit},
    uneven,
};

fn logits(model: &impl Classifier, images: &Embeddings) -> Rows {
    let logits = model.score(images).unwrap();
    logits.rows().map(|row| row.iter().map(|&logit| f64::from(logit)).collect()).collect()
}

fn assert_close(found: &[Vec<f64>], expected: &[Vec<f64>], part: f64) {
    let largest = expected.iter().flatten().fold(1.0, |max: f64, value| max.max(value.abs()));
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
        assert!((found - expected).abs() <= part * largest, "{found} instead of {expected}");
    }
}

fn tensor(path: &Path, name: &str) -> Vec<f64> {
    let bytes = fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let view = tensors.tensor(name).unwrap();
    let (values, _) = view.data().as_chunks();
    values.iter().map(|&bytes| f64::from(f32::from_le_bytes(bytes))).collect()
}

/// At the minimum of `c sum_i CE_i + ||w||^2 / 2` every derivative is 0, to what f32 keeps of the weights.
#[test]
fn a_linear_probe_is_where_its_objective_is_flat() {
    let (file, folder) = (file(), tempfile::tempdir().unwrap());
    let path = folder.path().join("probe");
    let support = uneven(&file, |class| class + 1);
    let (shots, labels) = (unit(support.set().embeddings()), support.set().labels());
    for c in [0.5, 30.0] {
        fit(LinearProbe { c: Some(c) }, &file, &support).save(&path).unwrap();
        let (weight, bias) = (tensor(&path, "head.weight"), tensor(&path, "head.bias"));
        let mut slopes: Vec<f64> = weight.iter().map(|weight| weight / c).chain([0.0; 8]).collect();
        for (shot, &label) in shots.iter().zip(labels) {
            let scores: Vec<f64> =
                weight.chunks(64).zip(&bias).map(|(weight, bias)| dot(weight, shot) + bias).collect();
            for (class, probability) in softmax(&scores).into_iter().enumerate() {
                let excess = probability - if class == label { 1.0 } else { 0.0 };
                slopes[class * 64..][..64].iter_mut().zip(shot).for_each(|(slope, f)| *slope += excess * f);
                slopes[8 * 64 + class] += excess;
            }
        }
        let length = dot(&slopes, &slopes).sqrt() / shots.len() as f64;
        assert!(length < 1e-6, "c = {c}: {length:e}");
    }
}

/// LP++ in plain loops: the blended weights `[classes, dim]`.
fn lp_plus_plus(method: &LpPlusPlus, support: &Support, classes: &TextClassifier) -> Rows {
    let (shots, labels) = (unit(support.set().embeddings()), support.set().labels());
    let text = unit(classes.weights());
    let count = shots.len() as f64;
    let mut w = vec![vec![0.0; 64]; 8];
    for (shot, &label) in shots.iter().zip(labels) {
        w[label].iter_mut().zip(shot).for_each(|(w, f)| *w += f);
    }
    // The largest eigenvalue by power iteration.
    let mut direction = vec![1.0; 64];
    let mut largest = 0.0;
    for _ in 0..5000 {
        let mut next = vec![0.0; 64];
        for shot in &shots {
            let along = dot(shot, &direction);
            next.iter_mut().zip(shot).for_each(|(next, f)| *next += along * f);
        }
        largest = dot(&next, &next).sqrt();
        direction = next.iter().map(|value| value / largest).collect();
    }
    let steepest =
        text.iter().map(|t| shots.iter().map(|f| dot(f, t).powi(2)).sum::<f64>()).fold(0.0, f64::max);
    let (mut means, mut seen) = (0.0, 0.0);
    for (class, t) in text.iter().enumerate() {
        let cosines: Vec<f64> =
            shots.iter().zip(labels).filter(|(_, label)| **label == class).map(|(f, _)| dot(f, t)).collect();
        if !cosines.is_empty() {
            means += cosines.iter().sum::<f64>() / cosines.len() as f64;
            seen += 1.0;
        }
    }
    let mut alpha = [250.0 * means / seen; 8];
    let mut velocity = vec![vec![0.0; 64]; 8];
    for iteration in 1..=method.iterations {
        let mut slopes = vec![vec![0.0; 64]; 8];
        let mut alpha_slopes = vec![0.0; 8];
        for (shot, &label) in shots.iter().zip(labels) {
            let scores: Vec<f64> =
                (0..8).map(|k| dot(shot, &w[k]) + alpha[k] * dot(shot, &text[k])).collect();
            for (class, probability) in softmax(&scores).into_iter().enumerate() {
                let excess = (probability - if class == label { 1.0 } else { 0.0 }) / count;
                slopes[class].iter_mut().zip(shot).for_each(|(slope, f)| *slope += excess * f);
                alpha_slopes[class] += excess * dot(shot, &text[class]);
            }
        }
        for ((w, velocity), slopes) in w.iter_mut().zip(&mut velocity).zip(&slopes) {
            for ((w, velocity), slope) in w.iter_mut().zip(velocity).zip(slopes) {
                *velocity = method.momentum * *velocity + slope;
                *w -= 4.0 * count / largest * *velocity;
            }
        }
        if iteration.is_multiple_of(method.alpha_every) {
            let step = count / (4.0 * steepest);
            alpha.iter_mut().zip(&alpha_slopes).for_each(|(alpha, slope)| *alpha -= step * slope);
        }
    }
    let blend = |class: usize| w[class].iter().zip(&text[class]).map(|(w, t)| w + alpha[class] * t).collect();
    (0..8).map(blend).collect()
}

#[test]
fn lp_plus_plus_is_its_formula() {
    let file = file();
    let test = file.split("test").unwrap().embeddings();
    for (support, method) in [
        (uneven(&file, |class| class), LpPlusPlus { iterations: 40, ..Default::default() }),
        (file.support(3, 1).unwrap(), LpPlusPlus { iterations: 20, momentum: 0.5, alpha_every: 3 }),
    ] {
        let weights = lp_plus_plus(&method, &support, file.classifier());
        let expected: Rows =
            unit(test).iter().map(|f| weights.iter().map(|weight| dot(f, weight)).collect()).collect();
        assert_close(&logits(&fit(method, &file, &support), test), &expected, 1e-4);
    }
}

/// The channels by `J`, pair by pair, and the logits, shot by shot.
#[test]
fn ape_is_its_formula() {
    let file = file();
    let support = uneven(&file, |class| class);
    let test = file.split("test").unwrap().embeddings();
    let (shots, labels) = (unit(support.set().embeddings()), support.set().labels());
    let (text, images) = (unit(file.classifier().weights()), unit(test));
    let samples: Vec<(usize, &Vec<f64>)> =
        text.iter().enumerate().chain(labels.iter().copied().zip(&shots)).collect();
    let score = |d: usize| {
        let (mut sum, mut pairs) = (0.0, 0.0);
        for (class, sample) in &samples {
            for (_, other) in samples.iter().filter(|(other, _)| other != class) {
                sum += sample[d] * other[d];
                pairs += 1.0;
            }
        }
        let mean = text.iter().map(|t| t[d]).sum::<f64>() / 8.0;
        0.3 * text.iter().map(|t| (t[d] - mean).powi(2)).sum::<f64>() / 7.0 - 0.7 * sum / pairs
    };
    let scores: Vec<f64> = (0..64).map(score).collect();
    let mut channels: Vec<usize> = (0..64).collect();
    channels.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    channels.truncate(32);
    channels.sort_unstable();

    let method = Ape { channels: 0.5, alpha: 20.0, beta: 3.0, gamma: 0.4 };
    let model = fit(method, &file, &support);
    assert_eq!(model.channels(), channels);

    let refine = |row: &Vec<f64>| -> Vec<f64> {
        let kept: Vec<f64> = channels.iter().map(|&channel| row[channel]).collect();
        let norm = dot(&kept, &kept).sqrt();
        kept.iter().map(|value| value / norm).collect()
    };
    let refined_text: Rows = text.iter().map(refine).collect();
    let says = |shot: &Vec<f64>, label: usize| {
        let cosines: Vec<f64> = refined_text.iter().map(|t| dot(&refine(shot), t)).collect();
        (0.4 * -softmax(&cosines)[label].ln()).exp()
    };
    let mut expected = Vec::new();
    for image in &images {
        let mut logits: Vec<f64> = text.iter().map(|t| 100.0 * dot(image, t)).collect();
        for (shot, &label) in shots.iter().zip(labels) {
            let kernel = (-3.0 * (1.0 - dot(&refine(image), &refine(shot)))).exp();
            logits[label] += 20.0 * kernel * says(shot, label);
        }
        expected.push(logits);
    }
    assert_close(&logits(&model, test), &expected, 1e-5);
}

#[test]
fn ape_of_all_channels_is_tip_adapter_and_of_no_weight_zero_shot() {
    let file = file();
    let (support, test) = (file.support(4, 1).unwrap(), file.split("test").unwrap().embeddings());
    let all = Ape { channels: 1.0, alpha: 3.0, beta: 2.0, gamma: 0.0 };
    let tip = fit(TipAdapter { alpha: 3.0, beta: 2.0 }, &file, &support);
    assert_close(&logits(&fit(all, &file, &support), test), &logits(&tip, test), 1e-6);
    let none = fit(Ape { alpha: 0.0, ..Default::default() }, &file, &support);
    let zero_shot = fit(ZeroShot::default(), &file, &support);
    assert_eq!(logits(&none, test), logits(&zero_shot, test), "bit for bit");
}

#[test]
fn an_ensemble_is_the_mean_probability() {
    let file = file();
    let (support, test) = (file.support(3, 1).unwrap(), file.split("test").unwrap().embeddings());
    let (shots, labels) = (unit(support.set().embeddings()), support.set().labels());
    let values = one_hot(labels, 8);
    let grid = json!({ "method": "tip-adapter", "grid": { "alpha": [1, 80], "beta": [2, 8] } });
    let model = fit(ensemble(grid), &file, &support);
    let mut expected = vec![vec![0.0; 8]; test.rows()];
    for (alpha, beta) in [(1.0, 2.0), (1.0, 8.0), (80.0, 2.0), (80.0, 8.0)] {
        let member = kernel_logits(&unit(test), &shots, &values, alpha, beta, file.classifier());
        for (sums, logits) in expected.iter_mut().zip(member) {
            sums.iter_mut().zip(softmax(&logits)).for_each(|(sum, probability)| *sum += probability / 4.0);
        }
    }
    let found: Rows =
        logits(&model, test).iter().map(|row| row.iter().map(|logit| logit.exp()).collect()).collect();
    assert_close(&found, &expected, 1e-4);
    let chosen = model.chosen();
    assert_eq!((model.members().len(), &chosen["method"]), (4, &json!("tip-adapter")));
    assert_eq!(chosen["members"][1]["settings"], json!({ "alpha": 1.0, "beta": 8.0 }));
}
