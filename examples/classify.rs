//! Names images by an adapter that `train_folder`, `few_shot` or `quickstart` wrote: labels with probabilities.
//!
//! ```text
//! cargo run --release --example classify -- --backbone clip-vit-base-patch32 --adapter photos.adapter.safetensors \
//!     --images new/*.jpg
//! ```
//!
//! The file knows its classes and prompts. An adapter of another backbone is refused.

mod cli;
#[path = "cli/files.rs"]
mod files;
#[path = "cli/labels.rs"]
mod labels;

use std::{
    fs,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use clip_adapter::{ClipBackbone, DeviceSpec, Error, ExtractOptions, Fingerprint, Result, methods};
use safetensors::SafeTensors;
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
    /// Writes the table as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    cli::run(|| classify(&arguments))
}

fn classify(arguments: &Arguments) -> Result<()> {
    let (classes, prompts) =
        (texts(&arguments.adapter, "class_names")?, texts(&arguments.adapter, "prompts")?);
    let device = arguments.device.open()?;
    let clip = ClipBackbone::from_pretrained(&arguments.backbone, &device)?;
    let expected = Fingerprint::new(clip.identity(), &prompts, &classes);
    let model = methods::load(&arguments.adapter, &expected, &device)?;
    let images = clip.extract_files(&arguments.images, ExtractOptions::default())?;
    let mut results = Vec::new();
    for (file, probabilities) in images.files.iter().zip(model.score(&images.features)?.probabilities()) {
        results.push(labels::tell(file, &probabilities, &classes, arguments.top.get()));
    }
    let Some(path) = &arguments.json else { return Ok(()) };
    let all = json!({
        "backbone": clip.identity(),
        "adapter": arguments.adapter,
        "classes": classes,
        "device": arguments.device.to_string(),
        "images": results,
    });
    files::write(path, format!("{all:#}\n"))
}

/// A list of texts in the metadata of an adapter file. Whether the file is sound is for the library to say.
fn texts(path: &Path, key: &str) -> Result<Vec<String>> {
    let bytes = fs::read(path).map_err(|source| Error::Read { path: path.into(), source })?;
    let malformed = |part: String, expected: &str, found: String| Error::Malformed {
        path: path.into(),
        part,
        expected: expected.into(),
        found,
    };
    let (_, header) = SafeTensors::read_metadata(&bytes)
        .map_err(|error| malformed("file".into(), "a whole safetensors file", error.to_string()))?;
    let text = header.metadata().as_ref().and_then(|metadata| metadata.get(key));
    let part = format!("metadata `{key}`");
    let Some(text) = text else { return Err(malformed(part, "to be there", "none".into())) };
    serde_json::from_str(text).map_err(|error| malformed(part, "a list of texts", error.to_string()))
}
