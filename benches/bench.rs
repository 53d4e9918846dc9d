//! What users wait for, on every device there is.
//!
//! ```text
//! cargo bench --bench bench                  # everything
//! cargo bench --bench bench -- flex/fit      # the 16-shot fit, to compare with benches/peers/fit_torch.py
//! # the towers of a checkpoint, to compare with benches/peers/towers_torch.py and towers_onnx.py
//! CLIP_ADAPTER_BACKBONE=models/vit-b-32 cargo bench --bench bench -- flex/encode
//! cargo bench --bench bench -- flex/tip_grid # Tip-Adapter's search, to compare with one evaluation
//! # 100 queries among a million rows of 16 bits, to compare with benches/peers/search_numpy.py
//! CLIP_ADAPTER_ROWS=1000000 cargo bench --bench bench -- search
//! ```

#[path = "../examples/cli/task.rs"]
mod task;

use std::{env, hint::black_box, path::Path, time::Duration};

use burn::tensor::{Device, Tensor};
use clip_adapter::{
    AdapterConfig, Classifier, ClipAdapter, ClipBackbone, DeviceSpec, FeatureSet, Method, Run, Support,
    TipAdapter, ZeroShot,
    backbone::Precision,
    methods::Ratio,
    tasks::search::{Index, Rows},
    train::Registry,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use half::f16;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use self::task::{DIM, rows, task};

fn benches(criterion: &mut Criterion) {
    search(criterion);
    #[cfg(feature = "ann")]
    search_nearly(criterion);
    for spec in DeviceSpec::available() {
        let device = spec.open().expect("a device that answers");
        forward(criterion, &spec, &device);
        step(criterion, &spec, &device);
        fit(criterion, &spec, &device);
        fit_100_classes(criterion, &spec, &device);
        tip_grid(criterion, &spec, &device);
        evaluate(criterion, &spec, &device);
        if let Some(folder) = env::var_os("CLIP_ADAPTER_BACKBONE") {
            encode(criterion, &spec, &device, Path::new(&folder));
        }
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

/// 16 shots of 100 classes by the methods that are not trained step by step.
fn fit_100_classes(criterion: &mut Criterion, spec: &DeviceSpec, device: &Device) {
    let (set, text) = task(1600, 100);
    let support = Support::new(set).expect("images");
    let mut group = criterion.benchmark_group(format!("{spec}/fit_100_classes"));
    group.sample_size(10);
    for name in ["tip-adapter", "gda", "proker", "ss-text", "ape", "auto"] {
        let method = Registry::builtin().method(name, &Default::default()).expect("a method");
        group.bench_function(format!("{name}_16shots_d{DIM}"), |bencher| {
            bencher.iter(|| {
                black_box(method.fit_any(&support, &text, &mut Run::new(device)).expect("a fit"));
                device.sync().expect("the device to finish");
            });
        });
    }
}

/// What 4,000 settings of a cache of 1,600 shots cost on 400 validation images, beside one setting.
fn tip_grid(criterion: &mut Criterion, spec: &DeviceSpec, device: &Device) {
    let (set, text) = task(1600, 100);
    let labels = (0..400).map(|image| image % 100).collect();
    let validation = FeatureSet::new(rows(400, 4), labels, set.class_names().to_vec()).expect("a valid set");
    let support = Support::new(set).expect("images");
    let method = TipAdapter::default();
    let model = method.fit(&support, &text, device).expect("a fit");
    let images = validation.clone().into_test_set();
    let support = support.with_validation(validation).expect("the same classes");
    let mut group = criterion.benchmark_group(format!("{spec}/tip_grid"));
    group.sample_size(20);
    group.bench_function("evaluate_n400_c100_s1600", |bencher| {
        bencher.iter(|| black_box(model.evaluate(&images).expect("a report")));
    });
    group.bench_function("grid_n400_c100_s1600", |bencher| {
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

/// The image tower on a batch of 16 and on one image, and 1,000 prompts and one from sentences to embeddings.
fn encode(criterion: &mut Criterion, spec: &DeviceSpec, device: &Device, folder: &Path) {
    let texts: Vec<String> = (0..1000).map(|index| format!("a photo of a thing of kind {index}.")).collect();
    let mut group = criterion.benchmark_group(format!("{spec}/encode"));
    group.sample_size(10);
    for precision in [Precision::F32, Precision::Int8] {
        if !precision.is_supported(device) {
            continue;
        }
        let clip = ClipBackbone::from_pretrained_in(folder, precision, device).expect("a checkpoint");
        let side = clip.preprocess().crop;
        for batch in [16, 1] {
            let pixels = Tensor::<4>::ones([batch, 3, side, side], device);
            let name = format!("{precision}/images_b{batch}");
            group.throughput(Throughput::Elements(batch as u64)).bench_function(name, |bencher| {
                bencher.iter(|| {
                    black_box(clip.image_embeddings(pixels.clone()));
                    device.sync().expect("the device to finish");
                });
            });
        }
        for texts in [&texts[..], &texts[..1]] {
            let name = format!("{precision}/texts_{}", texts.len());
            group.throughput(Throughput::Elements(texts.len() as u64)).bench_function(name, |bencher| {
                bencher.iter(|| black_box(clip.encode_texts(texts).expect("embeddings")));
            });
        }
    }
}

/// The ten best of some rows of 16 bits for 1 and for 100 queries, exactly. Nothing else is in memory yet, so that the
/// process's peak, which Linux knows, is that of the search.
fn search(criterion: &mut Criterion) {
    let count = env::var("CLIP_ADAPTER_ROWS").map_or(20_000, |rows| rows.parse().expect("a number of rows"));
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let scale = (3.0 / DIM as f32).sqrt(); // rows of about unit length
    let mut halves = Vec::with_capacity(count * DIM);
    halves.extend((0..count * DIM).map(|_| f16::from_f32(scale * random.random_range(-1.0f32..1.0))));
    let gallery = Rows::from_halves(halves, DIM).expect("finite rows");
    let mut group = criterion.benchmark_group("search");
    group.sample_size(10);
    for queries in [1, 100] {
        let asked = rows(queries, 6);
        group.throughput(Throughput::Elements(queries as u64));
        group.bench_function(format!("exact_n{count}_d{DIM}_q{queries}_k10"), |bencher| {
            bencher.iter(|| black_box(gallery.search(&asked, 10).expect("hits")));
        });
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(peak) = status.lines().find(|line| line.starts_with("VmHWM")) {
        println!("search: {peak}, of which the rows {} kB", count * DIM * 2 / 1024);
    }
}

/// The ten best nearly, of unit rows around centres; and how many of them are the exact ones.
#[cfg(feature = "ann")]
fn search_nearly(criterion: &mut Criterion) {
    use clip_adapter::{features::Embeddings, tasks::search::Ann};

    let count = env::var("CLIP_ADAPTER_ROWS").map_or(5_000, |rows| rows.parse().expect("a number of rows"));
    let centres = rows(count / 100, 7);
    let around = |count: usize, seed: u64| {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let spread = 1.5 / (DIM as f32).sqrt(); // as far from the centre as 0.87 of its length
        let mut values = Vec::with_capacity(count * DIM);
        for _ in 0..count {
            let centre = centres.row(random.random_range(0..centres.rows()));
            values.extend(centre.iter().map(|value| value + spread * random.random_range(-1.0f32..1.0)));
        }
        Embeddings::new(values, DIM).expect("finite rows").normalised()
    };
    let gallery = Rows::halves(&around(count, 8)).expect("finite rows");
    let asked = around(100, 9);
    let exact = gallery.search(&asked, 10).expect("hits");
    let start = std::time::Instant::now();
    let mut index = Ann::default().build(&gallery).expect("an index");
    println!("search: {count} rows put into the graph in {:.1} s", start.elapsed().as_secs_f64());
    let mut group = criterion.benchmark_group("search");
    group.sample_size(10).throughput(Throughput::Elements(100));
    for breadth in [64, 128, 256] {
        index = index.with_breadth(breadth).expect("a breadth");
        let found = index.search(&asked, 10).expect("hits");
        let shared = exact.iter().zip(&found).flat_map(|(exact, found)| {
            exact.iter().filter(|hit| found.iter().any(|found| found.row == hit.row))
        });
        println!("search: breadth {breadth}: recall@10 {:.4}", shared.count() as f64 / 1000.0);
        group.bench_function(format!("ann_n{count}_d{DIM}_q100_k10_b{breadth}"), |bencher| {
            bencher.iter(|| black_box(index.search(&asked, 10).expect("hits")));
        });
    }
}

criterion_group!(all, benches);
criterion_main!(all);
