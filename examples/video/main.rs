//! Tells videos apart from a few of each class, finds one by what is said of it, and turns files into frames.
//!
//! ```text
//! cargo run --release --example video                                             # made-up motions
//! cargo run --release --example video -- --features clips.safetensors --shots 16 --pooling dct
//! cargo run --release --example video -- --backbone clip-vit-base-patch32 --videos clips --out clips.safetensors
//! cargo run --release --example video -- --features clips.safetensors --backbone clip-vit-base-patch32 --query "a cat"
//! cargo run --release --example video -- --videos clips --query "a cat" --html found.html         # with their pictures
//! cargo run --release --example video -- --features clips.safetensors --retrieval                 # by their names
//! ```

#[path = "../cli/mod.rs"]
mod cli;
mod folder;
mod page;
mod search;

use std::{path::PathBuf, process::ExitCode, time::Instant};

use clap::Parser;
use clip_adapter::{
    DeviceSpec, Error, Report, Result, Run, Support, TestSet, TextClassifier,
    features::{FrameFile, FrameSet},
    model::Save,
    tasks::video::{Pooling, Scoring, TemporalTransformer},
    train::{AnyMethod, MethodSpec, Registry},
};
use serde::Serialize;

/// Tells videos apart from a few of each class, or finds one by what is said of it.
#[derive(Parser)]
struct Arguments {
    /// A file of the format clip-frames/1; made-up motions where none is given
    #[arg(long, value_name = "FILE")]
    features: Option<PathBuf>,
    /// Training videos of each class
    #[arg(long, value_name = "K", default_value_t = 16)]
    shots: usize,
    /// Fixes which videos are drawn, and the method's own random numbers
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// How frames become one row: mean, dct or transformer
    #[arg(long, value_name = "NAME", default_value = "dct")]
    pooling: String,
    /// What is fitted to rows of mean or dct
    #[arg(long, value_name = "NAME", default_value = "linear-probe")]
    method: String,
    /// Overrides a setting of the method or of the transformer, such as epochs=100; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// The split to score on, or to search; `test` where not given, or `all` where there is no such
    #[arg(long, value_name = "SPLIT")]
    test_split: Option<String>,
    /// Finds the videos of --features or --videos, and the moments in them, that fit this text best
    #[arg(long, value_name = "TEXT")]
    query: Option<String>,
    /// Says how well the classes' texts in --features find their videos, and videos their texts
    #[arg(long, requires = "features", conflicts_with = "query")]
    retrieval: bool,
    /// How a video fits a text: query, mean or max
    #[arg(long, value_name = "NAME", default_value_t = Scoring::default())]
    scoring: Scoring,
    /// Videos that are shown of a search
    #[arg(long, value_name = "N", default_value_t = 5)]
    top: usize,
    /// A CLIP in the layout of Hugging Face or open_clip; the pocket model where none is given
    #[arg(long, value_name = "DIR")]
    backbone: Option<PathBuf>,
    /// Turns the videos of this folder into frames, for --out, --query or both: a sub-folder a class, or each file a
    /// class of its own
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["features", "retrieval"])]
    videos: Option<PathBuf>,
    /// Where the file of frames goes
    #[arg(long, value_name = "FILE", requires = "videos")]
    out: Option<PathBuf>,
    /// Frames of each video, evenly over it
    #[arg(long, value_name = "T", default_value_t = 8)]
    frames: usize,
    /// Frames a second instead
    #[arg(long, value_name = "N", conflicts_with = "frames")]
    fps: Option<f64>,
    /// The most frames of one video at --fps
    #[arg(long, value_name = "N", default_value_t = 3600)]
    max: usize,
    /// A named set of prompts or a file, for the classes' texts
    #[arg(long, value_name = "NAME|FILE")]
    prompts: Option<String>,
    /// Keeps what was encoded here, and goes on from it
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Leaves out videos that cannot be read, and says which
    #[arg(long)]
    skip_broken: bool,
    /// Where to compute, such as flex, wgpu or cuda:0
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceSpec::default())]
    device: DeviceSpec,
    /// Writes what was fitted
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Writes the whole result as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes a page of what was found, frame by frame; of --videos with the pictures
    #[arg(long, value_name = "FILE", requires = "query")]
    html: Option<PathBuf>,
}

/// What `--json` holds of a fit.
#[derive(Serialize)]
struct Outcome {
    dataset: String,
    sampling: String,
    pooling: String,
    method: String,
    settings: serde_json::Value,
    chosen: serde_json::Value,
    shots: usize,
    seed: u64,
    device: String,
    fit_seconds: f64,
    #[serde(flatten)]
    report: Report,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    cli::run_with_skip_broken(|| match (&arguments.videos, &arguments.query) {
        (Some(folder), _) => folder::extract(&arguments, folder),
        (None, Some(text)) => search::in_file(&arguments, text),
        (None, None) if arguments.retrieval => search::by_names(&arguments),
        (None, None) => learn(&arguments),
    })
}

fn learn(arguments: &Arguments) -> Result<()> {
    cli::folders::check_for(&[arguments.save.as_ref(), arguments.json.as_ref()])?;
    let device = arguments.device.open()?;
    let file = match &arguments.features {
        Some(path) => FrameFile::read(path)?,
        None => FrameFile::synthetic(0)?,
    };
    let shots = file.split("train")?.shots(arguments.shots, arguments.seed)?;
    let (method, task) = match arguments.pooling.as_str() {
        "transformer" => transformer(arguments, &file, &shots)?,
        name => pooled(arguments, &file, &shots, name.parse().map_err(|_| unknown(name))?)?,
    };
    let Task { support, classes, test } = task;
    let start = Instant::now();
    let model = method.fit_any(&support, &classes, &mut Run::new(&device))?;
    let fit_seconds = start.elapsed().as_secs_f64();
    let report = model.evaluate(&test)?;
    println!(
        "{}: {} classes, {} videos each, {}",
        file.dataset(),
        report.classes.len(),
        arguments.shots,
        file.identity()
    );
    println!("{:<12}{:<22}{report}", arguments.pooling, method.name());
    println!("fitted in {fit_seconds:.2} s on {}", arguments.device);
    if let Some(path) = &arguments.save {
        model.save(path)?;
        println!("saved {}", path.display());
    }
    if let Some(path) = &arguments.json {
        let outcome = Outcome {
            dataset: file.dataset().to_owned(),
            sampling: file.sampling().to_owned(),
            pooling: arguments.pooling.clone(),
            method: method.name().to_owned(),
            settings: method.settings(),
            chosen: model.chosen(),
            shots: arguments.shots,
            seed: arguments.seed,
            device: arguments.device.to_string(),
            fit_seconds,
            report,
        };
        cli::files::write_json(path, &outcome)?;
    }
    Ok(())
}

/// What a method is fitted to and scored on.
struct Task {
    support: Support,
    classes: TextClassifier,
    test: TestSet,
}

type Fit = (Box<dyn AnyMethod>, Task);

fn spec(arguments: &Arguments, name: &str) -> Result<MethodSpec> {
    let spec = arguments.settings.iter().try_fold(MethodSpec::new(name), |spec, pair| spec.set(pair))?;
    Ok(spec.seeded(arguments.seed))
}

fn pooled(arguments: &Arguments, file: &FrameFile, shots: &FrameSet, pooling: Pooling) -> Result<Fit> {
    let method = spec(arguments, &arguments.method)?.method(&Registry::builtin())?;
    let support = Support::new(pooling.set(shots)?)?;
    let classes = pooling.classes(file, support.set())?;
    let test = pooling.set(file.split(search::split(arguments, file))?)?.into_test_set();
    Ok((method, Task { support, classes, test }))
}

fn transformer(arguments: &Arguments, file: &FrameFile, shots: &FrameSet) -> Result<Fit> {
    let registry = Registry::empty().with::<TemporalTransformer>();
    let method = spec(arguments, "temporal-transformer")?.method(&registry)?;
    let classes = TemporalTransformer::classes(file, shots)?;
    let support = Support::new(shots.side_by_side()?)?;
    let test = file.split(search::split(arguments, file))?.side_by_side()?.into_test_set();
    Ok((method, Task { support, classes, test }))
}

fn unknown(name: &str) -> Error {
    Error::setting("pooling", "mean, dct or transformer", format!("`{name}`"))
}
