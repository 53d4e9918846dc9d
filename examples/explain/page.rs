//! One page with everything in it: no script, no other file.

use clip_adapter::explain::{Kind, LearningCurve};

use crate::{
    chart,
    data::Data,
    outcome::{Outcome, in_words},
    parts::{Parts, tiles},
};

pub fn render(outcome: &Outcome, data: &Data) -> String {
    let parts = Parts { outcome, data };
    let changes = &outcome.changes;
    let names = data.asked.class_names();
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>What {method} learned: {what}</title>\
         <style>\n{css}</style></head><body>\n<main>\n<h1>What <code>{method}</code> learned of {what}</h1>\n\
         <p>{shots} images of each of {classes} classes taught it; {images} others were asked about.</p>\n\
         <nav aria-label=\"parts of this page\"><a href=\"#trust\">trust</a><a href=\"#classes\">classes</a>\
         <a href=\"#concepts\">concepts</a><a href=\"#units\">units</a><a href=\"#decisions\">decisions</a>\
         <a href=\"#suspects\">doubtful shots</a><a href=\"#duplicates\">duplicates</a><a href=\"#map\">map</a></nav>\n\
         {tiles}\n\
         <h2 id=\"trust\">Whether to trust it</h2>\n{trust}\n\
         <h2 id=\"classes\">Gained and lost by class</h2>\n<p>Right answers of each class, in percent: hollow points are \
         zero-shot CLIP, full ones the adapter.</p>\n{by_class}\n\
         <h2 id=\"concepts\">Concepts added and taken away</h2>\n{concepts}\n\
         <h2 id=\"units\">Hidden units</h2>\n{units}\n\
         <h2 id=\"decisions\">Decisions that changed</h2>\n{decisions}\n\
         <h2 id=\"suspects\">Doubtful training images</h2>\n{suspects}\n\
         <h2 id=\"duplicates\">Near-duplicates of training images</h2>\n{duplicates}\n\
         <h2 id=\"map\">Map</h2>\n{map}\n</main>\n\
         <footer>CLIP {backbone}, device {device}, seed {seed}, fitted in {seconds:.1} s. Made by <code>cargo run --release \
         --example explain</code>.</footer>\n</body></html>\n",
        method = escape(&outcome.method),
        what = escape(&outcome.data),
        css = include_str!("page.css"),
        shots = outcome.shots,
        classes = names.len(),
        images = changes.images,
        tiles = tiles(outcome),
        trust = trust(outcome),
        by_class = wide("Chart of the classes", &chart::classes(&changes.classes)),
        concepts = parts.concepts(),
        units = parts.units(),
        decisions = [
            parts.decisions(Kind::Fixed, "Corrected", 12),
            parts.decisions(Kind::Broken, "Spoiled", 12),
            parts.decisions(Kind::OtherWrong, "Wrong both times", 6),
            parts.heat(),
        ]
        .concat(),
        suspects = parts.suspects(),
        duplicates = parts.duplicates(),
        map = map(outcome, data),
        backbone = escape(&outcome.backbone),
        device = escape(&outcome.device),
        seed = outcome.seed,
        seconds = outcome.fit_seconds,
    )
}

/// What can be said without a test set, beside what the test says.
fn trust(outcome: &Outcome) -> String {
    let diagnosis = &outcome.diagnosis;
    let mut html = match &outcome.held_out.0 {
        Ok(estimate) => format!(
            "<p>From the shots alone, each asked about by what was fitted without it, <strong>{:.1} %</strong> are right, and \
             with 95 % confidence at least <strong>{:.1} %</strong>; the images that were asked about say {:.1} %. The \
             estimate is usually too low, as it learns from fewer shots.</p>",
            estimate.accuracy, estimate.lower_95, outcome.changes.after
        ),
        Err(why) => none("estimate from the shots alone", why),
    };
    html += &match &outcome.certificate.0 {
        Ok(found) => format!(
            "<p>A certificate: fitted on half of the shots it had {} of the other {} wrong, so that this model's error on images \
             like these is at most {:.1} % with 95 % confidence.</p>",
            found.wrong, found.images, found.error_at_most
        ),
        Err(why) => none("certificate", why),
    };
    html += &format!(
        "<p>Before any fit: zero-shot CLIP has {:.1} % of the shots right and is unsure by {:.2} nats, what it leaves over is \
         alike by {:.3} where images are. The more of both, the more there is to gain. {:.0} shots have {:.1} degrees of \
         freedom in a kernel regression{}.</p>",
        diagnosis.zero_shot,
        diagnosis.unsure,
        diagnosis.alignment,
        diagnosis.images as f64,
        diagnosis.kernel_freedom,
        diagnosis
            .gaussian_freedom
            .map(|found| format!(", and their spread {found:.1} dimensions in Gaussians"))
            .unwrap_or_default()
    );
    html + &match &outcome.curve.0 {
        Ok(curve) => curve_with_words(curve, outcome),
        Err(why) => none("learning curve", why),
    }
}

fn curve_with_words(curve: &LearningCurve, outcome: &Outcome) -> String {
    format!(
        "<h3>How many more images</h3><p>Measured with <code>{}</code> on shots that it did not see: {}. From few shots this is \
         off by some two or three points, mostly too low.</p>\n{}",
        escape(&outcome.curve_method),
        in_words(curve),
        chart::curve(curve, outcome.changes.before)
    )
}

fn map(outcome: &Outcome, data: &Data) -> String {
    let plane = match &outcome.plane.0 {
        Ok(plane) => plane,
        Err(why) => return none("map", why),
    };
    let [before, after] = outcome.purity;
    let purity = |value: Option<f64>| value.map_or("unknown".to_owned(), |value| format!("{value:.1} %"));
    let adapted = match plane.after.is_empty() {
        true => String::new(),
        false => format!(", after adapting {}", purity(after)),
    };
    format!(
        "<p>Two directions that hold {:.0} and {:.0} % of the variance: a plane hides most. In full, of the five images nearest \
         to an image {} are of its class{adapted}.</p>\n{}",
        plane.explained[0],
        plane.explained[1],
        purity(before),
        chart::plane(plane, data.asked.labels(), data.asked.class_names())
    )
}

/// What may be wider than the page: it can be moved by keys, too.
pub fn wide(name: &str, inner: &str) -> String {
    format!("<div class=\"wide\" role=\"region\" aria-label=\"{name}\" tabindex=\"0\">{inner}</div>")
}

/// Why a part is missing.
pub fn none(part: &str, why: &str) -> String {
    format!("<p class=\"none\">There is no {part}: {}.</p>", escape(why.trim_end_matches('.')))
}

/// Text as it is, where markup is expected.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
