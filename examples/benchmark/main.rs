//! Compares methods over data sets, shots and seeds: tables, JSON, and accuracy over shots as a picture.
//!
//! ```text
//! cargo run --release --example benchmark -- --features features/ --json out.json --svg out.svg
//! cargo run --release --example benchmark -- --features features/ --methods zero-shot,clip-adapter:ratio=0.8
//! cargo run --release --example benchmark -- --features features/ --resume runs.jsonl --markdown
//! ```
//!
//! Several fits run at a time, each on one thread, so that no number but the seconds depends on `--jobs`. Interrupt
//! it when you like: with `--resume`, what was finished is not done again.

#[path = "../cli/mod.rs"]
mod cli;
mod data;
mod jobs;
mod picture;
mod resume;
mod summary;
mod table;
mod trial;

use std::{num::NonZeroUsize, path::PathBuf, process::ExitCode, thread};

use clap::Parser;
use clip_adapter::{DeviceSpec, Protocol, Result};

use self::{resume::Journal, summary::Summary};

/// Compares methods over data sets, shots and seeds.
#[derive(Parser)]
struct Arguments {
    /// Files of the format clip-features/1, or folders of them
    #[arg(long, value_name = "PATH", num_args = 1.., required = true)]
    features: Vec<PathBuf>,
    /// `all`, of which ensemble takes longest, eight fits of clip-adapter; or methods with settings, such as
    /// clip-adapter:ratio=0.8:epochs=50
    #[arg(long, value_name = "METHODS", value_delimiter = ',', default_value = "all")]
    methods: Vec<String>,
    /// Training images of each class
    #[arg(long, value_name = "K", value_delimiter = ',', default_value = "1,2,4,8,16")]
    shots: Vec<usize>,
    /// Each fixes which images are drawn, and the methods' own random numbers
    #[arg(long, value_name = "S", value_delimiter = ',', default_value = "1,2,3")]
    seeds: Vec<u64>,
    /// What settings may be chosen with: validation-free, few-shot-validation, or oracle, which chooses on the
    /// test set, only reproduces published tables, and is labelled so
    #[arg(long, value_name = "PROTOCOL", default_value_t = Protocol::ValidationFree)]
    protocol: Protocol,
    /// The split to score on
    #[arg(long, value_name = "SPLIT", default_value = "test")]
    test_split: String,
    /// Where to compute, such as flex, wgpu or cuda:0
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceSpec::default())]
    device: DeviceSpec,
    /// Fits that run at a time, each on one thread; as many as there are cores where it is not given, and 1 for
    /// seconds that no other fit disturbs
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Adds every finished run to this file, a line each, and does not do again what it holds
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    /// Prints the summary alone: mean accuracies over the data sets, mean ranks and seconds
    #[arg(long)]
    markdown: bool,
    /// Writes every run, means and standard deviations, and ranks as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draws accuracy over shots
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

impl Arguments {
    fn jobs(&self) -> usize {
        let cores = || thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        self.jobs.unwrap_or_else(cores).get()
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    cli::run(|| benchmark(&arguments))
}

fn benchmark(arguments: &Arguments) -> Result<()> {
    // What can be wrong with the arguments is told before the first fit.
    arguments.device.open()?;
    let entries = trial::entries(&arguments.methods)?;
    let datasets = data::read(&arguments.features, &arguments.test_split)?;
    let trials = trial::all(&datasets, &entries, arguments);
    let mut journal = match &arguments.resume {
        Some(path) => Some(Journal::open(path, arguments, &datasets)?),
        None => None,
    };
    let outcomes = jobs::run(arguments, &trials, journal.as_mut())?;
    let summary = Summary::new(&outcomes);
    if !arguments.markdown {
        print!("{}{}", table::accuracies(&outcomes), table::measures(&summary));
    }
    print!("{}", table::overview(&outcomes, &summary));
    if let Some(path) = &arguments.json {
        let whole = serde_json::json!({
            "protocol": arguments.protocol,
            "runs": outcomes,
            "summary": summary.cells,
            "ranks": summary.ranks,
        });
        cli::files::write_json(path, &whole)?;
    }
    if let Some(path) = &arguments.svg {
        cli::files::write(path, picture::draw(&outcomes))?;
    }
    Ok(())
}
