//! Pictures of numbers (SVG), in the page's own colours.

use clip_adapter::explain::{ClassChange, LearningCurve, Plane};

use crate::page::escape;

/// Accuracy over shots: what was measured, and where it seems to go.
pub fn curve(curve: &LearningCurve, zero_shot: f64) -> String {
    const WIDTH: f64 = 640.0;
    const HEIGHT: f64 = 280.0;
    let (left, right, top, bottom) = (44.0, WIDTH - 20.0, 14.0, HEIGHT - 40.0);
    let last = curve.points.last().map_or(1, |point| point.shots) + 1;
    let most = (4 * last) as f64;
    let accuracies = curve.points.iter().map(|point| point.accuracy);
    let least = accuracies.fold(zero_shot, f64::min);
    let low = ((least - 2.0) / 20.0).floor().max(0.0) * 20.0; // so that the lines lie at whole numbers
    let x = |shots: f64| left + (right - left) * shots.ln() / most.ln().max(1e-9);
    let y = |accuracy: f64| bottom - (bottom - top) * (accuracy - low) / (100.0 - low);
    let mut svg = format!(
        "<svg class=\"curve\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"Accuracy over shots of a class: {}\">",
        curve
            .points
            .iter()
            .map(|point| format!("{} shots {:.1} %", point.shots, point.accuracy))
            .collect::<Vec<_>>()
            .join(", ")
    );
    for step in 0..=4 {
        let accuracy = low + (100.0 - low) * f64::from(step) / 4.0;
        let at = y(accuracy);
        svg += &format!(
            "<line class=\"grid\" x1=\"{left}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{accuracy:.0}</text>",
            left - 6.0,
            at + 4.0
        );
    }
    let mut tick = 1;
    while tick as f64 <= most {
        svg += &format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{tick}</text>",
            x(tick as f64),
            bottom + 17.0
        );
        tick *= 2;
    }
    svg += &format!(
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">shots of a class</text>\
         <line class=\"zero\" x1=\"{left}\" x2=\"{right}\" y1=\"{:.1}\" y2=\"{:.1}\"/>\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">zero-shot</text>",
        right,
        bottom + 33.0,
        y(zero_shot),
        y(zero_shot),
        right,
        y(zero_shot) - 5.0
    );
    // Every number of shots up to 20, then in steps of a twentieth.
    let steps = std::iter::successors(Some(1), |&shots| Some(shots + 1 + shots / 20));
    let path: Vec<String> = steps
        .take_while(|&shots| shots as f64 <= most)
        .map(|shots| format!("{:.1},{:.1}", x(shots as f64), y(curve.accuracy_at(shots).max(low))))
        .collect();
    svg += &format!("<polyline class=\"fit\" points=\"{}\"/>", path.join(" "));
    for point in &curve.points {
        svg += &format!(
            "<circle class=\"dot\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"4.5\"><title>{} shots: {:.1} %</title></circle>",
            x(point.shots as f64),
            y(point.accuracy),
            point.shots,
            point.accuracy
        );
    }
    svg + "</svg>"
}

/// Right answers of each class before and after: from a hollow point to a full one.
pub fn classes(classes: &[ClassChange]) -> String {
    const WIDTH: f64 = 640.0;
    const ROW: f64 = 20.0;
    let mut order: Vec<&ClassChange> = classes.iter().filter(|class| class.images > 0).collect();
    let share = |class: &ClassChange, right: usize| 100.0 * right as f64 / class.images as f64;
    let gain = |class: &ClassChange| share(class, class.after) - share(class, class.before);
    order.sort_by(|one, other| gain(other).total_cmp(&gain(one)));
    let (left, right) = (190.0, WIDTH - 70.0);
    let x = |percent: f64| left + (right - left) * percent / 100.0;
    let height = ROW * order.len() as f64 + 26.0;
    let mut svg = format!(
        "<svg class=\"classes\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"Right answers of each class before and after, in \
         percent, by gain\">"
    );
    for percent in [0.0, 25.0, 50.0, 75.0, 100.0] {
        let at = x(percent);
        svg += &format!(
            "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"4\" y2=\"{:.1}\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{percent:.0}</text>",
            height - 20.0,
            height - 5.0
        );
    }
    for (row, class) in order.iter().enumerate() {
        let at = ROW * row as f64 + 14.0;
        let (before, after) = (share(class, class.before), share(class, class.after));
        let kind = if after < before { "lost" } else { "gained" };
        svg += &format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <line class=\"{kind}\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <circle class=\"was\" cx=\"{:.1}\" cy=\"{at:.1}\" r=\"4\"/>\
             <circle class=\"{kind}\" cx=\"{:.1}\" cy=\"{at:.1}\" r=\"4\"><title>{:.0} % to {:.0} % of {} images</title></circle>\
             <text x=\"{:.1}\" y=\"{:.1}\">{:+.1}</text>",
            left - 10.0,
            at + 4.0,
            escape(&short(&class.name, 26)),
            x(before),
            x(after),
            x(before),
            x(after),
            before,
            after,
            class.images,
            right + 14.0,
            at + 4.0,
            after - before
        );
    }
    svg + "</svg>"
}

/// Of more classes than these the colours have no names.
const MOST_COLOURS: usize = 40;

/// Images on a plane, a colour a class.
pub fn plane(plane: &Plane, labels: &[usize], names: &[String]) -> String {
    let both = plane.before.iter().chain(&plane.after);
    let (mut low, mut high) = ([f64::INFINITY; 2], [f64::NEG_INFINITY; 2]);
    for point in both {
        for axis in 0..2 {
            low[axis] = low[axis].min(point[axis]);
            high[axis] = high[axis].max(point[axis]);
        }
    }
    let panel = |title: &str, points: &[[f64; 2]]| {
        let place = |point: &[f64; 2], axis: usize| {
            10.0 + 300.0 * (point[axis] - low[axis]) / (high[axis] - low[axis]).max(1e-9)
        };
        let mut svg = format!(
            "<figure class=\"panel\"><figcaption>{title}</figcaption><svg viewBox=\"0 0 320 320\" role=\"img\" \
             aria-label=\"{title}: {} images on a plane, a colour for each of {} classes\">",
            points.len(),
            names.len()
        );
        for (point, &label) in points.iter().zip(labels) {
            svg += &format!(
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{}\"><title>{}</title></circle>",
                place(point, 0),
                place(point, 1),
                colour(label, names.len()),
                escape(&names[label])
            );
        }
        svg + "</svg></figure>"
    };
    let mut panels = panel("Before", &plane.before);
    if !plane.after.is_empty() {
        panels += &panel("After", &plane.after);
    }
    let entry = |(label, name): (usize, &String)| {
        let colour = colour(label, names.len());
        format!("<li><i style=\"background: {colour}\"></i>{}</li>", escape(name))
    };
    let legend = match names.len() {
        0..=MOST_COLOURS => names.iter().enumerate().map(entry).collect(),
        _ => String::new(), // nobody tells them apart
    };
    let legend = if legend.is_empty() { legend } else { format!("<ul class=\"legend\">{legend}</ul>") };
    format!("<div class=\"panels\">{panels}</div>{legend}")
}

fn colour(label: usize, labels: usize) -> String {
    format!("hsl({} {}% 50%)", label * 360 / labels.max(1), if label.is_multiple_of(2) { 75 } else { 45 })
}

/// The beginning of a long name.
fn short(name: &str, most: usize) -> String {
    match name.chars().count() <= most {
        true => name.to_owned(),
        false => name.chars().take(most - 1).chain(['…']).collect(),
    }
}
