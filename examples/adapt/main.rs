//! Moves a classifier to images of another domain, of which none is labelled.
//!
//! ```text
//! cargo run --release --example adapt                                            # a small made-up data set
//! cargo run --release --example adapt -- --features a-to-b.safetensors --shots 8 --compare --html page.html
//! cargo run --release --example adapt -- --backbone clip-vit-base-patch32 --adapter a.safetensors --images b \
//!     --out b.safetensors
//! cargo run --release --example adapt -- --backbone clip-vit-base-patch32 --classes cat,dog,fox --images b --out b.safetensors
//! ```

mod baselines;
#[path = "../cli/mod.rs"]
mod cli;
mod features;
mod folder;
mod outcome;
mod page;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use clip_adapter::{
    DeviceSpec, Error, Result,
    tasks::unlabelled::{DomainAdapter, Mode},
};

/// Moves a classifier to images of another domain, of which none is labelled.
#[derive(Parser)]
struct Arguments {
    /// A file of the format clip-features/1: its split `train` is the labelled source, `test` the target, whose labels
    /// only score; a small made-up data set where neither this nor --backbone is given
    #[arg(long, value_name = "FILE", conflicts_with = "backbone")]
    features: Option<PathBuf>,
    /// Labelled source images of each class; all of them where none is given
    #[arg(long, value_name = "K", conflicts_with_all = ["no_source", "backbone"])]
    shots: Option<usize>,
    /// Fixes which source images are drawn, and the teacher
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Leaves out the source: names of classes and images of the target are all there is
    #[arg(long, conflicts_with = "backbone")]
    no_source: bool,
    /// Drops classes that hardly any image of the target seems to be of; needs a source
    #[arg(long)]
    absent_classes: bool,
    /// Which images serve as shots of a class: auto, balanced or proportional; source takes none
    #[arg(long, value_name = "MODE", default_value = "auto")]
    mode: String,
    /// Scores what others do beside it: CLIP-Adapter and GDA on the source, mean shift, CORAL, distribution
    /// normalisation, TransCLIP, pseudo-labels
    #[arg(long, conflicts_with = "backbone")]
    compare: bool,
    /// A CLIP in the layout of Hugging Face or open_clip, to encode a folder of images of the target
    #[arg(long, value_name = "DIR", requires = "images", requires = "out")]
    backbone: Option<PathBuf>,
    /// An adapter file of the source, fitted on this backbone
    #[arg(long, value_name = "FILE", requires = "backbone", conflicts_with = "classes")]
    adapter: Option<PathBuf>,
    /// In the place of an adapter: class names with commas between, or a file: a JSON array (.json) or one a line
    #[arg(long, value_name = "A,B,C|FILE", requires = "backbone")]
    classes: Option<String>,
    /// How the classes are asked for: a named set of prompts such as imagenet-80, or a file
    #[arg(long, value_name = "NAME|FILE", default_value = "single")]
    prompts: String,
    /// A folder of images of the target, with or without sub-folders; where these are called like the classes, they score
    #[arg(long, value_name = "FOLDER", requires = "backbone")]
    images: Option<PathBuf>,
    /// The adapter file to write for the target
    #[arg(long, visible_alias = "save", value_name = "FILE")]
    out: Option<PathBuf>,
    /// Where to compute, such as flex, wgpu or cuda:0
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceSpec::default())]
    device: DeviceSpec,
    /// Writes the whole result as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes a page to look at
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

impl Arguments {
    fn settings(&self) -> Result<DomainAdapter> {
        let mode = match self.mode.as_str() {
            "auto" => Mode::Auto,
            "balanced" => Mode::Balanced,
            "proportional" => Mode::Proportional,
            "source" => Mode::Source,
            other => {
                let expected = "auto, balanced, proportional or source";
                return Err(Error::setting("mode", expected, format!("`{other}`")));
            }
        };
        Ok(DomainAdapter { mode, absent_classes: self.absent_classes, seed: self.seed, ..Default::default() })
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    cli::run(|| adapt(&arguments))
}

fn adapt(arguments: &Arguments) -> Result<()> {
    let settings = arguments.settings()?;
    cli::folders::check_for(&[arguments.out.as_ref(), arguments.json.as_ref(), arguments.html.as_ref()])?;
    let outcome = match &arguments.backbone {
        None => features::adapt(arguments, &settings)?,
        Some(backbone) => folder::adapt(arguments, &settings, backbone)?,
    };
    outcome.print();
    if let Some(path) = &arguments.json {
        cli::files::write_json(path, &outcome.json())?;
    }
    if let Some(path) = &arguments.html {
        cli::files::write(path, page::render(&outcome))?;
        println!("\nopen {}", path.display());
    }
    Ok(())
}
