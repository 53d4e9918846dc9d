//! Encodes folders of images once, to a feature file that all the other examples read.
//!
//! ```text
//! cargo run --release --example extract_features -- --backbone clip-vit-base-patch32 --images photos \
//!     --out photos.safetensors
//! ```
//!
//! With `--store` an interrupted run goes on where it was. On a cluster, each task of an array job extracts a part,
//! and one more run puts them together:
//!
//! ```text
//! extract_features --backbone B --images photos --store work --part $TASK/8
//! extract_features --backbone B --images photos --store work --merge --out photos.safetensors
//! ```
//!
//! With `--captions` the images have sentences in place of classes, and the file holds pairs for `retrieve`.

mod captions;
#[path = "../cli/mod.rs"]
mod cli;

use std::{
    cell::Cell,
    env,
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use clip_adapter::{
    ClipBackbone, DeviceSpec, Error, FeatureFile, Prompts, Result,
    extract::{Broken, Extraction, Store},
    input::{ImageFolder, ImageSource, readable},
};
use indicatif::{ProgressBar, ProgressStyle};

/// Encodes folders of images once, to a feature file that all the other examples read.
#[derive(Parser)]
struct Arguments {
    /// A CLIP in the layout of Hugging Face or open_clip: a folder or, in a build with `hub`, its name there
    #[arg(long, value_name = "DIR|ORG/NAME")]
    backbone: PathBuf,
    /// One sub-folder a class, or `train`, `val` and `test` with one a class each
    #[arg(long, value_name = "FOLDER")]
    images: PathBuf,
    /// Pairs images with captions: `beside` takes the .txt beside each image, one caption a line; else a file of one of
    /// the kinds that data sets have (JSONL, CSV, COCO, Flickr)
    #[arg(long, value_name = "FILE|beside", conflicts_with_all = ["prompts", "part", "merge"])]
    captions: Option<String>,
    /// Only the images that the captions' file gives to this part of the data set, such as test
    #[arg(long, value_name = "SPLIT", requires = "captions")]
    only: Option<String>,
    /// Prompt templates with {} where the class name goes: a file with one a line, or the name of a published set
    #[arg(long, value_name = "FILE|NAME")]
    prompts: Option<String>,
    /// Where to compute; several devices, separated by commas, work side by side
    #[arg(long, value_name = "DEVICE", value_delimiter = ',', default_values_t = [DeviceSpec::default()])]
    device: Vec<DeviceSpec>,
    #[command(flatten)]
    precision: cli::precision::InPrecision,
    /// The feature file to write
    #[arg(long, value_name = "FILE", required_unless_present = "part")]
    out: Option<PathBuf>,
    /// Keeps finished features here, and goes on from them; with --merge it may be given several times
    #[arg(long, value_name = "DIR")]
    store: Vec<PathBuf>,
    /// Images in one file of the store
    #[arg(long, value_name = "IMAGES", requires = "store")]
    shard: Option<usize>,
    /// Images encoded at once
    #[arg(long, value_name = "IMAGES")]
    batch: Option<usize>,
    /// Threads that decode and resize; one for each core where none is given
    #[arg(long, value_name = "THREADS")]
    workers: Option<usize>,
    /// Leaves out images that cannot be decoded, and says which
    #[arg(long)]
    skip_broken: bool,
    /// Extracts only part I of N into the store, and writes no feature file
    #[arg(long, value_name = "I/N", value_parser = part, requires = "store", conflicts_with_all = ["merge", "out"])]
    part: Option<(usize, usize)>,
    /// Extracts nothing: writes the feature file from the parts in the stores
    #[arg(long, requires = "store")]
    merge: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    cli::run_with_skip_broken(|| extract(&arguments))
}

impl Arguments {
    /// One copy of the backbone a device.
    fn clips(&self) -> Result<Vec<ClipBackbone>> {
        let load = |device: &DeviceSpec| self.precision.open(&self.backbone, &device.open()?);
        self.device.iter().map(load).collect()
    }
}

fn extract(arguments: &Arguments) -> Result<()> {
    if let (Some(captions), Some(out)) = (&arguments.captions, &arguments.out) {
        return captions::write(arguments, captions, out);
    }
    let prompts = prompts(arguments.prompts.as_deref())?;
    let splits = splits(&arguments.images, arguments.skip_broken)?;
    cli::folders::check_for(&[arguments.out.as_ref()])?;
    let clips = arguments.clips()?;
    let temporary = tempfile::tempdir().map_err(|source| Error::write(env::temp_dir(), source))?;
    let stores = match &arguments.store[..] {
        [] => vec![temporary.path().to_owned()],
        [_, _, ..] if !arguments.merge => {
            return Err(Error::setting("store", "one folder without --merge", arguments.store.len()));
        }
        stores => stores.to_vec(),
    };
    if !arguments.merge {
        for (split, images) in &splits {
            fill(arguments, &clips, &stores[0].join(split), split, images)?;
        }
    }
    match &arguments.out {
        Some(out) => write(arguments, &clips[0], &prompts, &splits, &stores, out),
        None => Ok(()),
    }
}

/// Extracts one split into its store.
fn fill(
    arguments: &Arguments,
    clips: &[ClipBackbone],
    store: &Path,
    split: &str,
    images: &ImageFolder,
) -> Result<()> {
    let (bar, rate) = (ProgressBar::new(0), Rate::default());
    let mut extraction = extraction(arguments, clips, split, &bar, &rate).store(store);
    if let Some((index, count)) = arguments.part {
        extraction = extraction.part(index, count);
    }
    let result = extraction.fill(images);
    bar.finish_and_clear();
    result?;
    rate.tell(split);
    Ok(())
}

/// Images a second, as it was last.
#[derive(Default)]
struct Rate(Cell<f64>);

impl Rate {
    /// Says it, and nothing where a store had everything.
    fn tell(&self, split: &str) {
        if self.0.get() > 0.0 {
            eprintln!("{split}: {:.1} images/s", self.0.get());
        }
    }
}

/// How to extract, with a bar that shows the rate and the time left.
fn extraction<'a>(
    arguments: &Arguments,
    clips: &'a [ClipBackbone],
    split: &str,
    bar: &'a ProgressBar,
    rate: &'a Rate,
) -> Extraction<'a> {
    let style =
        ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len}  {msg}").expect("a valid template");
    bar.set_style(style);
    bar.set_prefix(split.to_owned());
    let (first, others) = clips.split_first().expect("a default device");
    let mut extraction = first
        .extract()
        .also_on(others)
        .on_broken(if arguments.skip_broken { Broken::Skip } else { Broken::Fail })
        .on_skip(|_, error| bar.suspend(|| eprintln!("skipped: {error}")))
        .on_progress(|now| {
            bar.set_length(now.total as u64);
            bar.set_position(now.done as u64);
            rate.0.set(now.images_per_second);
            bar.set_message(format!("{:.1} images/s  {:.0} s left", now.images_per_second, now.seconds_left));
            ControlFlow::Continue(())
        });
    if let Some(workers) = arguments.workers {
        extraction = extraction.workers(workers);
    }
    if let Some(batch) = arguments.batch {
        extraction = extraction.batch(batch);
    }
    if let Some(shard) = arguments.shard {
        extraction = extraction.shard(shard);
    }
    extraction
}

/// Writes the feature file from complete stores, a shard at a time.
fn write(
    arguments: &Arguments,
    clip: &ClipBackbone,
    prompts: &Prompts,
    splits: &[(String, ImageFolder)],
    stores: &[PathBuf],
    out: &Path,
) -> Result<()> {
    let opened = splits.iter().map(|(split, images)| {
        let folders: Vec<PathBuf> = stores.iter().map(|store| store.join(split)).collect();
        Ok((split.as_str(), Store::open(&folders, clip.identity())?, images))
    });
    let opened = opened.collect::<Result<Vec<_>>>()?;
    let mut counts = vec![0; splits[0].1.class_names().len()];
    for (_, store, images) in &opened {
        counts.iter_mut().zip(store.class_counts(*images)?).for_each(|(all, count)| *all += count);
    }
    let (read, unread): (Vec<_>, Vec<_>) =
        splits[0].1.class_names().iter().cloned().zip(counts).partition(|(_, count)| *count > 0);
    let names = |classes: Vec<(String, usize)>| classes.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let (classes, unread) = (names(read), names(unread));
    cli::folders::say_left_out(&unread);
    if classes.len() == 1 {
        eprintln!("classes: {}", cli::folders::alone(&classes));
    }
    let dataset = readable(arguments.images.file_name().unwrap_or_default());
    let file = FeatureFile::new(dataset, clip.text_classifier(&classes, prompts)?);
    let named: Vec<(&str, &Store, &dyn ImageSource)> =
        opened.iter().map(|(split, store, images)| (*split, store, *images as _)).collect();
    file.write_with(out, &named)?;
    let images: usize = opened.iter().map(|(_, store, _)| store.len()).sum();
    let listed: usize = opened.iter().map(|(.., images)| images.len()).sum();
    let skipped = listed - images;
    println!(
        "wrote {}: {images} images ({skipped} skipped), {} classes, {} prompts",
        out.display(),
        classes.len(),
        prompts.templates().len()
    );
    Ok(())
}

/// The splits that are there, which have the same classes; a folder without any is `train`.
fn splits(root: &Path, skip_broken: bool) -> Result<Vec<(String, ImageFolder)>> {
    let mut found = ImageFolder::splits(root)?;
    if found.is_empty() {
        found.push(("train", root.to_owned()));
    }
    let open = |(split, folder): (&str, PathBuf)| {
        Ok((split.to_owned(), cli::folders::open_with(&folder, skip_broken)?))
    };
    let mut splits = found.into_iter().map(open).collect::<Result<Vec<_>>>()?;
    if skip_broken {
        // A class that is left out of one is left out of all.
        let names: Vec<Vec<String>> =
            splits.iter().map(|(_, images)| images.class_names().to_vec()).collect();
        let in_all = |name: &str| names.iter().all(|names| names.iter().any(|known| known == name));
        splits = splits.into_iter().map(|(split, images)| (split, images.retain_classes(in_all))).collect();
    }
    for (split, images) in &splits {
        cli::folders::check_same_classes(split, splits[0].1.class_names(), images.class_names())?;
    }
    Ok(splits)
}

/// A published set by its name, or a file: anything with a dot or a path separator.
fn prompts(source: Option<&str>) -> Result<Prompts> {
    match source {
        None => Ok(Prompts::default()),
        Some(path) if path.contains(['.', '/', '\\']) || Path::new(path).is_file() => Prompts::read(path),
        Some(name) => Prompts::named(name),
    }
}

/// `3/8` is part 3 of 8.
fn part(text: &str) -> std::result::Result<(usize, usize), String> {
    let numbers =
        text.split_once('/').and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)));
    match numbers {
        Some((index, count)) if (1..=count).contains(&index) => Ok((index, count)),
        _ => Err("expected I/N with I from 1 to N, such as 3/8".into()),
    }
}
