//! Encodes folders of images once, to a feature file that all the other examples read.
//!
//! ```text
//! cargo run --release --example extract_features -- --backbone clip-vit-base-patch32 --images photos \
//!     --out photos.safetensors
//! ```

mod cli;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use clip_adapter::{
    ClipBackbone, DeviceSpec, Error, FeatureFile, FeatureSet, Result, features::Embeddings,
    input::ImageFolder,
};
use indicatif::{ProgressBar, ProgressStyle};

/// Files between two updates of the progress bar.
const BLOCK: usize = 16;

/// Encodes folders of images once, to a feature file that all the other examples read.
#[derive(Parser)]
struct Arguments {
    /// A CLIP in the layout of Hugging Face or open_clip
    #[arg(long, value_name = "DIR")]
    backbone: PathBuf,
    /// One sub-folder a class, or `train`, `val` and `test` with one a class each
    #[arg(long, value_name = "FOLDER")]
    images: PathBuf,
    /// A prompt template a line, with {} where the class name goes
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// Leaves out images that cannot be decoded, and says which
    #[arg(long)]
    skip_broken: bool,
    /// Where to compute
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceSpec::default())]
    device: DeviceSpec,
    /// The feature file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    cli::run(|| extract(&arguments))
}

fn extract(arguments: &Arguments) -> Result<()> {
    let templates = templates(arguments.prompts.as_deref())?;
    let splits = splits(&arguments.images)?;
    let clip = ClipBackbone::from_pretrained(&arguments.backbone, &arguments.device.open()?)?;
    let classes = splits[0].1.class_names();
    let names: Vec<String> = classes.iter().map(|name| name.replace('_', " ")).collect();
    let dataset = arguments.images.file_name().unwrap_or_default().to_string_lossy();
    let mut file = FeatureFile::new(dataset, clip.text_classifier(&names, &templates)?);
    for (split, folder) in &splits {
        if folder.class_names() != classes {
            return Err(Error::Data {
                what: format!("classes of `{split}`"),
                expected: format!("{classes:?}"),
                found: format!("{:?}", folder.class_names()),
            });
        }
        file = file.with_split(split.clone(), encode(arguments, &clip, split, folder, &names)?)?;
    }
    file.write(&arguments.out)?;
    println!("wrote {}: {} classes, {} prompts", arguments.out.display(), names.len(), templates.len());
    Ok(())
}

fn encode(
    arguments: &Arguments,
    clip: &ClipBackbone,
    split: &str,
    folder: &ImageFolder,
    names: &[String],
) -> Result<FeatureSet> {
    let style = ProgressStyle::with_template("{msg} {bar:30} {pos}/{len}  {per_sec}  {eta} left")
        .expect("a valid template");
    let bar = ProgressBar::new(folder.files().len() as u64).with_style(style).with_message(split.to_owned());
    let (mut values, mut labels) = (Vec::new(), Vec::new());
    for (files, block) in folder.files().chunks(BLOCK).zip(folder.labels().chunks(BLOCK)) {
        match clip.encode_images(files) {
            Ok(embeddings) => {
                values.extend_from_slice(embeddings.normalised().values());
                labels.extend_from_slice(block);
            }
            // One of them is broken: find out which.
            Err(Error::Image { .. }) if arguments.skip_broken => {
                for (file, &label) in files.iter().zip(block) {
                    match clip.encode_images(&[file]) {
                        Ok(embedding) => {
                            values.extend_from_slice(embedding.normalised().values());
                            labels.push(label);
                        }
                        Err(error @ Error::Image { .. }) => bar.suspend(|| eprintln!("skipped: {error}")),
                        Err(error) => return Err(error),
                    }
                }
            }
            Err(error) => return Err(error),
        }
        bar.inc(files.len() as u64);
    }
    bar.finish_and_clear();
    FeatureSet::new(Embeddings::new(values, clip.config().embed_dim)?, labels, names)
}

/// The splits that are there; a folder without any is `train`.
fn splits(root: &Path) -> Result<Vec<(String, ImageFolder)>> {
    let named = ["train", "val", "test"].into_iter().filter(|split| root.join(split).is_dir());
    let splits: Vec<_> = named
        .map(|split| Ok((split.to_owned(), ImageFolder::open(root.join(split))?)))
        .collect::<Result<_>>()?;
    if splits.is_empty() { Ok(vec![("train".into(), ImageFolder::open(root)?)]) } else { Ok(splits) }
}

fn templates(path: Option<&Path>) -> Result<Vec<String>> {
    let Some(path) = path else { return Ok(vec!["a photo of a {}.".into()]) };
    let text = fs::read_to_string(path).map_err(|source| Error::Read { path: path.into(), source })?;
    let lines: Vec<String> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(String::from).collect();
    if lines.is_empty() {
        let (what, expected) = (path.display().to_string(), "a prompt template a line".to_owned());
        return Err(Error::Data { what, expected, found: "an empty file".into() });
    }
    Ok(lines)
}
