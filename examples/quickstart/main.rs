//! The first minute: images in, a working classifier out, and a picture of what was gained.
//!
//! ```text
//! cargo run --release --example quickstart                                 # the pocket model, no network
//! cargo run --release --example quickstart -- --backbone clip-vit-base-patch32 --images photos
//! ```

#[path = "../cli/mod.rs"]
mod cli;
mod curve;
mod page;
mod study;

use std::{
    env,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use clap::Parser;
use clip_adapter::{
    Classifier, ClipAdapter, DeviceSpec, Error, Result, TextClassifier, ZeroShot,
    evaluate::{Logits, Ranked},
    input::readable,
    methods,
    model::{Save, Settings},
    tasks::Predictor,
};
use serde::Serialize;
use serde_json::{Value, json};

use self::cli::{files, folders, pocket};
use self::study::Study;

/// What is classified at the end, where the shipped icons are learned from.
const OTHER_STYLE: [&str; 2] = ["images/icon-colour/food/apple.png", "images/icon-colour/vehicles/car.png"];

/// Teaches CLIP the classes of a folder of images from a few of each, and shows what that gained.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    task: pocket::Task,
    /// Images to classify at the end, such as some of another style
    #[arg(long, value_name = "FILE", num_args = 1..)]
    classify: Vec<PathBuf>,
    /// Training images of each class; all others are scored on
    #[arg(long, value_name = "K", default_value_t = 16)]
    shots: usize,
    /// Fixes which images are drawn, and the adapter's initial weights and batches
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Where to compute, such as flex, wgpu or cuda:0
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceSpec::default())]
    device: DeviceSpec,
    #[command(flatten)]
    precision: cli::precision::InPrecision,
    /// Keeps the adapter; without, it is written to a temporary folder, to show that it can be read back
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// The page to write
    #[arg(long, value_name = "FILE", default_value = "clip-adapter.html")]
    html: PathBuf,
    /// Writes all numbers as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What was done, with what, and how long it took.
#[derive(Serialize)]
pub struct Facts {
    pub backbone: String,
    pub images: String,
    pub device: String,
    pub classes: usize,
    pub shots: usize,
    pub seed: u64,
    pub encoded: usize,
    pub tested: usize,
    /// From nothing to the first image's embedding.
    pub start_seconds: f64,
    pub encode_seconds: f64,
    pub fit_seconds: f64,
}

/// An image that is no part of the data, and what is said of it.
pub struct Classified {
    pub file: PathBuf,
    pub before: Answer,
    pub after: Answer,
}

/// The likeliest class, and the probability of every class.
pub struct Answer {
    pub class: usize,
    pub probabilities: Vec<f32>,
}

impl Answer {
    fn all(logits: &Logits) -> impl Iterator<Item = Self> {
        let answers = logits.predictions().zip(logits.probabilities());
        answers.map(|(class, probabilities)| Self { class, probabilities })
    }

    /// Of all classes, likeliest first.
    fn of(labels: Vec<Ranked>) -> Self {
        let mut probabilities = vec![0.0; labels.len()];
        labels.iter().for_each(|label| probabilities[label.class] = label.probability);
        Self { class: labels.first().map_or(0, |label| label.class), probabilities }
    }

    /// Of the likeliest class.
    fn probability(&self) -> f32 {
        self.probabilities[self.class]
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    cli::run(|| quickstart(&arguments))
}

fn quickstart(arguments: &Arguments) -> Result<()> {
    let device = arguments.device.open()?;
    let images = arguments.task.images();
    let folder = folders::open(&images)?;
    folders::check_classes(folder.class_names())?;
    folders::check_for(&[Some(&arguments.html), arguments.json.as_ref(), arguments.save.as_ref()])?;
    let start = Instant::now();
    let clip = arguments.precision.open(arguments.task.folder(), &device)?;
    clip.encode_images(&folder.files()[..1])?;
    let start_seconds = start.elapsed().as_secs_f64();

    let classes = clip.text_classifier(folder.class_names(), &arguments.task.prompts()?)?;
    let start = Instant::now();
    let extracted = clip.extract().run(&folder)?;
    let encode_seconds = start.elapsed().as_secs_f64();
    let study = Study::run(extracted, &classes, arguments.shots, arguments.seed, &device)?;
    let facts = Facts {
        backbone: short(&arguments.task.folder()),
        images: short(&images),
        device: arguments.device.to_string(),
        classes: folder.class_names().len(),
        shots: arguments.shots,
        seed: arguments.seed,
        encoded: folder.files().len(),
        tested: study.held_out.len(),
        start_seconds,
        encode_seconds,
        fit_seconds: study.of(ClipAdapter::NAME).last().map_or(0.0, |point| point.fit_seconds),
    };
    print_table(&facts, &study);

    let reloaded = save_and_read_back(arguments, &study, &classes)?;
    let predictor = Predictor::new(clip, reloaded)?;
    let others = classify(&predictor, &study.zero_shot, &to_classify(arguments, &study))?;
    for image in &others {
        println!("{}", short(&image.file));
        for (method, answer) in [(ZeroShot::NAME, &image.before), (ClipAdapter::NAME, &image.after)] {
            let (percent, name) = (100.0 * answer.probability(), &classes.class_names()[answer.class]);
            println!("  {method:<12}  {percent:>5.1} %  {name}");
        }
    }
    files::write(&arguments.html, page::render(&facts, &study, &others, predictor.clip().preprocess())?)?;
    println!("\nopen {}", arguments.html.display());
    match &arguments.json {
        Some(path) => files::write(path, format!("{:#}\n", in_json(&facts, &study, &others))),
        None => Ok(()),
    }
}

/// A path within this crate without the crate's own.
fn short(path: &Path) -> String {
    readable(path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap_or(path))
}

fn print_table(facts: &Facts, study: &Study) {
    println!(
        "{} classes, {} shots each, scored on {} other images of {}",
        facts.classes, facts.shots, facts.tested, facts.images
    );
    println!(
        "CLIP ready in {:.2} s, {} images encoded in {:.1} s, CLIP-Adapter trained in {:.1} s on {}\n",
        facts.start_seconds, facts.encoded, facts.encode_seconds, facts.fit_seconds, facts.device
    );
    let before = &study.before.report;
    println!("{:<14}{:>10}{:>12}", "", "accuracy", "macro F1");
    println!("{:<14}{:>8.1} %{:>10.1} %", ZeroShot::NAME, before.accuracy, before.macro_f1);
    for method in study.methods() {
        if let Some(point) = study.of(method).last() {
            println!("{method:<14}{:>8.1} %{:>10.1} %", point.accuracy, point.macro_f1);
        }
    }
    let row = |name: &str, cells: Vec<String>| {
        let cells: String = cells.iter().map(|cell| format!("{cell:>8}")).collect();
        println!("{name:<14}{cells}");
    };
    println!();
    let [first, ..] = study.methods();
    row("shots", study.of(first).iter().map(|point| point.shots.to_string()).collect());
    for method in study.methods() {
        row(method, study.of(method).iter().map(|point| format!("{:.1} %", point.accuracy)).collect());
    }
    println!();
}

/// Writes the adapter, reads it back, and makes sure that it says the same of every image.
fn save_and_read_back(
    arguments: &Arguments,
    study: &Study,
    classes: &TextClassifier,
) -> Result<Box<dyn Classifier>> {
    let temporary = tempfile::tempdir().map_err(|source| Error::write(env::temp_dir(), source))?;
    let path = arguments.save.clone().unwrap_or_else(|| temporary.path().join("adapter.safetensors"));
    study.adapter.save(&path)?;
    let reloaded = methods::load(&path, &classes.fingerprint(), study.adapter.device())?;
    let again = reloaded.score(study.held_out.embeddings())?;
    if again != study.after.logits {
        return Err(Error::malformed(path, "logits", "those of the adapter that was saved", "others"));
    }
    let kept = arguments.save.as_ref().map_or(String::new(), |path| format!(" as {}", path.display()));
    println!("adapter saved{kept} and read back: the same logits for all {} images\n", again.images());
    Ok(reloaded)
}

/// What was asked for; else pictures of another style, or the first and last of the user's own that were held out.
fn to_classify(arguments: &Arguments, study: &Study) -> Vec<PathBuf> {
    match &arguments.classify[..] {
        [] if arguments.task.has_shipped_images() => OTHER_STYLE.map(pocket::path).to_vec(),
        [] => study.files.first().into_iter().chain(study.files.last()).cloned().collect(),
        files => files.to_vec(),
    }
}

fn classify(predictor: &Predictor, zero_shot: &dyn Classifier, files: &[PathBuf]) -> Result<Vec<Classified>> {
    let before = zero_shot.score(&predictor.clip().encode_images(files)?)?;
    let after = predictor.predict_all(files, predictor.class_names().len())?.into_iter().map(Answer::of);
    let answers = files.iter().zip(Answer::all(&before).zip(after));
    Ok(answers.map(|(file, (before, after))| Classified { file: file.clone(), before, after }).collect())
}

fn in_json(facts: &Facts, study: &Study, others: &[Classified]) -> Value {
    let names = study.held_out.class_names();
    let changes = study.changes();
    let count = |is: fn(&study::Change) -> bool| changes.iter().filter(|change| is(change)).count();
    let others: Vec<Value> = others
        .iter()
        .map(|image| {
            let answer = &image.after;
            json!({ "file": readable(&image.file), "class": names[answer.class], "probability": answer.probability() })
        })
        .collect();
    json!({
        "facts": facts,
        "zero_shot": study.before.report,
        "clip_adapter": study.after.report,
        "points": study.points,
        "changed": {
            "all": changes.len(),
            "corrected": count(|change| change.after == change.truth),
            "spoiled": count(|change| change.before == change.truth),
        },
        "classified": others,
    })
}
