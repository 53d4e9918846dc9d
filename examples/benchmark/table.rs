//! Outcomes as text: a block a data set, a row a method, a column a number of shots.

use std::{collections::BTreeSet, fmt::Write};

use crate::Outcome;

/// The name of the block and panel that averages over data sets.
pub const MEAN: &str = "mean over data sets";

/// Mean and standard deviation of accuracies, in percent.
pub fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
    (mean, variance.sqrt())
}

/// Values without repetition, in the order they first come.
pub fn distinct<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    values.fold(Vec::new(), |mut seen, value| {
        if !seen.contains(&value) {
            seen.push(value);
        }
        seen
    })
}

/// Accuracies of one method at some shots, one a seed. For the mean, each seed's is averaged over the data sets.
pub fn accuracies(outcomes: &[Outcome], dataset: &str, method: &str, shots: usize) -> Vec<f64> {
    let seeds: BTreeSet<u64> = outcomes.iter().map(|outcome| outcome.seed).collect();
    seeds
        .into_iter()
        .filter_map(|seed| {
            let values: Vec<f64> = outcomes
                .iter()
                .filter(|outcome| outcome.method == method && outcome.shots == shots && outcome.seed == seed)
                .filter(|outcome| dataset == MEAN || outcome.dataset == dataset)
                .map(|outcome| outcome.accuracy)
                .collect();
            (!values.is_empty()).then(|| mean_and_deviation(&values).0)
        })
        .collect()
}

/// The data sets, followed by their mean if there are several.
pub fn blocks(outcomes: &[Outcome]) -> Vec<&str> {
    let mut blocks = distinct(outcomes.iter().map(|outcome| outcome.dataset.as_str()));
    if blocks.len() > 1 {
        blocks.push(MEAN);
    }
    blocks
}

/// The table as Markdown.
pub fn render(outcomes: &[Outcome]) -> String {
    let methods = distinct(outcomes.iter().map(|outcome| outcome.method.as_str()));
    let shots = distinct(outcomes.iter().map(|outcome| outcome.shots));
    let Some(first) = outcomes.first() else { return String::new() };
    let mut text =
        format!("Accuracy in percent, mean and standard deviation over seeds, {} protocol\n", first.protocol);
    for block in blocks(outcomes) {
        let _ = write!(text, "\n| {block} |");
        for shots in &shots {
            let _ = write!(text, " {shots} shot{} |", if *shots == 1 { "" } else { "s" });
        }
        let _ = writeln!(text, "\n| --- |{}", " ---: |".repeat(shots.len()));
        for method in &methods {
            let _ = write!(text, "| {method} |");
            for &shots in &shots {
                let (mean, deviation) = mean_and_deviation(&accuracies(outcomes, block, method, shots));
                let _ = write!(text, " {mean:.2} ± {deviation:.2} |");
            }
            text.push('\n');
        }
    }
    text
}
