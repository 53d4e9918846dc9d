//! What users wait for, on every device that is compiled in.
//!
//! ```text
//! cargo bench --bench bench                  # everything
//! cargo bench --bench bench -- flex/fit      # the 16-shot fit, to compare with benches/peers/fit_torch.py
//! ```

use std::{hint::black_box, time::Duration};

use burn::tensor::Device;
use clip_adapter::{
    AdapterConfig, ClipAdapter, DeviceSpec, FeatureSet, Fitted, Method, Support, TextClassifier, ZeroShot,
    features::Embeddings, methods::Ratio,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const DIM: usize = 512;

/// Random unit rows.
fn rows(count: usize, seed: u64) -> Embeddings {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let values = (0..count * DIM).map(|_| random.random_range(-1.0..1.0)).collect();
    Embeddings::new(values, DIM).expect("finite rows").normalised()
}

fn names(classes: usize) -> Vec<String> {
    (0..classes).map(|class| format!("class {class}")).collect()
}

fn task(images: usize, classes: usize) -> (FeatureSet, TextClassifier) {
    let labels = (0..images).map(|image| image % classes).collect();
    let set = FeatureSet::new(rows(images, 1), labels, names(classes)).expect("a valid set");
    let text = rows(classes, 2).values().to_vec();
    let text = TextClassifier::new(text, DIM, names(classes), ["a {}."], 100.0, "random")
        .expect("a valid classifier");
    (set, text)
}

fn benches(criterion: &mut Criterion) {
    for spec in DeviceSpec::compiled() {
        let device = spec.init().expect("a compiled device");
        forward(criterion, &spec, &device);
        step(criterion, &spec, &device);
        fit(criterion, &spec, &device);
        evaluate(criterion, &spec, &device);
    }
}

fn forward(criterion: &mut Criterion, spec: &DeviceSpec, device: &Device) {
    let mut group = criterion.benchmark_group(format!("{spec}/adapter_forward"));
    let adapter = AdapterConfig::new(DIM).init(device);
    for batch in [1, 32, 1024] {
        let features = rows(batch, 3).tensor(device);
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(format!("b{batch}_d{DIM}"), |bencher| {
            bencher.iter(|| {
                black_box(adapter.forward(features.clone()));
                device.sync().expect("the device to finish");
            });
        });
    }
}

/// 100 training steps on one batch of 32: forward, backward, SGD.
fn step(criterion: &mut Criterion, spec: &DeviceSpec, device: &Device) {
    let (set, text) = task(32, 16);
    let support = Support::new(set).expect("images");
    let method = ClipAdapter { ratio: Ratio::Fixed(0.2), epochs: Some(100), ..Default::default() };
    let mut group = criterion.benchmark_group(format!("{spec}/train_step"));
    group.throughput(Throughput::Elements(100)).sample_size(20);
    group.bench_function(format!("b32_d{DIM}_c16_x100"), |bencher| {
        bencher.iter(|| black_box(method.fit(&support, &text, device).expect("a fit")));
    });
}

/// 16 shots of 19 classes, 200 epochs, batches of 32: 2,000 steps.
fn fit(criterion: &mut Criterion, spec: &DeviceSpec, device: &Device) {
    let (set, text) = task(304, 19);
    let support = Support::new(set).expect("images");
    let method = ClipAdapter { ratio: Ratio::Fixed(0.2), ..Default::default() };
    let mut group = criterion.benchmark_group(format!("{spec}/fit"));
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    group.bench_function(format!("clip-adapter_16shots_c19_d{DIM}"), |bencher| {
        bencher.iter(|| black_box(method.fit(&support, &text, device).expect("a fit")));
    });
}

/// 10,000 features against 1,000 classes, to accuracy, F1, ECE and NLL.
fn evaluate(criterion: &mut Criterion, spec: &DeviceSpec, device: &Device) {
    let (set, text) = task(10_000, 1000);
    let support = Support::new(set.select(&[0])).expect("an image");
    let model = ZeroShot::default().fit(&support, &text, device).expect("a fit");
    let test = set.into_test_set();
    let mut group = criterion.benchmark_group(format!("{spec}/evaluate"));
    group.throughput(Throughput::Elements(10_000)).sample_size(10);
    group.bench_function(format!("n10000_c1000_d{DIM}"), |bencher| {
        bencher.iter(|| black_box(model.evaluate(&test).expect("a report")));
    });
}

criterion_group!(all, benches);
criterion_main!(all);
