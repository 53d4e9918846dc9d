//! Recommends items to the users of a table of choices, and says how well each way of doing so finds what they chose next.
//!
//! ```text
//! cargo run --release --example recommend -- --interactions clicks.csv                      # by who chose what alone
//! cargo run --release --example recommend -- --interactions clicks.csv --items shop.safetensors --user ann
//! cargo run --release --example recommend -- --interactions clicks.csv --items photos --backbone clip-vit-base-patch32
//! ```

#[path = "../cli/mod.rs"]
mod cli;
mod items;
mod page;
mod study;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use clip_adapter::{
    DeviceSpec, Error, Result,
    model::Save,
    tasks::recommendation::{FittedTower, Histories, LeftOut, Reading, Recommendation},
};
use serde_json::{Value, json};

use self::items::Items;
use self::study::{Row, Study};

/// Recommends items to the users of a table of choices, and says how well each way of doing so finds what they chose next.
///
/// The last choice of every user is kept apart and sought among all items that the user has not seen. Items that are
/// in no choice but the last ones are ranked among each other too: what is uploaded today.
#[derive(Parser)]
struct Arguments {
    /// A table with the columns user, item and, where there is one, timestamp and rating: CSV, or by the crate feature
    /// `parquet` a file whose name ends so
    #[arg(long, value_name = "CSV|PARQUET")]
    interactions: PathBuf,
    /// Pictures of the items: a feature file, or with --backbone a folder of images, whose names are the items; without,
    /// only who chose what is looked at
    #[arg(long, value_name = "FILE|FOLDER")]
    items: Option<PathBuf>,
    /// A CLIP in the layout of Hugging Face or open_clip, for a folder of images
    #[arg(long, value_name = "DIR", requires = "items")]
    backbone: Option<PathBuf>,
    /// Leaves out choices with a lower rating; without, every row is a choice
    #[arg(long, value_name = "RATING")]
    least_rating: Option<f64>,
    /// Whom to recommend to; the first user where none is given
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Items to recommend
    #[arg(long, value_name = "K", default_value_t = 10)]
    top: usize,
    /// The pull of EASE
    #[arg(long, value_name = "LAMBDA", default_value_t = 100.0)]
    lambda: f64,
    /// Passes over all choices of what trains
    #[arg(long, value_name = "EPOCHS", default_value_t = 40)]
    epochs: usize,
    /// Users that are scored, spread evenly over all
    #[arg(long, value_name = "USERS")]
    scored: Option<usize>,
    /// Only these: random, popularity, ease, bpr, vbpr, history, tower
    #[arg(long, value_name = "NAME,..", value_delimiter = ',')]
    methods: Option<Vec<String>>,
    /// Fixes all random numbers
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Where to compute, such as flex, wgpu or cuda:0
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceSpec::default())]
    device: DeviceSpec,
    /// Keeps the tower, fitted on all choices
    #[arg(long, value_name = "FILE", requires = "items")]
    save: Option<PathBuf>,
    /// Writes a page with the table and the recommendations
    #[arg(long, value_name = "PAGE")]
    html: Option<PathBuf>,
    /// Writes the whole result as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    cli::run(|| recommend(&arguments))
}

fn recommend(arguments: &Arguments) -> Result<()> {
    cli::folders::check_for(&[arguments.save.as_ref(), arguments.html.as_ref(), arguments.json.as_ref()])?;
    let device = arguments.device.open()?;
    let items = match &arguments.items {
        Some(path) => Some(Items::open(path, arguments.backbone.as_deref(), &device)?),
        None => None,
    };
    let mut reading = Reading::default();
    if let Some(items) = &items {
        reading = reading.among(items.catalogue.names());
    }
    if let Some(rating) = arguments.least_rating {
        reading = reading.with_least_rating(rating);
    }
    let (histories, left_out) = reading.read(&arguments.interactions)?;
    println!(
        "{}: {} choices of {} users among {} items",
        arguments.interactions.display(),
        histories.choices(),
        histories.users().len(),
        histories.items().len()
    );
    say_left_out(&left_out);
    let user = user(arguments, &histories)?;

    let study = Study::new(arguments, items.as_ref(), &histories, &device);
    let (rows, left) = study.run()?;
    for why in &left {
        println!("left out: {why}");
    }
    println!(
        "{:24}{:>8}{:>9}{:>8}{:>10}{:>10}{:>9}",
        "", "HR@10", "NDCG@10", "MRR", "coverage", "HR@10 new", "fit s"
    );
    for Row { name, warm, cold, fit_seconds, .. } in &rows {
        let cold = cold.map_or("-".to_owned(), |report| format!("{:.2}", report.hit_rate));
        println!(
            "{name:24}{:8.2}{:9.2}{:8.4}{:10.1}{cold:>10}{fit_seconds:9.2}",
            warm.hit_rate, warm.ndcg, warm.mrr, warm.coverage
        );
    }
    let shown = study.recommend(user, arguments.top)?;
    println!("\nfor {}, who chose {} items:", histories.users()[user], histories.of(user).len());
    for found in &shown.found {
        let words = concepts(items.as_ref(), &histories, user, found)?.join(", ");
        let words = if words.is_empty() { words } else { format!(" ({words})") };
        println!("  {:.3}  {}{}{words}", found.score, found.name, because(&histories, found));
    }
    if let Some(path) = &arguments.save {
        let model: &FittedTower = shown
            .tower
            .as_ref()
            .ok_or_else(|| Error::setting("save", "`tower` among the methods", "others only"))?;
        model.save(path)?;
        println!("saved {}", path.display());
    }
    if let Some(path) = &arguments.html {
        let page = page::render(arguments, items.as_ref(), &histories, user, &rows, &shown.found)?;
        cli::files::write(path, page)?;
    }
    if let Some(path) = &arguments.json {
        cli::files::write_json(
            path,
            &outcome(arguments, items.as_ref(), &histories, &left_out, user, &rows, &shown.found)?,
        )?;
    }
    Ok(())
}

fn user(arguments: &Arguments, histories: &Histories) -> Result<usize> {
    let Some(name) = &arguments.user else { return Ok(0) };
    histories.users().iter().position(|known| known == name).ok_or_else(|| {
        let some = histories.users().iter().take(5).map(String::as_str).collect::<Vec<_>>().join("`, `");
        let expected = format!("one of {} in the table, such as `{some}`", histories.users().len());
        Error::setting("user", expected, format!("`{name}`"))
    })
}

fn say_left_out(left_out: &LeftOut) {
    let LeftOut { rows, low, unknown, repeated, single, .. } = left_out;
    for (count, what) in [
        (*low, "rows rated too low".to_owned()),
        (*unknown, format!("rows with unknown items, such as `{}`", left_out.unknown_items.join("`, `"))),
        (*repeated, "rows that the same user has again later".to_owned()),
    ] {
        if count > 0 {
            println!("left out: {count} of {rows} {what}");
        }
    }
    if *single > 0 {
        println!("{single} users with a single choice, who are learned from and not scored");
    }
    if left_out.ratings_unused {
        println!("ratings are not looked at: every row is a choice; --least-rating takes the better ones");
    }
    if left_out.untimed {
        println!("no column `timestamp`: the order of the rows is that of time");
    }
}

/// The items that speak for one, in words.
fn because(histories: &Histories, found: &Recommendation) -> String {
    let names: Vec<&str> =
        found.because.iter().map(|reason| histories.items()[reason.item].as_str()).collect();
    if names.is_empty() { String::new() } else { format!("  because of {}", names.join(", ")) }
}

/// The words that an item has in common with what the user chose.
fn concepts(
    items: Option<&Items>,
    histories: &Histories,
    user: usize,
    found: &Recommendation,
) -> Result<Vec<String>> {
    match items.and_then(|items| items.concepts.as_ref()) {
        None => Ok(Vec::new()),
        Some(concepts) => {
            let shared = concepts.shared(histories.of(user), found.item, 3)?;
            Ok(shared.into_iter().map(|concept| concept.name).collect())
        }
    }
}

fn outcome(
    arguments: &Arguments,
    items: Option<&Items>,
    histories: &Histories,
    left_out: &LeftOut,
    user: usize,
    rows: &[Row],
    found: &[Recommendation],
) -> Result<Value> {
    let methods: serde_json::Map<String, Value> = (rows.iter())
        .map(|row| {
            let mut value = json!({
                "hr10": row.warm.hit_rate, "ndcg10": row.warm.ndcg, "recall10": row.warm.recall, "mrr": row.warm.mrr,
                "coverage": row.warm.coverage, "users": row.warm.users, "fit_seconds": row.fit_seconds,
                "score_seconds": row.score_seconds,
            });
            if let Some(cold) = row.cold {
                value["new_items"] = json!({
                    "hr10": cold.hit_rate, "ndcg10": cold.ndcg, "users": cold.users, "among": row.cold_items,
                });
            }
            (row.name.to_owned(), value)
        })
        .collect();
    let names = |items: &mut dyn Iterator<Item = usize>| -> Vec<&String> {
        items.map(|item| &histories.items()[item]).collect()
    };
    let found: Vec<Value> = (found.iter())
        .map(|found| {
            let because: Vec<Value> = (found.because.iter())
                .map(|reason| json!({ "item": histories.items()[reason.item], "part": reason.part }))
                .collect();
            Ok(json!({
                "item": found.name, "score": found.score, "popularity": found.popularity, "because": because,
                "concepts": concepts(items, histories, user, found)?,
            }))
        })
        .collect::<Result<_>>()?;
    Ok(json!({
        "interactions": arguments.interactions.display().to_string(),
        "users": histories.users().len(), "items": histories.items().len(), "choices": histories.choices(),
        "left_out": left_out, "seed": arguments.seed, "device": arguments.device.to_string(), "methods": methods,
        "user": histories.users()[user], "history": names(&mut histories.of(user).iter().copied()),
        "recommendations": found,
    }))
}
