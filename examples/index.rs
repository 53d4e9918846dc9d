//! Keeps an index of a folder of images, and finds images in it by a sentence, an image, or both.
//!
//! ```text
//! cargo run --release --example index -- --backbone clip-vit-base-patch32 --images photos --out photos.index
//! cargo run --release --example index -- --backbone clip-vit-base-patch32 --out photos.index \
//!     --query "a red bicycle in the rain"
//! ```
//!
//! Run again with `--images`, it encodes only what is new or changed. A run that was interrupted goes on.

mod cli;

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use clap::Parser;
use clip_adapter::{
    ClipBackbone, DeviceSpec, Error, FeatureFile, Result,
    tasks::search::{Changes, Found, Index, Indexer, NpyType, PhotoIndex},
};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

/// Paths of each kind that are printed; the JSON has all.
const SHOWN: usize = 5;

/// Keeps an index of a folder of images, and finds images in it by a sentence, an image, or both.
#[derive(Parser)]
struct Arguments {
    /// A CLIP in the layout of Hugging Face or open_clip: a folder or, in a build with `hub`, its name there
    #[arg(long, value_name = "DIR|ORG/NAME", required_unless_present_any = ["features", "export"])]
    backbone: Option<PathBuf>,
    /// Images in this folder and its sub-folders: the index is built of them, or brought up to date
    #[arg(long, value_name = "FOLDER", requires = "backbone", conflicts_with = "features")]
    images: Option<PathBuf>,
    /// A feature file to make the index of, in place of a folder
    #[arg(long, value_name = "FILE")]
    features: Option<PathBuf>,
    /// The file of the index
    #[arg(long, value_name = "FILE", visible_alias = "index")]
    out: PathBuf,
    /// Images that are worked on before what is finished is kept
    #[arg(long, value_name = "IMAGES", default_value_t = 1024)]
    shard: usize,
    /// What to look for: an image file, or else a sentence
    #[arg(long, value_name = "TEXT|IMAGE", requires = "backbone")]
    query: Option<String>,
    /// What a sentence adds to a query that is an image: "but red"
    #[arg(long, value_name = "TEXT", requires = "query")]
    text: Option<String>,
    /// How much that sentence counts beside the image, 0 to 100
    #[arg(long, value_name = "WEIGHT", default_value_t = 1.0, requires = "text")]
    weight: f32,
    /// Images to find
    #[arg(long, value_name = "K", default_value_t = 10)]
    top: usize,
    /// Leaves the rows on disk: slower, with memory for the paths only
    #[arg(long)]
    on_disk: bool,
    /// Writes the rows for faiss and vector databases: as .npy with their paths beside it as .jsonl or, in a build with
    /// `parquet`, both as .parquet
    #[arg(long, value_name = "FILE.npy|FILE.parquet")]
    export: Option<PathBuf>,
    /// Exports a .npy file in 16 bits, which is what the index holds
    #[arg(long, requires = "export")]
    half: bool,
    /// Where to compute
    #[arg(long, value_name = "DEVICE", default_value_t)]
    device: DeviceSpec,
    /// Writes what changed and what was found as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    cli::run(|| index(&arguments))
}

fn index(arguments: &Arguments) -> Result<()> {
    let outs = [Some(&arguments.out), arguments.export.as_ref(), arguments.json.as_ref()];
    cli::folders::check_for(&outs)?;
    let clip = match &arguments.backbone {
        Some(folder) => Some(ClipBackbone::from_pretrained(folder, &arguments.device.open()?)?),
        None => None,
    };
    let (index, changes) = open(arguments, clip.as_ref())?;
    println!("{}: {} images, {} dimensions", arguments.out.display(), index.len(), index.dim());
    let mut found = Value::Null;
    if let (Some(query), Some(clip)) = (&arguments.query, &clip) {
        found = search(arguments, &index, clip, query)?;
    }
    if let Some(path) = &arguments.export {
        export(&index, path, arguments.half)?;
    }
    match &arguments.json {
        Some(path) => cli::files::write_json(
            path,
            &json!({
                "index": arguments.out, "backbone": index.backbone(), "images": index.len(), "dim": index.dim(),
                "changes": changes, "search": found,
            }),
        ),
        None => Ok(()),
    }
}

/// The index, after it was built or brought up to date where that is asked for.
fn open(arguments: &Arguments, clip: Option<&ClipBackbone>) -> Result<(PhotoIndex, Option<Changes>)> {
    match (&arguments.features, &arguments.images, clip) {
        (Some(features), ..) => {
            let index = PhotoIndex::of_features(&FeatureFile::read(features)?)?;
            index.write(&arguments.out)?;
            Ok((index, None))
        }
        (None, Some(images), Some(clip)) => {
            let style =
                ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}").expect("a valid template");
            let bar = ProgressBar::new(0).with_style(style);
            let indexer = Indexer::new(clip).shard(arguments.shard).on_progress(|now| {
                bar.set_length(now.total as u64);
                bar.set_position(now.done as u64);
                let left = now.seconds_left;
                bar.set_message(format!("{:.1} images/s  {left:.0} s left", now.images_per_second));
                ControlFlow::Continue(())
            });
            let result = indexer.run(images, &arguments.out);
            bar.finish_and_clear();
            let (index, changes) = result?;
            tell(&changes);
            Ok((index, Some(changes)))
        }
        (None, _, Some(clip)) if arguments.on_disk => {
            Ok((PhotoIndex::open_on_disk(&arguments.out, clip.identity())?, None))
        }
        (None, _, Some(clip)) => Ok((PhotoIndex::open(&arguments.out, clip.identity())?, None)),
        (None, _, None) => Ok((PhotoIndex::read(&arguments.out)?, None)),
    }
}

/// Writes the rows as the file's ending says.
fn export(index: &PhotoIndex, path: &Path, half: bool) -> Result<()> {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("npy") => {
            let names = path.with_extension("jsonl");
            index.rows().write_npy(path, if half { NpyType::F16 } else { NpyType::F32 })?;
            index.write_names(&names)?;
            println!("wrote {} and {}", path.display(), names.display());
            Ok(())
        }
        Some("parquet") if !half => export_parquet(index, path),
        _ => {
            let expected = if half { ".npy" } else { ".npy or .parquet" };
            let expected = format!("a name that ends in {expected}");
            Err(Error::data("export", expected, path.display()))
        }
    }
}

#[cfg(feature = "parquet")]
fn export_parquet(index: &PhotoIndex, path: &Path) -> Result<()> {
    index.write_parquet(path)?;
    println!("wrote {}", path.display());
    Ok(())
}

#[cfg(not(feature = "parquet"))]
fn export_parquet(_: &PhotoIndex, _: &Path) -> Result<()> {
    Err(Error::unsupported("export", ".npy", ".parquet, which needs the crate feature `parquet`"))
}

/// What an update found.
fn tell(changes: &Changes) {
    let Changes { added, changed, removed, renamed, unchanged, encoded, left_out, .. } = changes;
    let moved: Vec<String> = renamed.iter().map(|(from, to)| format!("{from} -> {to}")).collect();
    for (what, paths) in [("added", added), ("changed", changed), ("removed", removed), ("renamed", &moved)] {
        if !paths.is_empty() {
            println!("{what}: {}", paths.len());
            paths.iter().take(SHOWN).for_each(|path| println!("  {path}"));
            if let more @ 1.. = paths.len().saturating_sub(SHOWN) {
                println!("  and {more} more");
            }
        }
    }
    println!("unchanged: {unchanged}; encoded: {encoded}");
    left_out.iter().for_each(|left| eprintln!("left out: {}: {}", left.path, left.reason));
}

/// Prints the best, and gives them as JSON.
fn search(arguments: &Arguments, index: &PhotoIndex, clip: &ClipBackbone, query: &str) -> Result<Value> {
    let start = Instant::now();
    let is_image = Path::new(query).is_file();
    let found: Vec<Found> = match &arguments.text {
        Some(text) if is_image => {
            index.search_composed(clip, query, text, arguments.weight, arguments.top)?
        }
        Some(_) => return Err(Error::data("query with a text", "an image file", format!("`{query}`"))),
        None if is_image => index.search_image(clip, query, arguments.top)?,
        None => index.search_text(clip, query, arguments.top)?,
    };
    let seconds = start.elapsed().as_secs_f64();
    found.iter().for_each(|found| println!("  {:.4}  {}", found.score, found.path));
    let kind = if is_image { "image" } else { "text" };
    Ok(json!({
        "query": query, "kind": kind, "text": arguments.text,
        "weight": arguments.text.is_some().then_some(arguments.weight), "seconds": seconds, "found": found,
    }))
}
