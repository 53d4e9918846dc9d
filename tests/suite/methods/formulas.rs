//! Every method against its formula.

use clip_adapter::{
    Classifier, Gda, ProKeR, SsText, TipAdapter, ZeroShot, features::Embeddings, model::Model,
};

use super::{
    file, fit,
    plain::{Rows, dot, kernel_logits, one_hot, regression, softmax, solve, unit, zero_shot},
    uneven,
};

fn logits(model: &impl Classifier, images: &Embeddings) -> Vec<Vec<f64>> {
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

#[test]
fn tip_adapter_is_its_formula() {
    let (file, method) = (file(), TipAdapter { alpha: 3.0, beta: 2.0 });
    let support = uneven(&file, |class| class);
    let test = file.split("test").unwrap().embeddings();
    let (shots, values) = (unit(support.set().embeddings()), one_hot(support.set().labels(), 8));
    let expected = kernel_logits(&unit(test), &shots, &values, 3.0, 2.0, file.classifier());
    assert_close(&logits(&fit(method, &file, &support), test), &expected, 1e-5);
}

#[test]
fn proker_is_its_formula() {
    let file = file();
    let method = ProKeR { beta: Some(5.0), lambda: Some(0.1), weight: Some(10.0) };
    let support = uneven(&file, |class| class);
    let test = file.split("test").unwrap().embeddings();
    let shots = unit(support.set().embeddings());
    let values = regression(&shots, support.set().labels(), 5.0, 0.1, file.classifier());
    let expected = kernel_logits(&unit(test), &shots, &values, 10.0, 5.0, file.classifier());
    assert_close(&logits(&fit(method, &file, &support), test), &expected, 1e-5);
}

/// Every candidate is fitted without the first, the second and the third shot of every class, which the crate
/// never does.
#[test]
fn proker_chooses_what_leaving_out_a_shot_of_each_class_would() {
    let file = file();
    let (support, classes) = (file.support(3, 1).unwrap(), file.classifier());
    let (shots, labels) = (unit(support.set().embeddings()), support.set().labels());
    let turn = |row: usize| labels[..row].iter().filter(|&&label| label == labels[row]).count();
    let score = |beta: f64, lambda: f64| {
        let weights = [0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 30.0, 50.0, 100.0];
        let mut scores = weights.map(|weight| (weight, 0, 0.0));
        for out in 0..3 {
            let (held_out, kept): (Vec<usize>, Vec<usize>) =
                (0..shots.len()).partition(|&row| turn(row) == out);
            let rows = |of: &[usize]| of.iter().map(|&row| shots[row].clone()).collect::<Rows>();
            let of_kept: Vec<usize> = kept.iter().map(|&row| labels[row]).collect();
            let values = regression(&rows(&kept), &of_kept, beta, lambda, classes);
            for (weight, right, nll) in &mut scores {
                let says = kernel_logits(&rows(&held_out), &rows(&kept), &values, *weight, beta, classes);
                for (logits, &row) in says.iter().zip(&held_out) {
                    let best =
                        (0..8).fold(0, |best, class| if logits[class] > logits[best] { class } else { best });
                    *right += usize::from(best == labels[row]);
                    *nll -= softmax(logits)[labels[row]].ln();
                }
            }
        }
        scores.map(|(weight, right, nll)| ([beta, lambda, weight], right, nll))
    };
    let mut scores = Vec::new();
    for beta in [1.0, 5.0, 20.0] {
        for lambda in [1e-3, 0.01, 0.1, 1.0, 10.0] {
            scores.extend(score(beta, lambda));
        }
    }
    let model = fit(ProKeR::default(), &file, &support);
    let chosen = model.chosen();
    let chosen = ["beta", "lambda", "weight"].map(|name| chosen[name].as_f64().unwrap());
    let (_, right, nll) = *scores.iter().find(|(settings, ..)| *settings == chosen).unwrap();
    let most = scores.iter().map(|(_, right, _)| *right).max().unwrap();
    assert_eq!(right, most, "{chosen:?}");
    let lowest = scores.iter().filter(|(_, right, _)| *right == most).map(|(.., nll)| *nll);
    assert!(nll <= lowest.fold(f64::INFINITY, f64::min) + 1e-3, "{chosen:?}");
    assert_eq!(serde_json::json!(model.in_force()), model.chosen());
}

#[test]
fn gda_is_its_formula() {
    let file = file();
    let test = file.split("test").unwrap().embeddings();
    let (images, classes) = (unit(test), file.classifier());
    for (shots, alpha) in [(1, 1.0), (3, 0.3)] {
        let support = file.support(shots, 1).unwrap();
        let (rows, labels, dim) = (unit(support.set().embeddings()), support.set().labels(), 64);
        let mut means = vec![vec![0.0; dim]; 8];
        for (row, &label) in rows.iter().zip(labels) {
            means[label].iter_mut().zip(row).for_each(|(mean, value)| *mean += value / shots as f64);
        }
        let mut covariance = vec![vec![0.0; dim]; dim];
        let over = (rows.len() - 1) as f64;
        for (row, &label) in rows.iter().zip(labels) {
            let centred: Vec<f64> = row.iter().zip(&means[label]).map(|(value, mean)| value - mean).collect();
            for (line, a) in covariance.iter_mut().zip(&centred) {
                line.iter_mut().zip(&centred).for_each(|(value, b)| *value += a * b / over);
            }
        }
        let trace: f64 = (0..dim).map(|d| covariance[d][d]).sum();
        let identity: Rows =
            (0..dim).map(|d| (0..dim).map(|e| f64::from(u8::from(d == e))).collect()).collect();
        let precision = if shots == 1 {
            identity
        } else {
            for (d, line) in covariance.iter_mut().enumerate() {
                line.iter_mut().for_each(|value| *value *= over);
                line[d] += trace;
            }
            let inverse = solve(covariance, identity);
            inverse.iter().map(|row| row.iter().map(|value| value * dim as f64).collect()).collect()
        };
        let mut expected = zero_shot(&images, classes);
        for (class, mean) in means.iter().enumerate() {
            let weight: Vec<f64> = precision.iter().map(|row| dot(row, mean)).collect();
            let bias = (1.0f64 / 8.0).ln() - dot(mean, &weight) / 2.0;
            for (image, logits) in images.iter().zip(&mut expected) {
                logits[class] += alpha * (dot(image, &weight) + bias);
            }
        }
        let model = fit(Gda { alpha: Some(alpha), ..Default::default() }, &file, &support);
        assert_close(&logits(&model, test), &expected, 1e-5);
    }
}

/// With one shot a class the precision is the identity, and a text that counts as so many shots is a weighted mean.
#[test]
fn a_text_counts_as_shots_in_gda() {
    let file = file();
    let test = file.split("test").unwrap().embeddings();
    let support = file.support(1, 1).unwrap();
    let (shots, labels) = (unit(support.set().embeddings()), support.set().labels());
    let (text, images) = (unit(file.classifier().weights()), unit(test));
    let mut expected = zero_shot(&images, file.classifier());
    let mean = |rows: &[Vec<f64>], d: usize| rows.iter().map(|row| row[d]).sum::<f64>() / 8.0;
    for (shot, &label) in shots.iter().zip(labels) {
        let shifted = |d: usize| text[label][d] - mean(&text, d) + mean(&shots, d);
        let centre: Vec<f64> = (0..64).map(|d| (shot[d] + 3.0 * shifted(d)) / 4.0).collect();
        let bias = (1.0f64 / 8.0).ln() - dot(&centre, &centre) / 2.0;
        for (image, logits) in images.iter().zip(&mut expected) {
            logits[label] += 20.0 * (dot(image, &centre) + bias);
        }
    }
    let model = fit(Gda { alpha: Some(20.0), text_shots: 3.0 }, &file, &support);
    assert_close(&logits(&model, test), &expected, 1e-5);
}

#[test]
fn ss_text_is_its_formula() {
    let file = file();
    let support = uneven(&file, |class| class);
    let test = file.split("test").unwrap().embeddings();
    let (shots, labels) = (unit(support.set().embeddings()), support.set().labels());
    let mut expected = vec![Vec::new(); test.rows()];
    for (class, text) in unit(file.classifier().weights()).iter().enumerate() {
        let of_class: Vec<&Vec<f64>> =
            shots.iter().zip(labels).filter(|(_, label)| **label == class).map(|(shot, _)| shot).collect();
        assert_eq!(of_class.len(), class);
        let lambda = 1.0 / class as f64; // infinite for the class without a shot
        let weight: Vec<f64> = (0..64)
            .map(|d| {
                let sum: f64 = of_class.iter().map(|shot| shot[d] / 0.3).sum();
                sum / (shots.len() as f64 * lambda) + text[d]
            })
            .collect();
        let norm = dot(&weight, &weight).sqrt();
        for (image, logits) in unit(test).iter().zip(&mut expected) {
            logits.push(100.0 * dot(image, &weight) / norm);
        }
    }
    assert_close(&logits(&fit(SsText::default(), &file, &support), test), &expected, 1e-5);
}

#[test]
fn a_weight_of_0_is_zero_shot() {
    let file = file();
    let (support, test) = (file.support(4, 1).unwrap(), file.split("test").unwrap().embeddings());
    let expected = logits(&fit(ZeroShot::default(), &file, &support), test);
    let tip = TipAdapter { alpha: 0.0, ..Default::default() };
    assert_eq!(logits(&fit(tip, &file, &support), test), expected, "bit for bit");
    let proker = ProKeR { weight: Some(0.0), ..Default::default() };
    assert_eq!(logits(&fit(proker, &file, &support), test), expected, "bit for bit");
    assert_close(
        &logits(&fit(Gda { alpha: Some(0.0), ..Default::default() }, &file, &support), test),
        &expected,
        1e-5,
    );
    assert_close(&logits(&fit(SsText { tau: 1e12 }, &file, &support), test), &expected, 1e-5);
}
