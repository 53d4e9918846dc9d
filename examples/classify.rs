//! Names images by an adapter that `train_folder`, `few_shot` or `quickstart` wrote: labels with probabilities.
//!
//! ```text
//! cargo run --release --example classify -- --backbone clip-vit-base-patch32 --adapter photos.adapter.safetensors \
//!     --images new/*.jpg
//! ```
//!
//! The file knows its classes and prompts. An adapter of another backbone is refused.

mod cli;

use std::{num::NonZeroUsize, path::PathBuf, process::ExitCode};

use clap::Parser;
use clip_adapter::{DeviceSpec, Result, input::readable, model::Saved, tasks::Predictor};
use serde_json::json;

/// Names images by an adapter file.
#[derive(Parser)]
struct Arguments {
    /// The CLIP that the adapter was trained on; with the feature `hub` also ORG/NAME
    #[arg(long, value_name = "DIR")]
    backbone: PathBuf,
    /// The adapter file
    #[arg(long, value_name = "FILE")]
    adapter: PathBuf,
    /// Image files
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    images: Vec<PathBuf>,
    /// Classes shown of each image
    #[arg(long, value_name = "K", default_value = "3")]
    top: NonZeroUsize,
    /// Where to compute
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceSpec::default())]
    device: DeviceSpec,
    #[command(flatten)]
    precision: cli::precision::InPrecision,
    /// Writes the table as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    cli::run(|| classify(&arguments))
}

fn classify(arguments: &Arguments) -> Result<()> {
    Saved::open(&arguments.adapter)?; // the smaller of the two, so that a wrong path is told at once
    let clip = arguments.precision.open(&arguments.backbone, &arguments.device.open()?)?;
    let predictor = Predictor::load(clip, &arguments.adapter)?;
    let top = predictor.predict_all(&arguments.images, arguments.top.get())?;
    let results: Vec<_> =
        arguments.images.iter().zip(&top).map(|(file, top)| cli::labels::tell(file, top)).collect();
    let Some(path) = &arguments.json else { return Ok(()) };
    let all = json!({
        "backbone": predictor.clip().identity(),
        "precision": predictor.clip().precision().to_string(),
        "adapter": readable(&arguments.adapter),
        "classes": predictor.class_names(),
        "device": arguments.device.to_string(),
        "images": results,
    });
    cli::files::write_json(path, &all)
}
