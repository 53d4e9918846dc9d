//! Says what an adapter learned, and whether to trust it: a page to look at, and the same as JSON.
//!
//! ```text
//! cargo run --release --example explain -- --html page.html                     # a small made-up data set
//! cargo run --release --example explain -- --features photos.safetensors --shots 16 --method clip-adapter \
//!     --concepts words.safetensors --html page.html --json out.json
//! cargo run --release --example explain -- --images photos --backbone clip-vit-base-patch32 --concepts words.txt --html page.html
//! ```

mod chart;
#[path = "../cli/mod.rs"]
mod cli;
mod data;
mod outcome;
mod page;
mod parts;
mod pictures;
mod study;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use clip_adapter::{DeviceSpec, Result, train::Registry};

/// Says what an adapter learned, and whether to trust it.
#[derive(Parser)]
struct Arguments {
    /// A file of the format clip-features/1; a small made-up data set where neither this nor --images is given
    #[arg(long, value_name = "FILE", conflicts_with = "images")]
    features: Option<PathBuf>,
    /// One sub-folder a class: shots are drawn, and all other images are asked about
    #[arg(long, value_name = "FOLDER")]
    images: Option<PathBuf>,
    /// A CLIP in the layout of Hugging Face or open_clip, for --images; the pocket model where none is given
    #[arg(long, value_name = "DIR", requires = "images", conflicts_with = "features")]
    backbone: Option<PathBuf>,
    /// How the classes of --images are asked for: a named set of prompts such as imagenet-80, or a file
    #[arg(long, value_name = "NAME|FILE", requires = "images", conflicts_with = "features")]
    prompts: Option<String>,
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
    /// The split of --features to ask about
    #[arg(long, value_name = "SPLIT", default_value = "test", conflicts_with = "images")]
    test_split: String,
    /// Words to read features by beside the class names: with --features a feature file whose classes are words, with
    /// --images a file of words, a JSON array (.json) or one a line
    #[arg(long, value_name = "FILE")]
    concepts: Option<PathBuf>,
    /// The larger, the fewer words a feature is made of
    #[arg(long, value_name = "X", default_value_t = 0.2)]
    lambda: f64,
    /// From which cosine on an image and a shot may be the same picture
    #[arg(long, value_name = "COSINE", default_value_t = 0.98)]
    duplicates: f64,
    /// What the learning curve is measured with: it takes some twenty fits
    #[arg(long, value_name = "NAME", default_value = "auto")]
    curve: String,
    /// Where to compute, such as flex, wgpu or cuda:0
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceSpec::default())]
    device: DeviceSpec,
    /// Writes the whole result as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes one page that needs no other file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Every method there is, so that none is forgotten here.
fn methods() -> String {
    format!("What to fit: {}", Registry::builtin().names().join(", "))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    cli::run(|| explain(&arguments))
}

fn explain(arguments: &Arguments) -> Result<()> {
    cli::folders::check_for(&[arguments.json.as_ref(), arguments.html.as_ref()])?;
    let device = arguments.device.open()?;
    let data = data::open(arguments, &device)?;
    let outcome = study::run(arguments, &data, &device)?;
    outcome.print();
    if let Some(path) = &arguments.json {
        cli::files::write_json(path, &outcome.json())?;
    }
    if let Some(path) = &arguments.html {
        cli::files::write(path, page::render(&outcome, &data))?;
        println!("\nopen {}", path.display());
    }
    Ok(())
}
