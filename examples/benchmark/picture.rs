//! Accuracy over shots as SVG: a panel a data set, a line a method.

use plotters::{
    coord::Shift,
    prelude::*,
    style::{
        FontDesc,
        text_anchor::{HPos, Pos, VPos},
    },
};

use crate::{
    summary::{accuracies, blocks, methods, shots, spread},
    trial::Outcome,
};

const PANEL: (u32, u32) = (420, 300);
const LEGEND_ROW: u32 = 22;

/// Colours that stay apart for colour-blind readers (Okabe and Ito, 2008).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 0, 0),
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

/// Draws all panels, two a row, with one legend below.
pub fn draw(outcomes: &[Outcome]) -> String {
    let blocks = blocks(outcomes);
    let methods = methods(outcomes);
    let columns = blocks.len().min(2) as u32;
    let rows = blocks.len().div_ceil(2) as u32;
    let legend = LEGEND_ROW * methods.len() as u32 + 16;
    let size = (columns * PANEL.0, rows * PANEL.1 + legend);
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        root.fill(&WHITE).expect("drawing to a string");
        let (panels, below) = root.split_vertically(rows * PANEL.1);
        for (panel, block) in panels.split_evenly((rows as usize, columns as usize)).iter().zip(&blocks) {
            draw_panel(panel, outcomes, block, &methods).expect("drawing to a string");
        }
        draw_legend(&below, &methods).expect("drawing to a string");
        root.present().expect("drawing to a string");
    }
    svg
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

fn draw_panel<'a>(area: &Area<'a>, outcomes: &[Outcome], block: &str, methods: &[&str]) -> Drawn<'a> {
    let shots = shots(outcomes);
    let lines: Vec<Vec<(f64, f64)>> = methods
        .iter()
        .map(|method| {
            let mean = |shots| spread(&accuracies(outcomes, block, method, shots)).mean;
            shots.iter().map(|&shots| ((shots as f64).log2(), mean(shots))).collect()
        })
        .collect();
    let values = || lines.iter().flatten().map(|point| point.1);
    let (low, high) = (values().fold(f64::MAX, f64::min), values().fold(f64::MIN, f64::max));
    let margin = (0.08 * (high - low)).max(0.5);
    let last = shots.iter().map(|&shots| (shots as f64).log2()).fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(block, ("sans-serif", 16))
        .margin(10)
        .margin_right(20)
        .x_label_area_size(36)
        .y_label_area_size(48)
        .build_cartesian_2d(-0.1..last + 0.1, low - margin..high + margin)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.12))
        .axis_style(BLACK.mix(0.5))
        .x_labels(0)
        .y_labels(6)
        .x_desc("shots a class")
        .y_desc("accuracy, %")
        .y_label_formatter(&|value| format!("{value:.0}"))
        .draw()?;
    let label = TextStyle::from(FontDesc::from(("sans-serif", 12))).pos(Pos::new(HPos::Center, VPos::Top));
    for &shots in &shots {
        let (x, y) = chart.backend_coord(&((shots as f64).log2(), low - margin));
        let (left, top) = area.get_base_pixel();
        area.draw(&Text::new(shots.to_string(), (x - left, y - top + 6), label.clone()))?;
    }
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        chart.draw_series(LineSeries::new(line.iter().copied(), colour.stroke_width(2)))?;
        chart.draw_series(line.iter().map(|&point| Circle::new(point, 3, colour.filled())))?;
    }
    Ok(())
}

fn draw_legend<'a>(area: &Area<'a>, methods: &[&str]) -> Drawn<'a> {
    for (row, (method, colour)) in methods.iter().zip(COLOURS.iter().cycle()).enumerate() {
        let y = (LEGEND_ROW * row as u32 + 12) as i32;
        area.draw(&PathElement::new([(60, y), (84, y)], colour.stroke_width(2)))?;
        area.draw(&Circle::new((72, y), 3, colour.filled()))?;
        let style =
            TextStyle::from(FontDesc::from(("sans-serif", 14))).pos(Pos::new(HPos::Left, VPos::Center));
        area.draw(&Text::new((*method).to_owned(), (94, y), style))?;
    }
    Ok(())
}
