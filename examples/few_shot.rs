//! Teaches CLIP a data set from a few cached features of each class, and says what that gained.
//!
//! ```text
//! cargo run --release --example few_shot                      # a small made-up data set
//! cargo run --release --example few_shot -- --features photos.safetensors --shots 4
//! ```

mod cli;

use std::{ops::ControlFlow, path::PathBuf, process::ExitCode, time::Instant};

use clap::Parser;
use clip_adapter::{
    Classifier, DeviceSpec, FeatureFile, Method, Progress, Protocol, Report, Result, Run, ZeroShot,
    model::{Save, Settings},
    train::{MethodSpec, Registry},
};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// Teaches CLIP a data set from a few cached features of each class, and says what that gained.
#[derive(Parser)]
struct Arguments {
    /// A file of the format clip-features/1; a small made-up data set where none is given
    #[arg(long, value_name = "FILE")]
    features: Option<PathBuf>,
    /// What to fit
    #[arg(long, value_name = "NAME", default_value = "clip-adapter", help = methods())]
    method: String,
    /// Training images of each class
    #[arg(long, value_name = "K", default_value_t = 16)]
    shots: usize,
    /// Fixes which images are drawn, and the method's own random numbers
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Overrides a setting of the method, such as ratio=0.8; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// The split to score on
    #[arg(long, value_name = "SPLIT", default_value = "test")]
    test_split: String,
    /// What settings may be chosen with: validation-free or few-shot-validation
    #[arg(long, value_name = "PROTOCOL", default_value_t = Protocol::ValidationFree)]
    protocol: Protocol,
    /// Where to compute, such as flex, wgpu or cuda:0
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceSpec::default())]
    device: DeviceSpec,
    /// Writes the fitted adapter
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Keeps the state of an interrupted fit here, and goes on from it
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Writes the whole result as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Every method there is, so that none is forgotten here.
fn methods() -> String {
    format!("What to fit: {}", Registry::builtin().names().join(", "))
}

/// What `--json` holds.
#[derive(Serialize)]
struct Outcome {
    dataset: String,
    method: String,
    settings: serde_json::Value,
    chosen: serde_json::Value,
    protocol: Protocol,
    shots: usize,
    seed: u64,
    device: String,
    fit_seconds: f64,
    zero_shot_accuracy: f64,
    #[serde(flatten)]
    report: Report,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    cli::run(|| few_shot(&arguments))
}

fn few_shot(arguments: &Arguments) -> Result<()> {
    let spec = MethodSpec::new(&arguments.method);
    let spec = arguments.settings.iter().try_fold(spec, |spec, pair| spec.set(pair))?;
    let method = spec.seeded(arguments.seed).method(&Registry::builtin())?;
    let device = arguments.device.open()?;
    let file = match &arguments.features {
        Some(path) => FeatureFile::read(path)?,
        None => FeatureFile::synthetic(0)?,
    };
    let support = match arguments.protocol {
        Protocol::ValidationFree => file.support(arguments.shots, arguments.seed)?,
        Protocol::FewShotValidation => file.support_with_validation(arguments.shots, arguments.seed)?,
        Protocol::Oracle => return Err(oracle_elsewhere()),
    };
    let test = file.test_set(&arguments.test_split)?;
    let classes = file.classifier();
    let before = ZeroShot::default().fit(&support, classes, &device)?.evaluate(&test)?;

    let bar = ProgressBar::new(1000).with_style(
        ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}").expect("a valid template"),
    );
    let mut run = Run::new(&device).on_progress(|progress: &Progress| {
        bar.set_position((1000.0 * progress.done) as u64);
        bar.set_message(format!("{}, epoch {}, loss {:.3}", progress.stage, progress.epoch, progress.loss));
        ControlFlow::Continue(())
    });
    if let Some(path) = &arguments.checkpoint {
        run = run.checkpoint(path);
    }
    let start = Instant::now();
    let model = method.fit_any(&support, classes, &mut run)?;
    let fit_seconds = start.elapsed().as_secs_f64();
    bar.finish_and_clear();
    let report = model.evaluate(&test)?;

    println!(
        "{}: {} classes, {} shots each, {}",
        file.dataset(),
        report.classes.len(),
        arguments.shots,
        classes.backbone()
    );
    println!("{:<14}{before}", ZeroShot::NAME);
    println!("{:<14}{report}", method.name());
    println!(
        "fitted in {fit_seconds:.2} s on {}, {}{}",
        arguments.device,
        arguments.protocol,
        in_words(&model.chosen())
    );
    if let Some(path) = &arguments.save {
        model.save(path)?;
        println!("saved {}", path.display());
    }
    if let Some(path) = &arguments.json {
        let outcome = Outcome {
            dataset: file.dataset().to_owned(),
            method: method.name().to_owned(),
            settings: method.settings(),
            chosen: model.chosen(),
            protocol: arguments.protocol,
            shots: arguments.shots,
            seed: arguments.seed,
            device: arguments.device.to_string(),
            fit_seconds,
            zero_shot_accuracy: before.accuracy,
            report,
        };
        cli::files::write_json(path, &outcome)?;
    }
    Ok(())
}

/// What fitting chose, number by number: `, ratio 0.8`.
fn in_words(chosen: &serde_json::Value) -> String {
    let entries = chosen.as_object().into_iter().flatten();
    entries
        .filter_map(|(name, value)| Some(format!(", {name} {}", (1e4 * value.as_f64()?).round() / 1e4)))
        .collect()
}

/// One fit cannot choose on the test set; the benchmark, which compares several, can and says so.
fn oracle_elsewhere() -> clip_adapter::Error {
    let expected = "validation-free or few-shot-validation; the example `benchmark` has the oracle";
    clip_adapter::Error::setting("protocol", expected, "oracle")
}
