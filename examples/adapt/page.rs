//! One page with everything in it: no script, no other file.

use std::{io::Cursor, path::Path};

use base64::prelude::{BASE64_STANDARD, Engine};
use clip_adapter::{input::readable, tasks::unlabelled::DoubtfulImage};
use image::{ImageFormat, imageops};
use serde_json::json;

use crate::outcome::{Images, Outcome, macro_f1};

/// The longest side of a picture on the page, in pixels.
const SIDE: u32 = 96;

pub fn render(outcome: &Outcome) -> String {
    let report = &outcome.report;
    let warnings: String = report
        .warnings
        .iter()
        .map(|warning| format!("<p class=\"warning\">{}</p>\n", escape(warning)))
        .collect();
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>clip-adapter: {what}</title>\
         <style>\n{css}</style></head><body>\n<h1>A classifier for images that nobody labelled</h1>\n\
         <p>{images} images of <code>{what}</code> without labels, {source} labelled images of another domain, {classes} \
         classes. <strong>{mode}</strong>: {why}.</p>\n{warnings}{tiles}\n{table}\
         <h2 id=\"rounds\">Rounds</h2>\n<p>In each round the surest images become examples, and all are asked \
         again.</p>\n{rounds}\n\
         <h2 id=\"classes\">Classes</h2>\n<p>How often each seems to occur, and how many images it was learned \
         from.</p>\n{shares}\n\
         <h2 id=\"doubtful\">Doubtful images</h2>\n<p>Those whose answers are least sure: labels for these would help \
         most.</p>\n{doubtful}\n\
         <footer>CLIP {backbone}, device {device}, fitted in {seconds:.1} s. Made by <code>cargo run --release --example \
         adapt</code>.</footer>\n</body></html>\n",
        what = escape(&outcome.what),
        css = include_str!("page.css"),
        images = report.images,
        source = if report.source_images == 0 { "no".to_owned() } else { report.source_images.to_string() },
        classes = report.classes.len(),
        mode = json!(report.mode).as_str().unwrap_or_default(),
        why = escape(&report.why),
        tiles = tiles(outcome),
        table = table(outcome),
        rounds = rounds(outcome),
        shares = shares(outcome),
        doubtful = doubtful(outcome),
        backbone = escape(&outcome.backbone),
        device = escape(&outcome.device),
        seconds = outcome.fit_seconds,
    )
}

fn tiles(outcome: &Outcome) -> String {
    let report = &outcome.report;
    let mut tiles = Vec::new();
    if let Some((before, after)) = &outcome.scored {
        for (name, report) in [("zero-shot", before), ("adapted", after)] {
            let words = format!("{name}, macro F1 {:.1} %", macro_f1(report));
            tiles.push((format!("{:.1} %", report.accuracy), words));
        }
    }
    tiles.push((format!("{:.2}", report.balance), "balance; 0.9 or more is even".into()));
    if let Some(last) = report.rounds.last() {
        tiles.push((format!("{:.1} %", last.agreement), "answers that the last round kept".into()));
        tiles.push((format!("{:.1} %", last.mean_confidence), "mean confidence".into()));
    }
    let tiles = tiles
        .iter()
        .map(|(value, words)| format!("<div class=\"tile\"><b>{value}</b><span>{words}</span></div>"));
    format!("<div class=\"tiles\">{}</div>", tiles.collect::<String>())
}

/// Accuracy beside what else can be done, where there are labels to score by.
fn table(outcome: &Outcome) -> String {
    let Some((before, after)) = &outcome.scored else { return String::new() };
    let row = |name: &str, accuracy: f64, f1: f64, own: bool| {
        let class = if own { " class=\"own\"" } else { "" };
        format!(
            "<tr{class}><td>{}</td><td class=\"number\">{accuracy:.1} %</td><td class=\"number\">{f1:.1} %</td>\
             <td><i style=\"width:{:.0}px\"></i></td></tr>\n",
            escape(name),
            3.0 * accuracy
        )
    };
    let others: String = outcome
        .baselines
        .iter()
        .map(|other| {
            let note = if other.warning.is_some() { " (not balanced)" } else { "" };
            row(&format!("{}{note}", other.name), other.accuracy, other.macro_f1, false)
        })
        .collect();
    format!(
        "<h2 id=\"scores\">Scores</h2>\n<p>By labels that nothing was learned from. Macro F1 is the mean over the classes \
         that the labels name.</p>\n<div class=\"wide\"><table><tr><th></th><th>accuracy</th><th>macro F1</th><th></th></tr>\n\
         {}{others}{}</table></div>\n",
        row("zero-shot", before.accuracy, macro_f1(before), false),
        row("domain-adapter", after.accuracy, macro_f1(after), true),
    )
}

fn rounds(outcome: &Outcome) -> String {
    let rows = outcome.report.rounds.iter().enumerate().map(|(at, round)| {
        format!(
            "<tr><td>{}</td><td class=\"number\">{}</td><td class=\"number\">{:.1} %</td><td class=\"number\">{:.1} \
             %</td></tr>\n",
            at + 1,
            round.pseudo_labelled,
            round.agreement,
            round.mean_confidence
        )
    });
    format!(
        "<table><tr><th>round</th><th>learned from</th><th>answers kept</th><th>mean confidence</th></tr>\n{}</table>",
        rows.collect::<String>()
    )
}

fn shares(outcome: &Outcome) -> String {
    let most = outcome.report.classes.iter().map(|class| class.share).fold(1e-9, f64::max);
    let rows = outcome.report.classes.iter().map(|class| {
        format!(
            "<tr><td>{}{}</td><td class=\"number\">{:.1} %</td><td class=\"number\">{}</td><td class=\"number\">{}</td>\
             <td><i style=\"width:{:.0}px\"></i></td></tr>\n",
            escape(&class.name),
            if class.absent { " (absent)" } else { "" },
            class.share,
            class.answers,
            class.pseudo_labelled,
            240.0 * class.share / most
        )
    });
    format!(
        "<div class=\"wide\"><table><tr><th>class</th><th>share</th><th>images</th><th>learned from</th><th></th></tr>\n\
         {}</table></div>",
        rows.collect::<String>()
    )
}

fn doubtful(outcome: &Outcome) -> String {
    let card = |image: &DoubtfulImage| {
        let (picture, name) = match &outcome.images {
            Images::Rows => (String::new(), format!("image {}", image.image)),
            Images::Files { files, .. } => {
                let (file, _) = &files[image.image];
                (picture(file, outcome), readable(file.file_name().unwrap_or_default()))
            }
        };
        format!(
            "<figure class=\"card\">{picture}<figcaption><strong>{}</strong>{} at {:.1} %, or {}</figcaption></figure>\n",
            escape(&name),
            escape(&image.class),
            image.confidence,
            escape(&image.second)
        )
    };
    let cards: String = outcome.report.doubtful.iter().map(card).collect();
    format!("<div class=\"cards\">{cards}</div>")
}

/// A small picture as a `data:` address; nothing where it cannot be read again.
fn picture(file: &Path, outcome: &Outcome) -> String {
    let Images::Files { preprocess, .. } = &outcome.images else { return String::new() };
    let Ok(image) = preprocess.decode(file) else { return String::new() };
    let (width, height) = image.dimensions();
    let longest = width.max(height).max(1);
    let scaled =
        |side: u32| (u64::from(side) * u64::from(SIDE.min(longest)) / u64::from(longest)).max(1) as u32;
    let small = imageops::thumbnail(&image, scaled(width), scaled(height));
    let mut png = Cursor::new(Vec::new());
    match small.write_to(&mut png, ImageFormat::Png) {
        Ok(()) => {
            format!("<img src=\"data:image/png;base64,{}\" alt=\"\">", BASE64_STANDARD.encode(png.get_ref()))
        }
        Err(_) => String::new(),
    }
}

/// Text as it is, where markup is expected.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
