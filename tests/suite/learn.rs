//! The programs that teach the API, in `examples/learn`: each is short, runs anywhere, and prints what it shows.

use std::{fs, path::Path};

use crate::commands::example;

const PROGRAMS: [&str; 9] = [
    "calibrate",
    "choose_method",
    "features",
    "few_shot_in_ten_lines",
    "own_source",
    "predict",
    "quantise",
    "trust",
    "upload",
];

/// What lies in a folder of the crate, sorted.
fn names_in(part: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(part);
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

/// Runs a program far from the crate. Its temporary files go where it runs.
fn printed(folder: &Path, name: &str) -> String {
    let mut program = example(name);
    let output = program.current_dir(folder).env("TMPDIR", folder).env("TMP", folder).output();
    let output = output.unwrap_or_else(|error| panic!("example {name}: {error}"));
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The number between some words and the next blank.
fn number(line: &str, words: &str) -> f64 {
    let rest = line.split_once(words).unwrap_or_else(|| panic!("no `{words}` in `{line}`")).1;
    let number = rest.trim_start().split(' ').next().unwrap();
    number.parse::<f64>().unwrap_or_else(|error| panic!("{line}: {error}"))
}

#[test]
fn every_program_is_short_and_says_what_it_shows() {
    assert_eq!(names_in("examples/learn"), PROGRAMS.map(|name| format!("{name}.rs")));
    for name in PROGRAMS {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("examples/learn/{name}.rs"));
        let source = fs::read_to_string(path).unwrap();
        assert!(source.lines().count() <= 40, "{name}: {} lines", source.lines().count());
        assert!(source.starts_with("//! Shows "), "{name}");
    }
}

#[test]
fn every_program_runs_and_prints_what_it_shows() {
    let folder = tempfile::tempdir().unwrap();
    for name in PROGRAMS {
        let text = printed(folder.path(), name);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.iter().any(|line| line.contains(|c: char| c.is_ascii_digit())), "{name}: {text}");
        match name {
            "calibrate" => calibrated(&lines),
            "choose_method" => chosen(&lines),
            "features" => {
                assert_eq!(lines[0], "4 images and 4 texts, 160 numbers each");
                assert!(lines.len() == 6 && lines[2..].iter().all(|line| line.contains(" % ")), "{text}");
            }
            "few_shot_in_ten_lines" => {
                assert!(lines[0].starts_with("zero-shot ") && lines[1].starts_with("adapted "), "{text}");
                assert!(number(lines[1], "accuracy") > number(lines[0], "accuracy"), "{text}");
            }
            "own_source" => {
                assert!(lines[0].starts_with("160 numbers a swatch; zero-shot: accuracy "), "{text}");
                assert!(lines[0].ends_with(" on 60 images"), "{text}");
            }
            "predict" => {
                let classes = names_in("examples/pocket/images/icon-line").len();
                assert!(lines[0].starts_with(&format!("clip-adapter of {classes} classes, from ")), "{text}");
                let percent: Vec<f64> = lines[1..].iter().map(|line| number(line, "")).collect();
                assert!(percent.len() == 3 && percent.is_sorted_by(|a, b| a >= b), "{text}");
            }
            "quantise" => assert!(lines.len() == 1 && lines[0].ends_with(" in int8"), "{text}"),
            "trust" => {
                assert!(lines.len() == 8 && lines[2].starts_with("16 shots: about "), "{text}");
                assert!(number(lines[0], "auto about") > number(lines[0], "zero-shot"), "{text}");
                assert!(number(lines[1], "at least") < number(lines[0], "auto about"), "{text}");
                assert!(number(lines[6], "to") > number(lines[6], ""), "{text}");
                assert!(number(lines[7], "units") > number(lines[7], "others"), "{text}");
            }
            "upload" => {
                assert!(lines.len() == 4 && lines[0].starts_with("200: "), "{text}");
                let refused = "400: upload.png: expected an image, found ";
                assert!(lines[1..].iter().all(|line| line.starts_with(refused)), "{text}");
            }
            _ => unreachable!("{name}"),
        }
    }
}

/// The same answers, of which the model is less wrongly sure.
fn calibrated(lines: &[&str]) {
    assert_eq!(lines.len(), 5, "{lines:?}");
    assert!(number(lines[0], "temperature") > 1.0, "{lines:?}");
    approx::assert_abs_diff_eq!(number(lines[1], "right"), number(lines[2], "right"), epsilon = 0.5);
    assert!(number(lines[2], "ECE") < number(lines[1], "ECE"), "{lines:?}");
}

/// The one that is scored on the test set is the first of those with the most validation images right.
fn chosen(lines: &[&str]) {
    let (winner, tried) = lines.split_last().unwrap();
    let accuracies: Vec<f64> = tried.iter().map(|line| number(line, "")).collect();
    let most = accuracies.iter().copied().fold(0.0, f64::max);
    let first = accuracies.iter().position(|&accuracy| accuracy == most).unwrap();
    let name = tried[first].split_once("images: ").unwrap().1;
    assert!(winner.starts_with(&format!("the winner, on the test set: {name}: accuracy ")), "{winner}");
    assert!(winner.ends_with(" on 400 images"), "{winner}");
}
