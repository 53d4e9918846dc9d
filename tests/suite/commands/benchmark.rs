//! The example `benchmark`: its tables, JSON and picture, several fits at a time, and going on where it stopped.

use std::{collections::BTreeMap, fs, path::Path};

use clip_adapter::{FeatureFile, train::Registry};
use serde_json::Value;

use super::{feature_file, json, run};

/// Two made-up data sets.
fn two_files(folder: &Path) {
    feature_file(folder);
    FeatureFile::synthetic(1).unwrap().write(folder.join("ores.safetensors")).unwrap();
}

/// Its JSON, what it printed and what it told on the way.
fn benchmark(folder: &Path, arguments: &[&str]) -> (Value, String, String) {
    let out = folder.join("out.json");
    let common = ["--features", folder.to_str().unwrap(), "--json", out.to_str().unwrap()];
    let output = run("benchmark", &[&common[..], arguments].concat());
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    (json(&out), String::from_utf8(output.stdout).unwrap(), told)
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

#[test]
fn it_writes_tables_json_and_a_picture() {
    let folder = tempfile::tempdir().unwrap();
    feature_file(folder.path());
    let svg = folder.path().join("out.svg");
    let methods = "zero-shot,clip-adapter:ratio=0.6:epochs=5";
    let arguments = ["--shots", "1,2", "--seeds", "1,2", "--methods", methods];
    let (out, tables, _) =
        benchmark(folder.path(), &[&arguments[..], &["--svg", svg.to_str().unwrap()]].concat());
    assert!(tables.contains("| minerals | 1 shot | 2 shots |"), "{tables}");
    assert!(tables.contains("| data set | shots | method | accuracy, % | macro F1, % | ECE, % | fit, s |"));
    assert!(tables.contains("| method | 1 shot | 2 shots | mean rank | fit at 2, s |"), "{tables}");
    assert_eq!((out["runs"].as_array().unwrap().len(), &out["protocol"]), (8, &"validation-free".into()));
    assert!(fs::read_to_string(svg).unwrap().contains("</svg>"));

    let (_, summary, _) = benchmark(folder.path(), &[&arguments[..], &["--markdown"]].concat());
    assert!(summary.starts_with("Accuracy in percent, minerals, validation-free protocol\n"), "{summary}");
    assert_eq!(summary.lines().filter(|line| line.starts_with('|')).count(), 4, "{summary}");
    let row = summary.lines().find(|line| line.starts_with("| zero-shot |")).unwrap();
    assert!(row.starts_with("| zero-shot | 70.50 | 70.50 |"), "{row}");
}

#[test]
fn the_oracle_is_labelled_and_never_worse_than_a_ratio_of_its_grid() {
    let folder = tempfile::tempdir().unwrap();
    feature_file(folder.path());
    let run_with = |protocol: &str, method: &str| {
        let arguments = ["--shots", "2", "--seeds", "1", "--methods", method, "--protocol", protocol];
        let (out, tables, _) = benchmark(folder.path(), &arguments);
        assert_eq!(tables.matches(&format!("{protocol} protocol")).count(), 2, "{tables}");
        out["runs"][0].clone()
    };
    let oracle = run_with("oracle", "clip-adapter:epochs=5");
    let fixed = run_with("validation-free", "clip-adapter:epochs=5:ratio=0.8");
    assert_eq!(oracle["protocol"], "oracle");
    assert!(number(&oracle["accuracy"]) >= number(&fixed["accuracy"]));
    assert_eq!(run_with("few-shot-validation", "gda")["protocol"], "few-shot-validation");
}

/// Everything but how long it took.
fn without_seconds(value: Value) -> Value {
    match value {
        Value::Array(values) => values.into_iter().map(without_seconds).collect(),
        Value::Object(entries) => {
            let entries = entries.into_iter().filter(|(key, _)| key != "fit_seconds");
            entries.map(|(key, value)| (key, without_seconds(value))).collect()
        }
        other => other,
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_jobs() {
    let folder = tempfile::tempdir().unwrap();
    two_files(folder.path());
    let methods = "gda,linear-probe,clip-adapter:ratio=0.6:epochs=3";
    let with = |jobs: &str| {
        let arguments = ["--shots", "1,4", "--seeds", "1,2", "--methods", methods, "--jobs", jobs];
        benchmark(folder.path(), &arguments).0
    };
    let (one, two) = (with("1"), with("2"));
    for run in one["runs"].as_array().unwrap() {
        assert!(number(&run["fit_seconds"]) > 0.0);
    }
    assert_eq!(one["runs"].as_array().unwrap().len(), 24);
    assert_eq!(without_seconds(one.clone()), without_seconds(two));
    assert_eq!(without_seconds(one), without_seconds(with("7")), "more jobs than cores");
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// From the runs alone, by sorting.
#[test]
fn means_deviations_and_ranks_follow_from_the_runs() {
    let folder = tempfile::tempdir().unwrap();
    two_files(folder.path());
    let methods = ["zero-shot", "ss-text", "tip-adapter:alpha=0", "gda"]; // the first and the third tie
    let arguments = ["--shots", "1,4", "--seeds", "3,1,2", "--methods", &methods.join(",")];
    let (out, ..) = benchmark(folder.path(), &arguments);
    let values = |dataset: &str, method: &str, shots: u64, measure: &str| -> Vec<f64> {
        let runs = out["runs"].as_array().unwrap().iter();
        let runs = runs.filter(|run| run["method"] == method && run["shots"] == shots);
        runs.filter(|run| run["dataset"] == dataset).map(|run| number(&run[measure])).collect()
    };
    let cells = out["summary"].as_array().unwrap();
    assert_eq!(cells.len(), 3 * 2 * methods.len(), "two data sets and their mean");
    for cell in cells {
        let (dataset, method) = (cell["dataset"].as_str().unwrap(), cell["method"].as_str().unwrap());
        let shots = cell["shots"].as_u64().unwrap();
        for measure in ["accuracy", "macro_f1", "ece", "fit_seconds"] {
            let values: Vec<f64> = if dataset == "mean over data sets" {
                let of = |dataset| values(dataset, method, shots, measure);
                of("minerals").iter().zip(of("ores")).map(|(one, other)| (one + other) / 2.0).collect()
            } else {
                values(dataset, method, shots, measure)
            };
            assert_eq!(values.len(), 3);
            let mean = mean(&values);
            let deviation = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 2.0).sqrt();
            approx::assert_abs_diff_eq!(number(&cell[measure]["mean"]), mean, epsilon = 1e-9);
            approx::assert_abs_diff_eq!(number(&cell[measure]["deviation"]), deviation, epsilon = 1e-9);
        }
    }

    let mut places: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (dataset, shots) in [("minerals", 1), ("minerals", 4), ("ores", 1), ("ores", 4)] {
        let accuracy = |method: &str| mean(&values(dataset, method, shots, "accuracy"));
        let mut order = methods;
        order.sort_by(|a, b| accuracy(b).total_cmp(&accuracy(a)));
        for method in methods {
            let equal = |place: &usize| (accuracy(order[*place]) - accuracy(method)).abs() < 1e-9;
            let shared: Vec<f64> = (0..order.len()).filter(equal).map(|place| place as f64 + 1.0).collect();
            places.entry(method).or_default().push(mean(&shared));
        }
    }
    for (rank, method) in out["ranks"].as_array().unwrap().iter().zip(methods) {
        assert_eq!(rank["method"], method);
        approx::assert_abs_diff_eq!(number(&rank["rank"]), mean(&places[method]), epsilon = 1e-9);
    }
    assert_eq!(out["ranks"].as_array().unwrap().len(), methods.len());
    assert_eq!(out["ranks"][0]["rank"], out["ranks"][2]["rank"]);
}

/// One line of finished runs, with another accuracy, by which it is known again.
fn with_accuracy(line: &str, accuracy: f64) -> String {
    let mut line: Value = serde_json::from_str(line).unwrap();
    line["outcome"]["accuracy"] = accuracy.into();
    line.to_string()
}

#[test]
fn what_was_finished_is_not_done_again() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let features = feature_file(folder.path());
    let lines_at = elsewhere.path().join("runs.jsonl");
    let resumed = |methods: &str, more: &[&str]| {
        let arguments = ["--shots", "1,2", "--seeds", "1", "--methods", methods, "--resume"];
        let arguments = [&arguments[..], &[lines_at.to_str().unwrap()], more].concat();
        let (out, _, told) = benchmark(folder.path(), &arguments);
        let finished_before = told.split(" runs were finished before").next().unwrap().to_owned();
        (out, finished_before)
    };
    let methods = "gda,clip-adapter:ratio=0.6:epochs=3";
    let (first, before) = resumed(methods, &["--jobs", "1"]);
    assert_eq!(before, "0 of 4");
    let text = fs::read_to_string(&lines_at).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines.len(), text.ends_with('\n')), (4, true));

    // The first line says something else, the second is missing, and the last was cut off.
    let cut = &lines[3][..lines[3].len() / 2];
    fs::write(&lines_at, [with_accuracy(lines[0], 12.5).as_str(), lines[2], cut].join("\n")).unwrap();
    let (second, before) = resumed("gda,clip-adapter:epochs=3:ratio=0.6", &["--jobs", "2"]);
    assert_eq!(before, "2 of 4");
    assert_eq!(second["runs"][0]["accuracy"], 12.5, "taken from the file");
    assert_eq!(second["runs"][2]["fit_seconds"], first["runs"][2]["fit_seconds"], "not fitted again");
    assert_eq!(second["runs"][2]["method"], "clip-adapter:epochs=3:ratio=0.6", "as it is called now");
    for run in [1, 3] {
        for measure in ["accuracy", "macro_f1", "ece", "nll"] {
            assert_eq!(second["runs"][run][measure], first["runs"][run][measure]);
        }
    }
    assert_eq!(fs::read_to_string(&lines_at).unwrap().lines().count(), 4);
    assert_eq!(resumed(methods, &[]).1, "4 of 4");

    // A file of another name is the same file, a line without its end is a line, and all else is another run.
    fs::rename(features, folder.path().join("stones.safetensors")).unwrap();
    fs::write(&lines_at, text.trim_end()).unwrap();
    let (third, before) = resumed(methods, &[]);
    assert_eq!((before.as_str(), &third["runs"][0]["dataset"]), ("4 of 4", &"stones".into()));
    assert_eq!(resumed("gda:alpha=1,clip-adapter:ratio=0.6:epochs=4", &[]).1, "0 of 4");
    assert_eq!(resumed(methods, &["--protocol", "few-shot-validation"]).1, "0 of 4");
    assert_eq!(resumed(methods, &["--test-split", "val"]).1, "0 of 4");
    FeatureFile::synthetic(1).unwrap().write(folder.path().join("stones.safetensors")).unwrap();
    assert_eq!(resumed(methods, &[]).1, "0 of 4");
    assert_eq!(fs::read_to_string(&lines_at).unwrap().lines().count(), 20);
}

#[test]
fn all_leaves_no_method_out_and_nothing_is_done_twice() {
    let folder = tempfile::tempdir().unwrap();
    two_files(folder.path());
    fs::create_dir(folder.path().join("old")).unwrap();
    let features = folder.path().join("old/ores.safetensors");
    FeatureFile::synthetic(2).unwrap().write(&features).unwrap();
    let ores = folder.path().join("ores.safetensors");
    let arguments = ["--shots", "1,1", "--seeds", "1,1", "--methods", "gda,ss-text,gda", "--features"];
    let arguments = [&arguments[..], &[ores.to_str().unwrap(), features.to_str().unwrap()]].concat();
    let (out, ..) = benchmark(folder.path(), &arguments);
    let runs = out["runs"].as_array().unwrap();
    let datasets: Vec<&str> = runs.iter().map(|run| run["dataset"].as_str().unwrap()).step_by(2).collect();
    // Two files of one name keep apart.
    assert_eq!(datasets, ["minerals", ores.to_str().unwrap(), features.to_str().unwrap()]);
    assert_eq!(runs.len(), 6);

    fs::remove_file(ores).unwrap();
    let (out, ..) = benchmark(folder.path(), &["--shots", "1", "--seeds", "1"]);
    let names: Vec<&str> =
        out["ranks"].as_array().unwrap().iter().map(|rank| rank["method"].as_str().unwrap()).collect();
    assert_eq!(names, Registry::builtin().names());
}

#[test]
fn its_mistakes_end_in_exit_status_2() {
    let folder = tempfile::tempdir().unwrap();
    let features = feature_file(folder.path());
    let (foreign, text) = (folder.path().join("other.jsonl"), "{\"accuracy\":1.0}");
    fs::write(&foreign, text).unwrap();
    let damaged = folder.path().join("damaged.jsonl");
    let arguments = ["--shots", "1", "--seeds", "1,2", "--methods", "gda", "--resume"];
    benchmark(folder.path(), &[&arguments[..], &[damaged.to_str().unwrap()]].concat());
    let lines = fs::read_to_string(&damaged).unwrap();
    fs::write(&damaged, &lines[1..]).unwrap();
    let nowhere = folder.path().join("no/such/folder/runs.jsonl");
    for (arguments, sentence) in [
        (["--jobs", "0"], "invalid value '0' for '--jobs <N>'"),
        (["--jobs", "many"], "invalid value 'many'"),
        (["--resume", nowhere.to_str().unwrap()], "cannot write"),
        (["--resume", folder.path().to_str().unwrap()], "cannot read"),
        (["--resume", foreign.to_str().unwrap()], "other.jsonl: line 1: expected a finished run"),
        (["--resume", damaged.to_str().unwrap()], "damaged.jsonl: line 1: expected a finished run"),
        (["--methods", "gda,magic"], "setting `method`"),
        (["--methods", "gda:alpha"], "expected KEY=VALUE"),
        (["--test-split", "exam"], "expected one of test, train, val, found `exam`"),
        (["--shots", "1,99"], "class `amber`: expected at least 99 images, found 32"),
        (["--shots", "0"], "setting `shots`"),
        (["--protocol", "best"], "invalid value 'best'"),
    ] {
        let common = ["--features", features.to_str().unwrap()];
        let output = run("benchmark", &[&common[..], &arguments].concat());
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
        assert!(message.contains(sentence), "{arguments:?}: {message}");
        assert!(!message.contains("panicked"), "{arguments:?}: {message}");
    }
    assert_eq!(fs::read_to_string(foreign).unwrap(), text, "what is not ours is left alone");
    assert_eq!(fs::read_to_string(damaged).unwrap(), &lines[1..]);
}
