//! Trains a CLIP of a few megabytes from nothing, through this crate's own towers, on emoji artwork.
//!
//! ```text
//! python3 examples/pretrain_pocket/corpus.py --out corpus
//! cargo run --release --example pretrain_pocket -- --corpus corpus --out pocket
//! ```
//!
//! Art styles are domains: some are trained on, and those of `--held-out` are only scored, at the end.

#[path = "../cli/mod.rs"]
mod cli;

mod augment;
mod batches;
mod captions;
mod corpus;
mod evaluation;
mod training;

use std::{fs, path::PathBuf, process::ExitCode};

use clap::Parser;
use clip_adapter::{
    DeviceSpec, Error, Result,
    backbone::{BackboneConfig, TextConfig, TowerActivation, TrainableClip, VisionConfig, VisionKind},
    input::{Preprocess, Tokenizer},
};
use serde_json::json;

use corpus::Corpus;
use training::{Recipe, Training};

/// Trains a CLIP of a few megabytes from nothing on emoji artwork.
#[derive(Parser)]
struct Arguments {
    /// The folder that corpus.py wrote
    #[arg(long, value_name = "DIR")]
    corpus: PathBuf,
    /// The folder to write: a checkpoint in the Hugging Face layout and, until it is done, the state to resume from
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Styles to train on
    #[arg(
        long,
        value_name = "STYLES",
        value_delimiter = ',',
        default_value = "noto,twemoji,openmoji,emojione,fluent-flat"
    )]
    styles: Vec<String>,
    /// Styles that are scored at the end and never trained on
    #[arg(
        long,
        value_name = "STYLES",
        value_delimiter = ',',
        default_value = "fluent-3d,openmoji-line,fluent-line"
    )]
    held_out: Vec<String>,
    /// Optimiser steps
    #[arg(long, value_name = "N", default_value_t = 3000)]
    steps: usize,
    /// Emoji of a step, each of them drawn twice
    #[arg(long, value_name = "N", default_value_t = 128)]
    batch: usize,
    /// The largest learning rate
    #[arg(long, value_name = "RATE", default_value_t = 1.5e-3)]
    rate: f64,
    /// Steps between validations, each of which writes the checkpoint and the state; of what divides all steps the
    /// nearest to this
    #[arg(long, value_name = "N", default_value_t = 250)]
    every: usize,
    /// Fixes the initial weights and every batch
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Goes on from the state in the output folder
    #[arg(long)]
    resume: bool,
    /// Side of the images, in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 48)]
    image_size: usize,
    /// Width of both towers
    #[arg(long, value_name = "N", default_value_t = 128)]
    width: usize,
    /// Blocks of the image tower
    #[arg(long, value_name = "N", default_value_t = 6)]
    layers: usize,
    /// Blocks of the text tower
    #[arg(long, value_name = "N", default_value_t = 3)]
    text_layers: usize,
    /// Width of an embedding
    #[arg(long, value_name = "N", default_value_t = 160)]
    embed_dim: usize,
    /// Where to compute: flex, ndarray, wgpu, vulkan, cuda or tch, where compiled in
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceSpec::default())]
    device: DeviceSpec,
    /// Writes the scores of every style as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    cli::run(|| pretrain(&arguments))
}

fn pretrain(arguments: &Arguments) -> Result<()> {
    let device = arguments.device.open()?;
    let all: Vec<&str> = arguments.styles.iter().chain(&arguments.held_out).map(String::as_str).collect();
    let corpus = Corpus::open(&arguments.corpus, &all)?;
    let words = arguments.corpus.join("tokenizer.json");
    let tokenizer = Tokenizer::from_file(&words, CONTEXT)?;
    let config = sizes(arguments, &tokenizer);
    let side = arguments.image_size;
    let preprocess = Preprocess { resize: side, crop: side, ..Default::default() };
    let model = TrainableClip::random(&config, &preprocess, arguments.seed, &device.clone().autodiff())?;

    let recipe = Recipe {
        steps: arguments.steps,
        batch: arguments.batch,
        rate: arguments.rate,
        every: arguments.every,
        seed: arguments.seed,
        styles: arguments.styles.len(),
        ..Default::default()
    };
    let out = &arguments.out;
    fs::create_dir_all(out).map_err(|source| Error::write(out, source))?;
    let target = out.join("tokenizer.json");
    fs::copy(&words, &target).map_err(|source| Error::write(&target, source))?;
    let training = Training { recipe, corpus: &corpus, tokenizer: &tokenizer, out, device: &device };
    let model = training.run(model, arguments.resume)?;

    let scores = evaluation::every_style(&model, &corpus, &tokenizer)?;
    for score in &scores {
        let trained = arguments.styles.contains(&score.style);
        println!("{score}{}", if trained { "   (trained on)" } else { "" });
    }
    match &arguments.json {
        Some(path) => cli::files::write(path, format!("{:#}\n", json!(scores))),
        None => Ok(()),
    }
}

/// Tokens of a caption.
const CONTEXT: usize = 32;

fn sizes(arguments: &Arguments, tokenizer: &Tokenizer) -> BackboneConfig {
    let (width, activation) = (arguments.width, TowerActivation::QuickGelu);
    let (heads, mlp, epsilon) = ((width / 32).max(1), 4 * width, 1e-5);
    let kind = VisionKind::Vit { patch_size: 8, layers: arguments.layers, mlp, epsilon, activation };
    BackboneConfig {
        vision: VisionConfig { image_size: arguments.image_size, width, heads, kind },
        text: TextConfig {
            context: CONTEXT,
            vocabulary: tokenizer.vocabulary(),
            width,
            heads,
            layers: arguments.text_layers,
            mlp,
            epsilon,
            activation,
            end: tokenizer.id("<|endoftext|>"),
        },
        embed_dim: arguments.embed_dim,
    }
}
