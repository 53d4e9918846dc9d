//! Ranks pictures that a generator made by how well they show what was asked for, and by a taste learned from pairs.
//!
//! ```text
//! cargo run --release --example choose -- --prompt "a simple icon of a car"       # the pocket model and its icons
//! cargo run --release --example choose -- --backbone clip-vit-base-patch32 --images made --prompt "a fox in the snow"
//! cargo run --release --example choose -- ... --pairs pairs.csv --ask 10 --html ranking.html
//! ```

mod candidates;
#[path = "../cli/mod.rs"]
mod cli;
mod click;
mod page;
mod questions;
mod steer;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, ValueEnum};
use clip_adapter::{
    DeviceSpec, Error, Result,
    model::Save,
    tasks::generation::{
        Choice, Chooser, LinearHead, Pair, Preference, PreferenceHead, dpp, mmr, read_pairs,
    },
};
use serde_json::{Value, json};

use self::candidates::Candidates;

/// Ranks pictures that a generator made by how well they show what was asked for, and by a taste learned from pairs.
///
/// The score is the logarithm of the probability that a picture shows the prompt rather than one of the distractors;
/// heads are added in standard deviations over the candidates.
#[derive(Parser)]
struct Arguments {
    /// A CLIP in the layout of Hugging Face or open_clip; the pocket model where none is given
    #[arg(long, value_name = "DIR")]
    backbone: Option<PathBuf>,
    /// The candidates: a folder of pictures and its sub-folders; icons of the pocket model where none is given
    #[arg(long, value_name = "FOLDER")]
    images: Option<PathBuf>,
    /// What was asked for: a whole sentence, or with --adapter one of its classes
    #[arg(long, value_name = "TEXT")]
    prompt: String,
    /// What a picture might show instead: a JSON array (.json) or one sentence a line; 20 general ones where none is given
    #[arg(long, value_name = "FILE", conflicts_with = "adapter")]
    distractors: Option<PathBuf>,
    /// Scores by a fitted adapter, whose other classes are what a picture might show instead
    #[arg(long, value_name = "FILE", requires = "backbone")]
    adapter: Option<PathBuf>,
    /// A table with the columns winner, loser and, where there is one, tie: choices of one person, by the pictures' names
    #[arg(long, value_name = "CSV")]
    pairs: Option<PathBuf>,
    /// Asks so many questions on the terminal first, and adds the answers to --pairs
    #[arg(long, value_name = "QUESTIONS", default_value_t = 0, requires = "pairs")]
    ask: usize,
    /// Writes a page on which pairs are clicked, and which gives a table for --pairs
    #[arg(long, value_name = "PAGE")]
    click: Option<PathBuf>,
    /// Questions of that page
    #[arg(long, value_name = "QUESTIONS", default_value_t = 20, requires = "click")]
    questions: usize,
    /// How much the taste counts beside the prompt
    #[arg(long, value_name = "WEIGHT", default_value_t = 1.0)]
    taste: f64,
    /// Keeps what the pairs taught
    #[arg(long, value_name = "FILE", requires = "pairs")]
    save: Option<PathBuf>,
    /// A public aesthetic head: a safetensors file and the head in it, such as laion_v1.safetensors:v1.vit_b_32
    #[arg(long, value_name = "FILE:NAME")]
    aesthetic: Option<String>,
    /// How much it counts beside the prompt
    #[arg(long, value_name = "WEIGHT", default_value_t = 0.5)]
    beauty: f64,
    /// Keeps so many that are good and unlike each other
    #[arg(long, value_name = "K")]
    keep: Option<usize>,
    /// How they are kept apart
    #[arg(long, value_name = "HOW", default_value = "mmr", requires = "keep")]
    diverse: Diverse,
    /// Steers the last of the ranking towards the prompt through the image tower, and writes it here (.png)
    #[arg(long, value_name = "PNG")]
    steer: Option<PathBuf>,
    /// Steps of the steering
    #[arg(long, value_name = "STEPS", default_value_t = 20, requires = "steer")]
    steps: usize,
    /// Fixes which questions are asked
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Where to compute, such as flex, wgpu or cuda:0
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceSpec::default())]
    device: DeviceSpec,
    /// Writes a page with the ranking and its reasons
    #[arg(long, value_name = "PAGE")]
    html: Option<PathBuf>,
    /// Writes the whole result as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// How pictures are kept apart.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Diverse {
    /// Maximal marginal relevance, 0.7 of it quality
    Mmr,
    /// A determinantal point process, greedily
    Dpp,
}

/// Everything that is told.
struct Outcome {
    ranking: Vec<Choice>,
    pairs: Vec<Pair>,
    kept: Option<Vec<usize>>,
    steered: Option<steer::Steered>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    cli::run(|| choose(&arguments))
}

fn choose(arguments: &Arguments) -> Result<()> {
    let outs = [&arguments.click, &arguments.save, &arguments.steer, &arguments.html, &arguments.json];
    cli::folders::check_for(&outs.map(Option::as_ref))?;
    let device = arguments.device.open()?;
    let aesthetic = arguments.aesthetic.as_deref().map(aesthetic_head).transpose()?;
    let candidates = Candidates::open(arguments, &device)?;
    let mut pairs = match &arguments.pairs {
        Some(path) if path.exists() || arguments.ask == 0 => read_pairs(path, &candidates.names)?,
        _ => Vec::new(),
    };
    if let (Some(path), 1..) = (&arguments.pairs, arguments.ask) {
        questions::ask(path, &candidates, &mut pairs, arguments.ask, arguments.seed)?;
    }
    let taste: Option<PreferenceHead> = match pairs.is_empty() {
        true => None,
        false => {
            Some(Preference::default().fit(&candidates.rows, &pairs, None, candidates.clip.identity())?)
        }
    };
    let mut chooser: Chooser<'_> = candidates.chooser()?;
    if let Some(taste) = &taste {
        chooser = chooser.with("taste", taste, arguments.taste);
    }
    if let Some(aesthetic) = &aesthetic {
        chooser = chooser.with("aesthetic", aesthetic, arguments.beauty);
    }
    let ranking = chooser.rank(&candidates.rows)?;
    let kept =
        arguments.keep.map(|count| keep(&ranking, &candidates, count, arguments.diverse)).transpose()?;
    let steered = match (&arguments.steer, ranking.last()) {
        (Some(path), Some(last)) => {
            Some(steer::run(path, &candidates, last.index, arguments.steps, &device)?)
        }
        _ => None,
    };
    let outcome = Outcome { ranking, pairs, kept, steered };
    say(arguments, &candidates, &outcome);
    if let (Some(path), Some(taste)) = (&arguments.save, &taste) {
        taste.save(path)?;
        println!("saved {}", path.display());
    }
    if let Some(path) = &arguments.click {
        let (questions, seed) = (arguments.questions, arguments.seed);
        let page = click::render(&candidates, &outcome.pairs, questions, &arguments.prompt, seed)?;
        cli::files::write(path, page)?;
    }
    if let Some(path) = &arguments.html {
        cli::files::write(path, page::render(arguments, &candidates, &outcome)?)?;
    }
    if let Some(path) = &arguments.json {
        cli::files::write_json(path, &told(arguments, &candidates, &outcome))?;
    }
    Ok(())
}

/// `FILE:NAME`; a path may have colons of its own.
fn aesthetic_head(argument: &str) -> Result<LinearHead> {
    match argument.rsplit_once(':') {
        Some((file, name)) if !file.is_empty() && !name.is_empty() => LinearHead::read(file, name),
        _ => Err(Error::setting("aesthetic", "FILE:NAME", format!("`{argument}`"))),
    }
}

/// Those to keep, by their places among the candidates.
fn keep(ranking: &[Choice], candidates: &Candidates, count: usize, how: Diverse) -> Result<Vec<usize>> {
    let mut quality = vec![0.0; ranking.len()];
    ranking.iter().for_each(|choice| quality[choice.index] = choice.score as f32);
    match how {
        Diverse::Mmr => mmr(&quality, &candidates.rows, count, 0.7),
        Diverse::Dpp => dpp(&quality, &candidates.rows, count),
    }
}

fn say(arguments: &Arguments, candidates: &Candidates, outcome: &Outcome) {
    const SHOWN: usize = 10;
    println!("{} candidates for `{}`", candidates.names.len(), arguments.prompt);
    for choice in outcome.ranking.iter().take(SHOWN) {
        let parts: Vec<String> =
            choice.parts.iter().map(|(name, part)| format!("{name} {part:.3}")).collect();
        println!("{:8.3}  {}  ({})", choice.score, candidates.names[choice.index], parts.join(", "));
    }
    if let Some(kept) = &outcome.kept {
        let names: Vec<&str> = kept.iter().map(|&at| candidates.names[at].as_str()).collect();
        println!("kept: {}", names.join(", "));
    }
    if let Some(steered) = &outcome.steered {
        let (before, after) = (steered.scores.first(), steered.scores.last());
        println!(
            "steered {}: score {:.3} to {:.3}",
            candidates.names[steered.index],
            before.unwrap_or(&0.0),
            after.unwrap_or(&0.0)
        );
    }
}

fn told(arguments: &Arguments, candidates: &Candidates, outcome: &Outcome) -> Value {
    let name = |at: usize| &candidates.names[at];
    let ranking: Vec<Value> = (outcome.ranking.iter())
        .map(|choice| {
            let parts: serde_json::Map<String, Value> =
                choice.parts.iter().map(|(name, part)| (name.clone(), json!(part))).collect();
            let probability = 100.0 * choice.parts[0].1.exp();
            json!({
                "image": name(choice.index), "score": choice.score, "parts": parts, "probability": probability,
            })
        })
        .collect();
    let steered = outcome
        .steered
        .as_ref()
        .map(|steered| json!({ "image": name(steered.index), "scores": steered.scores }));
    json!({
        "prompt": arguments.prompt, "distractors": candidates.distractors(), "candidates": candidates.names.len(),
        "left_out": candidates.left_out, "pairs": outcome.pairs.len(),
        "ties": outcome.pairs.iter().filter(|pair| pair.tie).count(), "ranking": ranking,
        "kept": outcome.kept.as_ref().map(|kept| kept.iter().map(|&at| name(at)).collect::<Vec<_>>()),
        "steered": steered, "backbone": candidates.clip.identity(), "device": arguments.device.to_string(),
        "seed": arguments.seed,
    })
}
