//! Full fine-tuning against adapters on the same few shots: accuracy in the style adapted on, macro F1 in others,
//! with the time and the trained numbers beside.
//!
//! ```text
//! cargo run --release --example compare_finetuning -- --markdown table.md --json runs.json
//! ```
//!
//! The images tested on show nothing that one of the shots shows, in no style. Full fine-tuning gets what the
//! others do not: its learning rate is chosen for each seed, by training on half of (at most eight) shots and
//! scoring the other half, which are shots of the largest draw and never tested on.

#[path = "../cli/mod.rs"]
mod cli;

mod domain;
mod finetuning;
mod style;
mod table;

use std::{path::PathBuf, process::ExitCode, time::Instant};

use burn::tensor::Device;
use clap::Parser;
use clip_adapter::{
    AutoAdapter, ClipAdapter, ClipBackbone, DeviceSpec, Error, LinearProbe, Result, Run, TextClassifier,
    TipAdapter, ZeroShot, evaluate::Scores, train::AnyMethod,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::json;

use self::{
    cli::{files, folders, pocket},
    finetuning::{FineTuning, Tuned},
    style::{Style, Test},
};

const FULL: &str = "full fine-tuning";

/// Shots of each class that the learning rate is chosen with, where there are as many.
const CHOOSING: usize = 8;

/// Compares full fine-tuning with adapters, on the same few shots.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    task: pocket::Task,
    /// Folders with the same classes in other styles, which are only tested on
    #[arg(long, value_name = "FOLDERS", value_delimiter = ',')]
    others: Vec<PathBuf>,
    /// Training images of each class
    #[arg(long, value_name = "K", value_delimiter = ',', default_value = "1,2,4,8,16")]
    shots: Vec<usize>,
    /// Each fixes which images are drawn, and the methods' own random numbers
    #[arg(long, value_name = "S", value_delimiter = ',', default_value = "1,2,3")]
    seeds: Vec<u64>,
    /// Learning rates that full fine-tuning may choose from
    #[arg(long, value_name = "RATES", value_delimiter = ',', default_value = "1e-4,3e-4,1e-3")]
    rates: Vec<f64>,
    /// Epochs of full fine-tuning; by the number of shots where none is given
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Where to compute
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceSpec::default())]
    device: DeviceSpec,
    /// Writes every run as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes the tables
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

/// One fit, scored on one style.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    pub method: &'static str,
    pub style: String,
    pub shots: usize,
    pub seed: u64,
    pub accuracy: f64,
    pub macro_f1: f64,
    /// To fit; for the frozen CLIP, encoding the shots is part of it.
    pub seconds: f64,
    /// Numbers that gradients change.
    pub parameters: usize,
    /// Of full fine-tuning, as it was chosen.
    pub learning_rate: Option<f64>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    cli::run(|| compare(&arguments))
}

fn compare(arguments: &Arguments) -> Result<()> {
    folders::check_for(&[arguments.json.as_ref(), arguments.markdown.as_ref()])?;
    let device = arguments.device.open()?;
    let checkpoint = arguments.task.folder();
    let clip = ClipBackbone::from_pretrained(&checkpoint, &device)?;
    let others = match &arguments.others[..] {
        [] if arguments.task.has_shipped_images() => vec![pocket::path("images/icon-colour")],
        folders => folders.to_vec(),
    };
    let home = Style::open(&clip, &arguments.task.images())?;
    let others = others.iter().map(|folder| Style::open(&clip, folder)).collect::<Result<Vec<_>>>()?;
    let classes = clip.text_classifier(home.features.class_names(), &arguments.task.prompts()?)?;
    let most = arguments.shots.iter().copied().max().ok_or_else(|| setting("shots"))?;
    let comparison = Comparison { arguments, checkpoint, classes, home, others, most, device };

    let count = arguments.seeds.len() * (arguments.shots.len() + 1);
    let style =
        ProgressStyle::with_template("{bar:30} {pos}/{len}  {elapsed}  {msg}").expect("a valid template");
    let bar = ProgressBar::new(count as u64).with_style(style);
    let mut outcomes = Vec::new();
    for &seed in &arguments.seeds {
        bar.set_message(format!("seed {seed}, choosing a learning rate"));
        let rate = comparison.rate(seed)?;
        bar.inc(1);
        for &shots in &arguments.shots {
            bar.set_message(format!("seed {seed}, {shots} shots, learning rate {rate}"));
            outcomes.extend(comparison.outcomes(shots, seed, rate)?);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let names: Vec<String> = comparison.others.iter().map(|style| style.name.clone()).collect();
    let tables = table::render(&outcomes, &comparison.home.name, &names);
    print!("{tables}");
    if let Some(path) = &arguments.markdown {
        files::write(path, tables)?;
    }
    match &arguments.json {
        Some(path) => files::write(path, format!("{:#}\n", json!(outcomes))),
        None => Ok(()),
    }
}

/// What all fits share.
struct Comparison<'a> {
    arguments: &'a Arguments,
    checkpoint: PathBuf,
    classes: TextClassifier,
    home: Style,
    others: Vec<Style>,
    most: usize,
    device: Device,
}

impl Comparison<'_> {
    /// Every method on one draw, scored in every style.
    fn outcomes(&self, shots: usize, seed: u64, rate: f64) -> Result<Vec<Outcome>> {
        let drawn = self.home.features.shot_rows(self.most, seed)?;
        let styles = [&self.home].into_iter().chain(&self.others);
        let tests = styles.map(|style| style.test(&self.home, &drawn)).collect::<Result<Vec<_>>>()?;
        let mut outcomes = self.adapters(shots, seed, &tests)?;
        outcomes.extend(self.domain_adapters(shots, seed, &tests)?);

        let (files, labels) = self.home.select(&self.home.features.shot_rows(shots, seed)?);
        let start = Instant::now();
        let tuned = self.fine_tune(shots, seed, rate, &files, &labels)?;
        let seconds = start.elapsed().as_secs_f64();
        for test in &tests {
            let scores = Scores::new(&tuned.score(&test.files)?, &test.labels)?;
            outcomes.push(Outcome {
                method: FULL,
                style: test.style.to_owned(),
                shots,
                seed,
                accuracy: scores.accuracy(),
                macro_f1: scores.macro_f1(),
                seconds,
                parameters: tuned.parameters,
                learning_rate: Some(rate),
            });
        }
        Ok(outcomes)
    }

    /// The methods on the frozen CLIP.
    fn adapters(&self, shots: usize, seed: u64, tests: &[Test<'_>]) -> Result<Vec<Outcome>> {
        let clip_adapter = ClipAdapter { seed, ..Default::default() };
        let (dim, classes) = (self.classes.dim(), self.classes.class_names().len());
        let hidden = dim / clip_adapter.reduction;
        let methods: [(&dyn AnyMethod, usize); 5] = [
            (&ZeroShot::default(), 0),
            (&TipAdapter::default(), 0),
            (&AutoAdapter::default(), 0),
            (&LinearProbe::default(), (dim + 1) * classes),
            (&clip_adapter, 2 * dim * hidden),
        ];
        let support = self.home.features.shots(shots, seed)?;
        let encoding = self.home.encode_seconds * support.set().len() as f64 / self.home.files.len() as f64;
        let mut outcomes = Vec::new();
        for (method, parameters) in methods {
            let start = Instant::now();
            let model = method.fit_any(&support, &self.classes, &mut Run::new(&self.device))?;
            let seconds = start.elapsed().as_secs_f64() + encoding;
            for test in tests {
                let report = model.evaluate(&test.features)?;
                outcomes.push(Outcome {
                    method: method.name(),
                    style: test.style.to_owned(),
                    shots,
                    seed,
                    accuracy: report.accuracy,
                    macro_f1: report.macro_f1,
                    seconds,
                    parameters,
                    learning_rate: None,
                });
            }
        }
        Ok(outcomes)
    }

    /// The learning rate that is right most often on the second half of a few shots after the first; of equal ones
    /// the smaller. With one shot there is nothing to choose with, and the smallest is taken.
    fn rate(&self, seed: u64) -> Result<f64> {
        let mut rates = self.arguments.rates.clone();
        rates.sort_by(f64::total_cmp);
        let mut best = (*rates.first().ok_or_else(|| setting("rates"))?, f64::NEG_INFINITY);
        let shots = self.most.min(CHOOSING);
        let rows = self.home.features.shot_rows(shots, seed)?;
        if shots < 2 || rates.len() == 1 {
            return Ok(best.0);
        }
        let half = |first: bool| -> Vec<usize> {
            let halves = rows.chunks_exact(shots).map(|class| class.split_at(shots / 2));
            halves.flat_map(|(one, other)| if first { one } else { other }).copied().collect()
        };
        let (files, labels) = self.home.select(&half(true));
        let (others, truths) = self.home.select(&half(false));
        for rate in rates {
            let tuned = self.fine_tune(shots / 2, seed, rate, &files, &labels)?;
            let accuracy = Scores::new(&tuned.score(&others)?, &truths)?.accuracy();
            if accuracy > best.1 {
                best = (rate, accuracy);
            }
        }
        Ok(best.0)
    }

    fn fine_tune(
        &self,
        shots: usize,
        seed: u64,
        rate: f64,
        files: &[PathBuf],
        labels: &[usize],
    ) -> Result<Tuned> {
        let epochs = self.arguments.epochs.unwrap_or_else(|| epochs(shots));
        let (checkpoint, classes, device) = (&self.checkpoint, &self.classes, &self.device);
        FineTuning { checkpoint, classes, rate, epochs, seed, device }.fit(files, labels)
    }
}

/// So that more shots are also more steps: of 22 classes 40 at one shot and 110 at 16.
fn epochs(shots: usize) -> usize {
    match shots {
        ..=1 => 40,
        2 => 30,
        3..=4 => 20,
        5..=8 => 15,
        _ => 10,
    }
}

fn setting(name: &str) -> Error {
    Error::setting(name, "at least one", "none")
}
