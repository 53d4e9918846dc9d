//! Every method against its formula.

use clip_adapter::{Fitted, Gda, ProKeR, SsText, TipAdapter, ZeroShot, features::Embeddings};

use super::{
    file, fit,
    plain::{Rows, dot, kernel_logits, one_hot, regression, softmax, solve, unit, zero_shot},
    uneven,
};

fn logits(model: &impl Fitted, images: &Embeddings) -> Vec<Vec<f64>> {
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

/// Every candidate is fitted without each shot in turn, which the crate never does.
#[test]
fn proker_chooses_what_leaving_out_each_shot_would() {
    let file = file();
    let (support, classes) = (file.support(3, 1).unwrap(), file.classifier());
    let (shots, labels) = (unit(support.set().embeddings()), support.set().labels());
    let score = |beta: f64, lambda: f64| {
        let mut scores = [1.0, 10.0, 100.0].map(|weight| (weight, 0, 0.0));
        for row in 0..shots.len() {
            let (mut others, mut other_labels) = (shots.clone(), labels.to_vec());
            let (shot, label) = (others.remove(row), other_labels.remove(row));
            let values = regression(&others, &other_labels, beta, lambda, classes);
            for (weight, right, nll) in &mut scores {
                let shot = vec![shot.clone()];
                let logits = &kernel_logits(&shot, &others, &values, *weight, beta, classes)[0];
                let best =
                    (0..8).fold(0, |best, class| if logits[class] > logits[best] { class } else { best });
                *right += usize::from(best == label);
                *nll -= softmax(logits)[label].ln();
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
        let model = fit(Gda { alpha: Some(alpha) }, &file, &support);
        assert_close(&logits(&model, test), &expected, 1e-5);
    }
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
    assert_close(&logits(&fit(Gda { alpha: Some(0.0) }, &file, &support), test), &expected, 1e-5);
    assert_close(&logits(&fit(SsText { tau: 1e12 }, &file, &support), test), &expected, 1e-5);
}
