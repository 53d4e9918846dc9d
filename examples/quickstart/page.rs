//! One page with everything in it: no script, no other file.

use std::path::Path;

use clip_adapter::{Report, Result, input::Preprocess};

use crate::{
    Classified, Facts,
    cli::{data_uri, html::escape},
    curve,
    study::{Change, Study},
};

/// Images shown of those that were corrected, and of each other kind of change.
const CORRECTED: usize = 18;
const OTHERS: usize = 6;

pub fn render(
    facts: &Facts,
    study: &Study,
    others: &[Classified],
    preprocess: &Preprocess,
) -> Result<String> {
    let page = Page { study, preprocess, names: study.held_out.class_names() };
    let cards: Vec<String> = others.iter().map(|other| page.other(other)).collect::<Result<_>>()?;
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>clip-adapter: {images}</title>\
         <style>\n{css}</style></head><body>\n<h1>What {shots} shots teach CLIP</h1>\n\
         <p>The same CLIP twice: as it is, and with a small adapter on its features that was trained on {shots} images of \
         each of {classes} classes. Both are scored on the same {tested} other images of <code>{images}</code>.</p>\n{tiles}\n\
         <h2 id=\"shots\">Accuracy over shots</h2>\n<p>Percent right. The dashed line is CLIP as it is, which takes \
         no shots.</p>\n{curve}\n\
         <h2 id=\"confusion\">Confusion before and after</h2>\n<p>Rows are what it is, columns what it was \
         called.</p>\n<div class=\"side\">\n{before}\n{after}\n</div>\n\
         <h2 id=\"changed\">Decisions that changed</h2>\n<p>How alike picture and class are, as a share of 100 % \
         over all classes:{key}. What it is stands in bold.</p>\n{changed}\n\
         <h2 id=\"style\">Pictures of another style</h2>\n<p>Classified by the adapter as it was read back from its \
         file.</p>\n<div class=\"cards\">{cards}</div>\n\
         <footer>{classes} classes, seed {seed}, device {device}, CLIP {backbone}. Made by <code>cargo run --release \
         --example quickstart</code>; with <code>--backbone</code> and <code>--images</code> it is made of your \
         own.</footer>\n</body></html>\n",
        css = include_str!("page.css"),
        images = escape(&facts.images),
        backbone = escape(&facts.backbone),
        shots = facts.shots,
        classes = facts.classes,
        tested = facts.tested,
        seed = facts.seed,
        device = escape(&facts.device),
        tiles = page.tiles(facts),
        curve = curve::draw(study),
        before = confusion("Zero-shot CLIP", &study.before.report),
        after = confusion("With CLIP-Adapter", &study.after.report),
        key = "<span class=\"key before\"></span>before<span class=\"key after\"></span>after",
        changed = page.changed()?,
        cards = cards.concat(),
    ))
}

/// Whether a changed decision is of some kind.
type IsKind = fn(&Change) -> bool;

/// What every part of the page draws from.
struct Page<'a> {
    study: &'a Study,
    preprocess: &'a Preprocess,
    names: &'a [String],
}

impl Page<'_> {
    fn tiles(&self, facts: &Facts) -> String {
        let (before, after) = (&self.study.before.report, &self.study.after.report);
        let gain = after.accuracy - before.accuracy;
        let tiles = [
            (format!("{:.1} %", before.accuracy), format!("zero-shot, macro F1 {:.1} %", before.macro_f1)),
            (format!("{:.1} %", after.accuracy), format!("CLIP-Adapter, macro F1 {:.1} %", after.macro_f1)),
            (format!("{gain:+.1}"), "points gained".into()),
            (format!("{:.1} s", facts.fit_seconds), "to train the adapter".into()),
            (format!("{:.1} s", facts.encode_seconds), format!("to encode {} images", facts.encoded)),
        ]
        .map(|(value, words)| boxed("tile", &format!("<b>{value}</b><span>{words}</span>")));
        boxed("tiles", &tiles.concat())
    }

    /// The changed decisions by kind: how many, and some of them.
    fn changed(&self) -> Result<String> {
        let changes = self.study.changes();
        let kinds: [(&str, usize, IsKind); 3] = [
            ("Corrected", CORRECTED, |change| change.after == change.truth),
            ("Spoiled", OTHERS, |change| change.before == change.truth),
            ("Wrong both times", OTHERS, |change| {
                change.before != change.truth && change.after != change.truth
            }),
        ];
        let kinds = kinds.map(|(title, most, is)| -> Result<String> {
            let all: Vec<&Change> = changes.iter().filter(|change| is(change)).collect();
            // Spread over the classes, which follow one another.
            let shown = all.len().min(most);
            let cards = (0..shown).map(|index| self.change(all[index * all.len() / shown]));
            let cards = cards.collect::<Result<String>>()?;
            let some = if shown < all.len() { format!(", {shown} of them") } else { String::new() };
            Ok(format!("<h3>{title}: {}{some}</h3>{}", all.len(), boxed("cards", &cards)))
        });
        kinds.into_iter().collect()
    }

    fn change(&self, change: &Change) -> Result<String> {
        let [before, after] = [&self.study.before, &self.study.after]
            .map(|verdict| verdict.logits.select(&[change.row]).probabilities().next().unwrap_or_default());
        let shown = [change.truth, change.before, change.after];
        let bars = self.bars(&shown, Some(change.truth), &before, &after);
        self.card(&self.study.files[change.row], &bars)
    }

    fn other(&self, image: &Classified) -> Result<String> {
        let (before, after) = (&image.before, &image.after);
        let shown = [after.class, before.class];
        let bars = self.bars(&shown, None, &before.probabilities, &after.probabilities);
        self.card(&image.file, &bars)
    }

    fn card(&self, file: &Path, bars: &str) -> Result<String> {
        let picture = data_uri::of(&self.preprocess.decode(file)?, file)?;
        let name = escape(&file.file_stem().unwrap_or_default().to_string_lossy().replace('-', " "));
        Ok(format!(
            "<figure class=\"card\"><img src=\"{picture}\" alt=\"{name}\"><figcaption><strong>{name}</strong>{bars}\
             </figcaption></figure>\n"
        ))
    }

    /// Two bars for each of these classes, of which the same is shown once.
    fn bars(&self, classes: &[usize], truth: Option<usize>, before: &[f32], after: &[f32]) -> String {
        let first = |index: usize| !classes[..index].contains(&classes[index]);
        (0..classes.len())
            .filter(|&index| first(index))
            .map(|index| {
                let class = classes[index];
                let name = escape(&self.names[class]);
                let (is, mark) = if truth == Some(class) { (" class=\"truth\"", " ✓") } else { ("", "") };
                let bar = |kind: &str, part: f32| {
                    let percent = 100.0 * part;
                    format!("<i class=\"{kind}\" style=\"width:{percent:.1}%\"></i><u>{percent:.0} %</u>")
                };
                let bars = bar("before", before[class]) + &bar("after", after[class]);
                format!("<div class=\"bar\"><em{is}>{name}{mark}</em>{bars}</div>")
            })
            .collect()
    }
}

/// Counts, the darker the larger their share of the row: right ones blue, others red.
fn confusion(title: &str, report: &Report) -> String {
    let names: Vec<String> = report.classes.iter().map(|class| escape(&class.name)).collect();
    let head: String = names.iter().map(|name| format!("<th>{name}</th>")).collect();
    let rows = names.iter().zip(&report.confusion).enumerate().map(|(truth, (name, counts))| {
        let all = counts.iter().sum::<usize>().max(1) as f64;
        let cells = counts.iter().enumerate().map(|(called, &count)| {
            if count == 0 {
                return "<td></td>".to_owned();
            }
            let share = count as f64 / all;
            let colour = if called == truth { "37,99,235" } else { "220,38,38" };
            let ink = if share > 0.5 { ";color:#fff" } else { "" };
            format!("<td style=\"background:rgba({colour},{:.2}){ink}\">{count}</td>", 0.12 + 0.8 * share)
        });
        format!("<tr><th>{name}</th>{}</tr>\n", cells.collect::<String>())
    });
    format!(
        "<table class=\"confusion\"><caption>{title}: {:.1} %</caption><thead><tr><td></td>{head}</tr></thead>\
         <tbody>\n{}</tbody></table>",
        report.accuracy,
        rows.collect::<String>()
    )
}

/// The same in a box of this class.
fn boxed(class: &str, contents: &str) -> String {
    format!("<div class=\"{class}\">{contents}</div>")
}
