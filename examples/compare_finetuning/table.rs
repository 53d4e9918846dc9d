//! Outcomes as Markdown: accuracy where it was adapted, macro F1 where it was not.

use std::fmt::Write;

use crate::{Outcome, cli::distinct::distinct};

/// Two tables: a row a method, a column a number of shots; means over seeds.
pub fn render(outcomes: &[Outcome], home: &str, others: &[String]) -> String {
    let methods = distinct(outcomes.iter().map(|outcome| outcome.method));
    let shots = distinct(outcomes.iter().map(|outcome| outcome.shots));
    let most = shots.iter().copied().max().unwrap_or(0);
    let heads: String = shots.iter().map(|&shots| format!(" {} |", plural(shots))).collect();
    let rule = " ---: |".repeat(shots.len());
    let mean_of = |measure: fn(&Outcome) -> f64, method: &str, shots: usize, styles: &[String]| {
        let chosen = outcomes.iter().filter(|outcome| {
            outcome.method == method && outcome.shots == shots && styles.contains(&outcome.style)
        });
        mean(chosen.map(measure))
    };

    let mut text = format!(
        "Accuracy on {home}, adapted on {home}:\n\n| Method | Trained numbers | Seconds at {} |{heads}\n\
         | --- | ---: | ---: |{rule}\n",
        plural(most)
    );
    let home = [home.to_owned()];
    for method in &methods {
        let parameters =
            outcomes.iter().find(|outcome| outcome.method == *method).map_or(0, |o| o.parameters);
        let seconds = mean_of(|outcome| outcome.seconds, method, most, &home);
        let _ = write!(text, "| {method} | {} | {seconds:.1} |", thousands(parameters));
        for &shots in &shots {
            let _ = write!(text, " {:.1} |", mean_of(|outcome| outcome.accuracy, method, shots, &home));
        }
        text.push('\n');
    }

    if others.is_empty() {
        return text;
    }
    let names: String = others.iter().map(|name| format!(" {name}, {} |", plural(most))).collect();
    let _ = write!(
        text,
        "\nMacro F1 on other styles ({}), adapted on {}:\n\n| Method |{heads}{names}\n| --- |{rule}{}\n",
        others.join(" and "),
        home[0],
        " ---: |".repeat(others.len())
    );
    for method in &methods {
        let _ = write!(text, "| {method} |");
        for &shots in &shots {
            let _ = write!(text, " {:.1} |", mean_of(|outcome| outcome.macro_f1, method, shots, others));
        }
        for other in others {
            let other = std::slice::from_ref(other);
            let _ = write!(text, " {:.1} |", mean_of(|outcome| outcome.macro_f1, method, most, other));
        }
        text.push('\n');
    }
    text
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    sum / count
}

fn plural(shots: usize) -> String {
    format!("{shots} shot{}", if shots == 1 { "" } else { "s" })
}

/// `1234567` is `1,234,567`.
fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| std::str::from_utf8(group).unwrap_or_default())
        .collect();
    groups.join(",")
}
