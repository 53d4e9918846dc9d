//! Outcomes as text, all of it Markdown.

use std::fmt::Write;

use crate::{
    summary::{MEAN, Spread, Summary, accuracies as accuracies_of, blocks, methods, shots, spread},
    trial::Outcome,
};

impl Spread {
    fn in_words(self, decimals: usize) -> String {
        format!("{:.decimals$} ± {:.decimals$}", self.mean, self.deviation)
    }
}

/// A block a data set, a row a method, a column a number of shots.
pub fn accuracies(outcomes: &[Outcome]) -> String {
    let shots = shots(outcomes);
    let Some(first) = outcomes.first() else { return String::new() };
    let mut text =
        format!("Accuracy in percent, mean and standard deviation over seeds, {} protocol\n", first.protocol);
    for block in blocks(outcomes) {
        let _ = writeln!(text, "\n| {block} |{}", columns(&shots));
        let _ = writeln!(text, "| --- |{}", " ---: |".repeat(shots.len()));
        for method in methods(outcomes) {
            let _ = write!(text, "| {method} |");
            for &shots in &shots {
                let accuracy = spread(&accuracies_of(outcomes, block, method, shots));
                let _ = write!(text, " {} |", accuracy.in_words(2));
            }
            text.push('\n');
        }
    }
    text
}

/// A row a data set, a number of shots and a method; a column a measure.
pub fn measures(summary: &Summary) -> String {
    let mut text =
        "\n| data set | shots | method | accuracy, % | macro F1, % | ECE, % | fit, s |\n".to_owned();
    text.push_str("| --- | ---: | --- | ---: | ---: | ---: | ---: |\n");
    for cell in &summary.cells {
        let _ = write!(text, "| {} | {} | {} |", cell.dataset, cell.shots, cell.method);
        for measure in [cell.accuracy, cell.macro_f1, cell.ece] {
            let _ = write!(text, " {} |", measure.in_words(2));
        }
        let _ = writeln!(text, " {} |", cell.fit_seconds.in_words(3));
    }
    text.push('\n');
    text
}

/// A row a method: mean accuracies over data sets and seeds, its mean rank, and how long it fits the most shots.
pub fn overview(outcomes: &[Outcome], summary: &Summary) -> String {
    let (shots, blocks) = (shots(outcomes), blocks(outcomes));
    let (Some(first), Some(most)) = (outcomes.first(), shots.iter().copied().max()) else {
        return String::new();
    };
    let all = blocks.last().copied().unwrap_or(MEAN); // of one data set, that one
    let mut text = format!("Accuracy in percent, {all}, {} protocol\n\n", first.protocol);
    let _ = writeln!(text, "| method |{} mean rank | fit at {most}, s |", columns(&shots));
    let _ = writeln!(text, "| --- |{}", " ---: |".repeat(shots.len() + 2));
    for rank in &summary.ranks {
        let _ = write!(text, "| {} |", rank.method);
        for cell in shots.iter().filter_map(|&shots| summary.cell(all, &rank.method, shots)) {
            let _ = write!(text, " {:.2} |", cell.accuracy.mean);
        }
        let _ = write!(text, " {:.2} |", rank.rank);
        if let Some(cell) = summary.cell(all, &rank.method, most) {
            let _ = write!(text, " {:.3} |", cell.fit_seconds.mean);
        }
        text.push('\n');
    }
    text
}

fn columns(shots: &[usize]) -> String {
    let column = |shots: &usize| format!(" {shots} shot{} |", if *shots == 1 { "" } else { "s" });
    shots.iter().map(column).collect()
}
