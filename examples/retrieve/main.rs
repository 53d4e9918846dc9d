//! Finds images by texts and texts by images, before and after a small adapter has learned from pairs.
//!
//! ```text
//! cargo run --release --example retrieve                                     # made-up pairs, every method
//! cargo run --release --example retrieve -- --images examples/pocket/images/fluent-line --train-pairs 200
//! cargo run --release --example retrieve -- --pairs photos.safetensors --split-seed 1 --json out.json
//! cargo run --release --example retrieve -- --pairs photos.safetensors --method linear --set sides=text --save a.safetensors
//! cargo run --release --example retrieve -- --index photos.index --query "a red bicycle" --adapter a.safetensors
//! ```
//!
//! Adapters, banks of queries and settings come from the training images of the split alone. `dual-softmax` sees all
//! queries of the test at once, and is marked as transductive wherever it is told.

mod asked;
#[path = "../cli/mod.rs"]
mod cli;
mod method;
mod pictures;

use std::{ops::ControlFlow, path::PathBuf, process::ExitCode, time::Instant};

use clap::{Parser, ValueEnum};
use clip_adapter::{
    DeviceSpec, Error, Progress, Result, Run,
    burn::tensor::Device,
    evaluate::retrieval::{DirectionReport, RetrievalReport},
    features::{PairFile, Pairs, TestPairs},
    model::Save,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::Value;

use self::{
    asked::Question,
    method::{Fitted, Method},
};

/// Finds images by texts and texts by images, before and after a small adapter has learned from pairs.
#[derive(Parser)]
struct Arguments {
    /// A file of the format clip-pairs/1; small made-up pairs where none is given
    #[arg(long, value_name = "FILE")]
    pairs: Option<PathBuf>,
    /// In place of a file, pictures that are found by the names of their files: one sub-folder a kind
    #[arg(long, value_name = "FOLDER", conflicts_with = "pairs")]
    images: Option<PathBuf>,
    /// The CLIP that encodes pictures and questions, in the layout of Hugging Face or open_clip; the pocket model where none is given
    #[arg(long, value_name = "DIR", conflicts_with = "pairs")]
    backbone: Option<PathBuf>,
    /// Which images are learned from and which are scored: the file's split of this seed, or else halves drawn by it
    #[arg(long, value_name = "S", default_value_t = 1)]
    split_seed: u64,
    /// Learns from the first so many images of the training split; all where it is not given
    #[arg(long, value_name = "N")]
    train_pairs: Option<usize>,
    /// What to do; all of them, one after the other, where none is given
    #[arg(long, value_name = "METHOD")]
    method: Option<Method>,
    /// Overrides a setting of the method, such as sides=text; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "method")]
    settings: Vec<String>,
    #[command(flatten)]
    question: Question,
    /// Where to compute, such as flex, wgpu or cuda:0
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceSpec::default())]
    device: DeviceSpec,
    /// Writes the fitted adapter
    #[arg(long, value_name = "FILE", requires = "method")]
    save: Option<PathBuf>,
    /// Writes the whole result as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What one method gives.
#[derive(Serialize)]
struct Row {
    method: Method,
    settings: Value,
    chosen: Value,
    fit_seconds: f64,
    #[serde(flatten)]
    report: RetrievalReport,
}

/// What `--json` holds beside the row of a method, or the rows of all.
#[derive(Serialize)]
struct Outcome<T> {
    dataset: String,
    backbone: String,
    split_seed: u64,
    train_images: usize,
    train_texts: usize,
    device: String,
    zero_shot: RetrievalReport,
    #[serde(flatten)]
    found: T,
}

#[derive(Serialize)]
struct All {
    methods: Vec<Row>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    cli::run(|| retrieve(&arguments))
}

fn retrieve(arguments: &Arguments) -> Result<()> {
    cli::folders::check_for(&[arguments.save.as_ref(), arguments.json.as_ref()])?;
    let device = arguments.device.open()?;
    if let Some(answer) = arguments.question.answer(arguments.backbone.as_ref(), &device)? {
        return arguments.json.as_ref().map_or(Ok(()), |path| cli::files::write_json(path, &answer));
    }
    let methods = match arguments.method {
        Some(method) => vec![method],
        None => Method::value_variants().to_vec(),
    };
    if let (Some(path), Some(method)) = (&arguments.save, arguments.method)
        && !method.has_adapter()
    {
        return Err(Error::data(path.display().to_string(), "a method with an adapter to save", method));
    }
    let settings = arguments.settings.iter().map(|pair| method::setting(pair)).collect::<Result<Vec<_>>>()?;
    let file = match (&arguments.pairs, &arguments.images) {
        (Some(path), _) => PairFile::read(path)?,
        (None, Some(folder)) => pictures::by_name(folder, arguments.backbone.as_ref(), &device)?,
        (None, None) => PairFile::synthetic(0)?,
    };
    let (mut train, test) = file.split(arguments.split_seed)?;
    if let Some(count) = arguments.train_pairs {
        train = first(&train, count)?;
    }
    let zero_shot = clip_adapter::tasks::retrieval::evaluate(&test)?;
    println!("{}, {}, split {}", file.dataset(), train.backbone(), arguments.split_seed);
    println!(
        "learning from {} images with {} texts; {} texts in {} images, {:.2} an image\n",
        train.len(),
        train.texts().rows(),
        zero_shot.queries,
        zero_shot.gallery,
        zero_shot.captions_an_image
    );
    println!("{:<14} {:^31}  {:^31}", "", "text to image", "image to text");
    println!("{:<14} {HEADING}  {HEADING}", "");
    let mut rows = Vec::new();
    for method in methods {
        let row = row(method, &settings, &train, &test, &device, arguments)?;
        println!("{}", line(&row));
        rows.push(row);
    }
    let hubness = zero_shot.text_to_image.hubness;
    println!(
        "\nzero-shot: {} of {} images are the first answer of four texts or more, {} of none (skew {:.1})",
        hubness.hubs, zero_shot.gallery, hubness.never, hubness.skew
    );
    if let Some(path) = &arguments.json {
        let outcome = |found| Outcome {
            dataset: file.dataset().to_owned(),
            backbone: train.backbone().to_owned(),
            split_seed: arguments.split_seed,
            train_images: train.len(),
            train_texts: train.texts().rows(),
            device: arguments.device.to_string(),
            zero_shot,
            found,
        };
        let json = match arguments.method {
            Some(_) => serde_json::json!(outcome(serde_json::json!(rows.pop()))),
            None => serde_json::json!(outcome(serde_json::json!(All { methods: rows }))),
        };
        cli::files::write_json(path, &json)?;
    }
    Ok(())
}

/// The first images of a training split, which a draw has shuffled.
fn first(train: &Pairs, count: usize) -> Result<Pairs> {
    if count == 0 || count > train.len() {
        return Err(Error::setting("train-pairs", format!("1 to {} images", train.len()), count));
    }
    Ok(train.select(&(0..count).collect::<Vec<_>>()))
}

fn row(
    method: Method,
    settings: &[(String, Value)],
    train: &Pairs,
    test: &TestPairs,
    device: &Device,
    arguments: &Arguments,
) -> Result<Row> {
    let bar = ProgressBar::new(1000).with_style(
        ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}").expect("a valid template"),
    );
    let mut run = Run::new(device).on_progress(|progress: &Progress| {
        bar.set_position((1000.0 * progress.done) as u64);
        bar.set_message(format!("{method}: {}, epoch {}", progress.stage, progress.epoch));
        ControlFlow::Continue(())
    });
    let start = Instant::now();
    let Fitted { settings, chosen, adapter, score } = method.fit(settings, train, &mut run)?;
    let fit_seconds = start.elapsed().as_secs_f64();
    let report = score(test)?;
    drop(run);
    bar.finish_and_clear();
    if let (Some(path), Some(adapter)) = (&arguments.save, adapter) {
        adapter.save(path)?;
    }
    Ok(Row { method, settings, chosen, fit_seconds, report })
}

const HEADING: &str = "   R@1    R@5   R@10  MedR   MRR";

fn line(row: &Row) -> String {
    let side = |side: &DirectionReport| {
        let DirectionReport { r1, r5, r10, median_rank, mrr, .. } = side;
        format!("{r1:>6.2} {r5:>6.2} {r10:>6.2} {median_rank:>5.1} {mrr:>5.3}")
    };
    let (there, back) = (side(&row.report.text_to_image), side(&row.report.image_to_text));
    let note = match (row.report.transductive, row.chosen["kept"].as_bool()) {
        (true, _) => "  transductive: sees all queries at once",
        (_, Some(false)) => "  not kept: held-out pairs were found no better",
        _ => "",
    };
    format!("{:<14} {there}  {back}{note}", row.method.to_string())
}
