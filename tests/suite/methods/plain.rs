//! The formulas of the closed forms in plain loops, in f64 and without any of the crate's arithmetic.

use clip_adapter::{TextClassifier, features::Embeddings};

pub type Rows = Vec<Vec<f64>>;

pub fn unit(rows: &Embeddings) -> Rows {
    let unit = |row: &[f32]| {
        let norm = row.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
        row.iter().map(|&v| f64::from(v) / norm).collect()
    };
    (0..rows.rows()).map(|row| unit(rows.row(row))).collect()
}

pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `A X = B` by Gauss and Jordan.
pub fn solve(mut a: Rows, mut b: Rows) -> Rows {
    for step in 0..a.len() {
        let pivot = (step..a.len()).max_by(|&i, &j| a[i][step].abs().total_cmp(&a[j][step].abs())).unwrap();
        a.swap(step, pivot);
        b.swap(step, pivot);
        let (pivot_a, pivot_b) = (a[step].clone(), b[step].clone());
        for row in (0..a.len()).filter(|&row| row != step) {
            let factor = a[row][step] / pivot_a[step];
            a[row].iter_mut().zip(&pivot_a).for_each(|(value, pivot)| *value -= factor * pivot);
            b[row].iter_mut().zip(&pivot_b).for_each(|(value, pivot)| *value -= factor * pivot);
        }
    }
    b.iter().enumerate().map(|(row, values)| values.iter().map(|v| v / a[row][row]).collect()).collect()
}

pub fn softmax(logits: &[f64]) -> Vec<f64> {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|logit| (logit - max).exp()).sum();
    logits.iter().map(|logit| (logit - max).exp() / sum).collect()
}

pub fn zero_shot(images: &[Vec<f64>], classes: &TextClassifier) -> Rows {
    let text = unit(classes.weights());
    let row = |image: &Vec<f64>| text.iter().map(|text| classes.logit_scale() * dot(image, text)).collect();
    images.iter().map(row).collect()
}

/// `k(f, F) values` beside zero-shot.
pub fn kernel_logits(
    images: &[Vec<f64>],
    shots: &[Vec<f64>],
    values: &[Vec<f64>],
    weight: f64,
    beta: f64,
    classes: &TextClassifier,
) -> Rows {
    let mut logits = zero_shot(images, classes);
    for (image, logits) in images.iter().zip(&mut logits) {
        for (shot, values) in shots.iter().zip(values) {
            let kernel = weight * (-beta * (1.0 - dot(image, shot))).exp();
            logits.iter_mut().zip(values).for_each(|(logit, value)| *logit += kernel * value);
        }
    }
    logits
}

pub fn one_hot(labels: &[usize], classes: usize) -> Rows {
    labels
        .iter()
        .map(|&label| (0..classes).map(|class| f64::from(u8::from(class == label))).collect())
        .collect()
}

/// ProKeR's coefficients.
pub fn regression(
    shots: &[Vec<f64>],
    labels: &[usize],
    beta: f64,
    lambda: f64,
    classes: &TextClassifier,
) -> Rows {
    let mut targets = one_hot(labels, classes.class_names().len());
    for (target, logits) in targets.iter_mut().zip(zero_shot(shots, classes)) {
        target.iter_mut().zip(softmax(&logits)).for_each(|(target, probability)| *target -= probability);
    }
    let mut kernel: Rows = Vec::new();
    for (row, shot) in shots.iter().enumerate() {
        kernel.push(shots.iter().map(|other| (-beta * (1.0 - dot(shot, other))).exp()).collect());
        kernel[row][row] += lambda;
    }
    solve(kernel, targets)
}
