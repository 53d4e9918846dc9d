//! Says what is on images, of classes that are only named: CLIP as it is, without any training.
//!
//! ```text
//! cargo run --release --example zero_shot -- --backbone clip-vit-base-patch32 --classes cat,dog,fox --images *.jpg
//! ```

mod cli;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use clip_adapter::{DeviceSpec, Error, Prompts, Result, evaluate::Logits, input::read_texts};
use serde_json::json;

/// Classes shown of each image.
const TOP: usize = 5;

/// Says what is on images, of classes that are only named.
#[derive(Parser)]
struct Arguments {
    /// A CLIP in the layout of Hugging Face or open_clip; with the feature `hub` also ORG/NAME
    #[arg(long, value_name = "DIR")]
    backbone: PathBuf,
    /// Class names with commas between, or a file: a JSON array (.json) or one a line
    #[arg(long, value_name = "A,B,C|FILE")]
    classes: String,
    /// A named set of prompts such as imagenet-80, or a file: a JSON array (.json) or one a line, each with {} where
    /// the class name goes
    #[arg(long, value_name = "NAME|FILE", default_value = "single")]
    prompts: String,
    /// Image files
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    images: Vec<PathBuf>,
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
    cli::run(|| zero_shot(&arguments))
}

fn zero_shot(arguments: &Arguments) -> Result<()> {
    let (classes, prompts) = (classes(&arguments.classes)?, Prompts::find(&arguments.prompts)?);
    let device = arguments.device.open()?;
    let clip = arguments.precision.open(&arguments.backbone, &device)?;
    let classifier = clip.text_classifier(&classes, &prompts)?;
    let images = clip.encode_images(&arguments.images)?;
    let logits = classifier.logits(images.tensor(&device)).try_into_vec_as::<f32>();
    let logits = logits.map_err(|error| Error::execution("scoring", error))?;
    let top = Logits::new(logits, classes.len())?.top(TOP, &classes);
    let results: Vec<_> =
        arguments.images.iter().zip(&top).map(|(file, top)| cli::labels::tell(file, top)).collect();
    if let Some(path) = &arguments.json {
        let all = json!({
            "backbone": clip.identity(),
            "precision": clip.precision().to_string(),
            "classes": classes,
            "prompts": prompts.templates(),
            "device": arguments.device.to_string(),
            "images": results,
        });
        cli::files::write_json(path, &all)?;
    }
    Ok(())
}

fn classes(text: &str) -> Result<Vec<String>> {
    let names = match Path::new(text).is_file() {
        true => read_texts(text)?,
        false => text.split(',').map(String::from).collect(),
    };
    let names: Vec<String> =
        names.iter().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect();
    match names.len() {
        2.. => Ok(names),
        _ => {
            let expected = "two names or more, or a file of them";
            Err(Error::setting("classes", expected, cli::folders::alone(&names)))
        }
    }
}
