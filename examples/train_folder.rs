//! Makes a classifier of a folder of images: one sub-folder a class in, an adapter file out.
//!
//! ```text
//! cargo run --release --example train_folder -- --backbone clip-vit-base-patch32 --images photos \
//!     --out photos.adapter.safetensors
//! ```
//!
//! All images are learned from. The example `classify` then names other images; `quickstart` holds images out and
//! says what was gained.

mod cli;

use std::{ops::ControlFlow, path::PathBuf, process::ExitCode, time::Instant};

use clap::Parser;
use clip_adapter::{
    ClipBackbone, DeviceSpec, Progress, Prompts, Result, Run, Support,
    extract::{Broken, Extracted},
    input::ImageFolder,
    model::Save,
    train::{MethodSpec, Registry},
};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

/// Makes a classifier of a folder of images.
#[derive(Parser)]
struct Arguments {
    /// A CLIP in the layout of Hugging Face or open_clip; with the feature `hub` also ORG/NAME
    #[arg(long, value_name = "DIR")]
    backbone: PathBuf,
    /// One sub-folder a class, which gives the class its name
    #[arg(long, value_name = "FOLDER")]
    images: PathBuf,
    /// What to fit, such as auto, clip-adapter or tip-adapter
    #[arg(long, value_name = "NAME", default_value = "auto")]
    method: String,
    /// Overrides a setting of the method, such as ratio=0.8; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// A named set of prompts such as imagenet-80, or a file: a JSON array (.json) or one a line, each with {} where
    /// the class name goes
    #[arg(long, value_name = "NAME|FILE", default_value = "single")]
    prompts: String,
    /// Fixes the method's random numbers
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Gives every class the same weight, however many images it has
    #[arg(long)]
    balanced: bool,
    /// Leaves out images that cannot be decoded, and says which
    #[arg(long)]
    skip_broken: bool,
    /// Where to compute
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceSpec::default())]
    device: DeviceSpec,
    #[command(flatten)]
    precision: cli::precision::InPrecision,
    /// The adapter file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Writes what was done as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    cli::run_with_skip_broken(|| train(&arguments))
}

fn train(arguments: &Arguments) -> Result<()> {
    let spec = MethodSpec::new(&arguments.method);
    let spec = arguments.settings.iter().try_fold(spec, |spec, pair| spec.set(pair))?;
    let method = spec.seeded(arguments.seed).method(&Registry::builtin())?;
    let prompts = Prompts::find(&arguments.prompts)?;
    let folder = cli::folders::open_with(&arguments.images, arguments.skip_broken)?;
    cli::folders::check_classes(folder.class_names())?;
    cli::folders::check_for(&[Some(&arguments.out), arguments.json.as_ref()])?;
    let device = arguments.device.open()?;
    let clip = arguments.precision.open(&arguments.backbone, &device)?;

    let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}").expect("a valid template");
    let bar = ProgressBar::new(1000).with_style(style);
    let start = Instant::now();
    let extracted = encode(arguments, &clip, &folder, &bar)?;
    let encode_seconds = start.elapsed().as_secs_f64();
    let (images, skipped) = (extracted.keys.len(), extracted.skipped.len());
    let (set, unread) = extracted.labelled()?.without_empty_classes();
    cli::folders::say_left_out(&unread);
    cli::folders::check_classes(set.class_names())?;
    let classes = clip.text_classifier(set.class_names(), &prompts)?;
    let mut support = Support::new(set)?;
    let counts = support.set().class_counts();
    if arguments.balanced {
        support = support.balanced();
    }
    let mut run = Run::new(&device).on_progress(|progress: &Progress| {
        bar.set_position((1000.0 * progress.done) as u64);
        bar.set_message(format!("{}, epoch {}", progress.stage, progress.epoch));
        ControlFlow::Continue(())
    });
    let start = Instant::now();
    let model = method.fit_any(&support, &classes, &mut run)?;
    let fit_seconds = start.elapsed().as_secs_f64();
    bar.finish_and_clear();
    model.save(&arguments.out)?;
    println!(
        "{}: {} classes, {images} images ({skipped} skipped), encoded in {encode_seconds:.1} s, {} fitted in \
         {fit_seconds:.1} s\nwrote {}",
        arguments.images.display(),
        classes.class_names().len(),
        method.name(),
        arguments.out.display()
    );
    let Some(path) = &arguments.json else { return Ok(()) };
    let outcome = json!({
        "backbone": clip.identity(),
        "precision": clip.precision().to_string(),
        "classes": classes.class_names(),
        "class_images": counts,
        "prompts": prompts.templates(),
        "images": images,
        "skipped": skipped,
        "method": method.name(),
        "settings": method.settings(),
        "chosen": model.chosen(),
        "device": arguments.device.to_string(),
        "encode_seconds": encode_seconds,
        "fit_seconds": fit_seconds,
    });
    cli::files::write_json(path, &outcome)
}

fn encode(
    arguments: &Arguments,
    clip: &ClipBackbone,
    folder: &ImageFolder,
    bar: &ProgressBar,
) -> Result<Extracted> {
    let extraction = clip
        .extract()
        .on_broken(if arguments.skip_broken { Broken::Skip } else { Broken::Fail })
        .on_skip(|_, error| bar.suspend(|| eprintln!("skipped: {error}")))
        .on_progress(|now| {
            bar.set_position((1000 * now.done / now.total.max(1)) as u64);
            bar.set_message(format!("encoding, {:.0} s left", now.seconds_left));
            ControlFlow::Continue(())
        });
    extraction.run(folder)
}
