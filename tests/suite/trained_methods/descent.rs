//! The trained methods computed a second time: the loss in plain loops and f64, its slope by central differences,
//! the optimisers in a few lines as PyTorch documents them.

use std::f64::consts::PI;

use burn::tensor::Device;
use clip_adapter::{
    Clap, Classifier, CrossModal, FeatureSet, Method, Rla, Support, TaskRes, TextClassifier, TipAdapterF,
    features::Embeddings,
};

use crate::methods::plain::{Rows, dot, kernel_logits, one_hot, softmax, unit, zero_shot};

const DIM: usize = 5;
const STEPS: usize = 6;
const SCALE: f64 = 6.0;
/// Rates are given for a logit scale of 100.
const FASTER: f64 = 100.0 / SCALE;
const LABELS: [usize; 6] = [0, 1, 2, 0, 1, 1];

fn wave(rows: usize, phase: f32) -> Vec<f32> {
    (0..rows * DIM).map(|at| (0.37 * (at * at) as f32 + phase).sin()).collect()
}

/// Three classes, two prompts, six shots: as many examples of either kind, so that a pass is one step.
struct Tiny {
    support: Support,
    classes: TextClassifier,
    images: Rows,
    text: Rows,
    test: Embeddings,
}

fn tiny() -> Tiny {
    let names = ["a", "b", "c"];
    let classes = TextClassifier::new(wave(6, 0.3), DIM, names, ["{}", "a {}"], SCALE, "tiny").unwrap();
    let images = Embeddings::new(wave(LABELS.len(), 1.1), DIM).unwrap();
    let set = FeatureSet::new(images.clone(), LABELS.to_vec(), names).unwrap();
    let test = Embeddings::new(wave(7, 2.6), DIM).unwrap();
    let (images, text) = (unit(&images), unit(classes.weights()));
    Tiny { support: Support::new(set).unwrap(), classes, images, text, test }
}

fn normalised(rows: &Rows) -> Rows {
    let unit = |row: &Vec<f64>| row.iter().map(|value| value / dot(row, row).sqrt()).collect();
    rows.iter().map(unit).collect()
}

fn linear(images: &[Vec<f64>], weights: &Rows) -> Rows {
    let row = |image: &Vec<f64>| weights.iter().map(|weights| SCALE * dot(image, weights)).collect();
    images.iter().map(row).collect()
}

fn cross_entropy(logits: &Rows, labels: &[usize]) -> f64 {
    let losses = logits.iter().zip(labels).map(|(row, &label)| -softmax(row)[label].ln());
    losses.sum::<f64>() / labels.len() as f64
}

fn square(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

/// `rows * factor + other`, value by value.
fn blend(rows: &Rows, factor: f64, other: &Rows) -> Rows {
    let row = |(row, other): (&Vec<f64>, &Vec<f64>)| {
        row.iter().zip(other).map(|(value, other)| value * factor + other).collect()
    };
    rows.iter().zip(other).map(row).collect()
}

fn scaled(rows: &Rows, factor: f64) -> Rows {
    rows.iter().map(|row| row.iter().map(|value| value * factor).collect()).collect()
}

/// `rows matrix`.
fn product(rows: &[Vec<f64>], matrix: &Rows) -> Rows {
    let column = |index: usize| matrix.iter().map(|row| row[index]).collect::<Vec<f64>>();
    let row = |row: &Vec<f64>| (0..DIM).map(|index| dot(row, &column(index))).collect();
    rows.iter().map(row).collect()
}

fn slope(loss: &impl Fn(&Rows) -> f64, at: &Rows) -> Rows {
    let mut moved = at.clone();
    let mut slope = at.clone();
    for row in 0..at.len() {
        for column in 0..at[row].len() {
            moved[row][column] = at[row][column] + 1e-5;
            let above = loss(&moved);
            moved[row][column] = at[row][column] - 1e-5;
            slope[row][column] = (above - loss(&moved)) / 2e-5;
            moved[row][column] = at[row][column];
        }
    }
    slope
}

fn cosine(rate: f64) -> [f64; STEPS] {
    std::array::from_fn(|step| 0.5 * rate * (1.0 + (PI * step as f64 / STEPS as f64).cos()))
}

/// AdamW; without decay it is Adam.
fn adam(loss: impl Fn(&Rows) -> f64, start: &Rows, rate: f64, epsilon: f64, decay: f64) -> Rows {
    let (mut at, zeros) = (start.clone(), scaled(start, 0.0));
    let (mut first, mut second) = (zeros.clone(), zeros);
    for (step, rate) in cosine(rate).into_iter().enumerate() {
        let slope = slope(&loss, &at);
        let (bias_1, bias_2) = (1.0 - 0.9f64.powi(step as i32 + 1), 1.0 - 0.999f64.powi(step as i32 + 1));
        for row in 0..at.len() {
            for column in 0..at[row].len() {
                let g = slope[row][column];
                let (m, v) = (&mut first[row][column], &mut second[row][column]);
                (*m, *v) = (0.9 * *m + 0.1 * g, 0.999 * *v + 0.001 * g * g);
                let value = &mut at[row][column];
                *value -= rate * decay * *value;
                *value -= rate * (*m / bias_1) / ((*v / bias_2).sqrt() + epsilon);
            }
        }
    }
    at
}

fn sgd(loss: impl Fn(&Rows) -> f64, start: &Rows, rates: [f64; STEPS], momentum: f64) -> Rows {
    let (mut at, mut velocity) = (start.clone(), scaled(start, 0.0));
    for rate in rates {
        velocity = blend(&velocity, momentum, &slope(&loss, &at));
        at = blend(&velocity, -rate, &at);
    }
    at
}

/// That a method's logits are those computed here, and not those it started from.
fn check(tiny: &Tiny, method: impl Method, expected: &Rows, start: &Rows) {
    let model = method.fit(&tiny.support, &tiny.classes, &Device::flex()).unwrap();
    let found = model.score(&tiny.test).unwrap();
    let farthest = |rows: &Rows| {
        let pairs = found.rows().flatten().zip(rows.iter().flatten());
        pairs.map(|(found, expected)| (f64::from(*found) - expected).abs()).fold(0.0, f64::max)
    };
    assert!(farthest(expected) < 1e-3, "{}", farthest(expected));
    assert!(farthest(start) > 2e-2, "{}", farthest(start));
}

#[test]
fn task_res() {
    let tiny = tiny();
    let weights = |residual: &Rows| normalised(&blend(residual, 0.7, &scaled(&tiny.text, 2.0)));
    let loss = |residual: &Rows| cross_entropy(&linear(&tiny.images, &weights(residual)), &LABELS);
    let residual = adam(loss, &scaled(&tiny.text, 0.0), 0.05, 1e-8, 0.0);
    let settings = TaskRes {
        alpha: 0.7,
        norm: 2.0,
        epochs: Some(STEPS),
        batch_size: 0,
        learning_rate: 0.05 / FASTER,
        seed: 3,
    };
    let test = unit(&tiny.test);
    check(&tiny, settings, &linear(&test, &weights(&residual)), &zero_shot(&test, &tiny.classes));
}

#[test]
fn rla() {
    let tiny = tiny();
    let identity: Rows =
        (0..DIM).map(|row| (0..DIM).map(|column| f64::from(u8::from(row == column))).collect()).collect();
    let logits = |images: &Rows, matrix: &Rows| linear(&normalised(&product(images, matrix)), &tiny.text);
    let loss = |matrix: &Rows| {
        let change: f64 = matrix.iter().zip(&identity).map(|(row, other)| square(row, other)).sum();
        // Six shots of three classes: K is 2.
        cross_entropy(&logits(&tiny.images, matrix), &LABELS) + change / 2.0
    };
    let matrix = adam(loss, &identity, 0.05, 1e-4, 0.0);
    let settings = Rla { lambda: None, steps: STEPS, learning_rate: 0.05 / FASTER, epsilon: 1e-4 };
    let test = unit(&tiny.test);
    check(&tiny, settings, &logits(&test, &matrix), &zero_shot(&test, &tiny.classes));
}

#[test]
fn clap() {
    let tiny = tiny();
    let (start, test) = (scaled(&tiny.text, 3.0), unit(&tiny.test));
    let mut lambda = [0.0; 3];
    for (logits, label) in zero_shot(&tiny.images, &tiny.classes).iter().zip(LABELS) {
        let count = LABELS.iter().filter(|&&other| other == label).count();
        lambda[label] += softmax(logits)[label] / count as f64;
    }
    let fit = |constraint: bool| {
        let loss = |prototypes: &Rows| {
            let far = prototypes.iter().zip(&start).map(|(row, other)| square(row, other));
            let penalty: f64 = far.zip(lambda).map(|(far, lambda)| lambda * far / 3.0).sum();
            let loss = cross_entropy(&linear(&tiny.images, &normalised(prototypes)), &LABELS);
            loss + if constraint { penalty } else { 0.0 }
        };
        let mut rates = cosine(0.4);
        rates[0] = 0.01;
        linear(&test, &normalised(&sgd(loss, &start, rates, 0.8)))
    };
    let settings = Clap {
        norm: 3.0,
        epochs: STEPS,
        learning_rate: 0.4 / FASTER,
        momentum: 0.8,
        warmup_rate: 0.01 / FASTER,
        ..Default::default()
    };
    check(&tiny, settings, &fit(true), &fit(false));
    check(&tiny, Clap { constraint: false, ..settings }, &fit(false), &fit(true));
}

#[test]
fn cross_modal() {
    let tiny = tiny();
    let mut examples = tiny.images.clone();
    examples.extend(unit(tiny.classes.prompts().unwrap()));
    let labels = [&LABELS[..], &[0, 1, 2, 0, 1, 2]].concat();
    let loss = |weights: &Rows| cross_entropy(&linear(&examples, weights), &labels);
    let trained = adam(loss, &tiny.text, 0.05, 1e-8, 0.1);
    let weights = blend(&tiny.text, 0.25, &scaled(&trained, 0.75));
    let settings = CrossModal {
        average: 0.25,
        steps: STEPS,
        batch_size: 12,
        learning_rate: 0.05 / FASTER,
        weight_decay: 0.1,
        seed: 3,
    };
    let test = unit(&tiny.test);
    check(&tiny, settings, &linear(&test, &weights), &zero_shot(&test, &tiny.classes));
}

#[test]
fn tip_adapter_f() {
    let tiny = tiny();
    let values = one_hot(&LABELS, 3);
    let logits = |images: &Rows, keys: &Rows| kernel_logits(images, keys, &values, 2.0, 3.0, &tiny.classes);
    let loss = |keys: &Rows| cross_entropy(&logits(&tiny.images, keys), &LABELS);
    let keys = adam(loss, &tiny.images, 0.05, 1e-4, 0.1);
    let settings = TipAdapterF {
        alpha: 2.0,
        beta: 3.0,
        epochs: STEPS,
        batch_size: 6,
        learning_rate: 0.05 / FASTER,
        epsilon: 1e-4,
        weight_decay: 0.1,
        seed: 3,
    };
    let test = unit(&tiny.test);
    check(&tiny, settings, &logits(&test, &keys), &logits(&test, &tiny.images));
}
