//! Accuracy over shots as a picture (SVG).

use clip_adapter::{ZeroShot, model::Settings};

use crate::study::{Point, Study};

/// Sizes in pixels: the picture, and where the plot is in it.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 330.0;
const LEFT: f64 = 48.0;
const RIGHT: f64 = 600.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 280.0;

/// Room that a name at the end of a line takes.
const LINE: f64 = 18.0;

/// Colours of the methods, in order.
pub const COLOURS: [&str; 2] = ["#2563eb", "#0f9d76"];

/// Where things go: one place a number of shots, and accuracies between two round numbers.
struct Axes {
    places: usize,
    low: f64,
    high: f64,
}

impl Axes {
    fn x(&self, place: usize) -> f64 {
        match self.places {
            0 | 1 => RIGHT,
            places => LEFT + 30.0 + (RIGHT - LEFT - 30.0) * place as f64 / (places - 1) as f64,
        }
    }

    fn y(&self, accuracy: f64) -> f64 {
        BOTTOM - (BOTTOM - TOP) * (accuracy - self.low) / (self.high - self.low)
    }
}

/// One line a method, and a dashed one for zero-shot CLIP, which takes no shots.
pub fn draw(study: &Study) -> String {
    let zero_shot = study.before.report.accuracy;
    let all = || study.points.iter().map(|point| point.accuracy).chain([zero_shot]);
    let low = (all().fold(100.0, f64::min) / 10.0 - 0.3).floor().max(0.0) * 10.0;
    let high = (all().fold(0.0, f64::max) / 10.0 + 0.3).ceil().min(10.0) * 10.0;
    let lines = study.methods().map(|method| study.of(method));
    let axes = Axes { places: lines[0].len(), low, high };

    let mut picture = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"accuracy over shots\" \
         font-family=\"inherit\" font-size=\"13\">"
    );
    picture.push_str(&grid(&axes, &lines[0]));
    let flat = axes.y(zero_shot);
    picture.push_str(&format!(
        "<line x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{flat:.1}\" y2=\"{flat:.1}\" stroke=\"#6b7280\" stroke-width=\"2\" \
         stroke-dasharray=\"6 5\"/>"
    ));
    let mut names = vec![(flat, ZeroShot::NAME, zero_shot, "#6b7280")];
    for (points, colour) in lines.iter().zip(COLOURS) {
        picture.push_str(&line(&axes, points, colour));
        if let Some(last) = points.last() {
            names.push((axes.y(last.accuracy), last.method, last.accuracy, colour));
        }
    }
    names.sort_by(|(a, ..), (b, ..)| a.total_cmp(b));
    let mut free = f64::NEG_INFINITY; // names do not lie on one another
    for (y, name, accuracy, colour) in names {
        let y = y.max(free);
        free = y + LINE;
        picture.push_str(&format!(
            "<text x=\"{:.0}\" y=\"{:.1}\" fill=\"{colour}\" font-weight=\"600\">{name} {accuracy:.1} %</text>",
            RIGHT + 12.0,
            y + 4.0
        ));
    }
    picture + "</svg>"
}

/// Round accuracies from left to right, and the numbers of shots below.
fn grid(axes: &Axes, points: &[&Point]) -> String {
    let (first, last) = ((axes.low / 10.0) as usize, (axes.high / 10.0) as usize);
    let rows = (first..=last).map(|tens| {
        let (accuracy, y) = (10 * tens, axes.y(10.0 * tens as f64));
        format!(
            "<line x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#e5e7eb\"/>\
             <text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#6b7280\">{accuracy}</text>",
            LEFT - 8.0,
            y + 4.0
        )
    });
    let columns = points.iter().enumerate().map(|(place, point)| {
        format!(
            "<text x=\"{:.1}\" y=\"{:.0}\" text-anchor=\"middle\" fill=\"#6b7280\">{}</text>",
            axes.x(place),
            BOTTOM + 20.0,
            point.shots
        )
    });
    let title = format!(
        "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\" fill=\"#6b7280\">shots of each class</text>",
        (LEFT + RIGHT) / 2.0,
        BOTTOM + 40.0
    );
    rows.chain(columns).chain([title]).collect()
}

fn line(axes: &Axes, points: &[&Point], colour: &str) -> String {
    let at: Vec<(f64, f64)> =
        points.iter().enumerate().map(|(place, point)| (axes.x(place), axes.y(point.accuracy))).collect();
    let path: Vec<String> = at.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let dots: String = at
        .iter()
        .map(|(x, y)| format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"/>"))
        .collect();
    format!(
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2.5\"/>{dots}",
        path.join(" ")
    )
}
