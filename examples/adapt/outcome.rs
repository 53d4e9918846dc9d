//! What came of it, in words and as JSON.

use std::path::PathBuf;

use clip_adapter::{
    Report,
    evaluate::Ranked,
    input::{Preprocess, readable},
    tasks::unlabelled::{DomainAdapter, DomainReport},
};
use serde_json::{Value, json};

use crate::baselines::Baseline;

pub struct Outcome {
    pub what: String,
    pub backbone: String,
    pub device: String,
    pub settings: DomainAdapter,
    /// Zero-shot CLIP and what was adapted, where there are labels to score by.
    pub scored: Option<(Report, Report)>,
    pub report: DomainReport,
    pub baselines: Vec<Baseline>,
    pub fit_seconds: f64,
    pub images: Images,
}

/// What is known of the images.
pub enum Images {
    /// Their rows in a feature file.
    Rows,
    /// Their files, each with what it is said to be.
    Files { files: Vec<(PathBuf, Ranked)>, preprocess: Preprocess },
}

/// Mean F1 of the classes that images are labelled with, in percent. Of a target that lacks classes this tells how well
/// those are found that it has; an image that is called one of the others counts against its own class.
pub fn macro_f1(report: &Report) -> f64 {
    let f1: Vec<f64> = report.classes.iter().filter(|class| class.images > 0).map(|class| class.f1).collect();
    f1.iter().sum::<f64>() / f1.len() as f64
}

impl Outcome {
    pub fn json(&self) -> Value {
        let mut all = json!({
            "dataset": self.what,
            "backbone": self.backbone,
            "device": self.device,
            "settings": self.settings,
            "fit_seconds": self.fit_seconds,
            "agreement": self.report.agreement(),
        });
        let parts = [json!(self.report), self.scores(), self.files()];
        for (key, value) in parts.iter().filter_map(Value::as_object).flatten() {
            all[key] = value.clone();
        }
        if !self.baselines.is_empty() {
            all["baselines"] = json!(self.baselines);
        }
        all
    }

    fn scores(&self) -> Value {
        let Some((before, after)) = &self.scored else { return json!({ "accuracy": null }) };
        json!({
            "accuracy": after.accuracy,
            "macro_f1": macro_f1(after),
            "macro_f1_with_answers": after.macro_f1,
            "ece": after.ece,
            "confusion": after.confusion,
            "zero_shot_accuracy": before.accuracy,
            "zero_shot_macro_f1": macro_f1(before),
            "zero_shot_macro_f1_with_answers": before.macro_f1,
        })
    }

    fn files(&self) -> Value {
        let Images::Files { files, .. } = &self.images else { return Value::Null };
        let answer = |(file, top): &(PathBuf, Ranked)| json!({ "file": readable(file), "class": top.name, "confidence": 100.0 * top.probability });
        json!({ "answers": files.iter().map(answer).collect::<Vec<_>>() })
    }

    pub fn print(&self) {
        let DomainReport { images, source_images, .. } = self.report;
        println!(
            "{}: {images} unlabelled images, {source_images} labelled ones of another domain, CLIP {}",
            self.what, self.backbone
        );
        let mode = json!(self.report.mode);
        println!("{}: {}", mode.as_str().unwrap_or_default(), self.report.why);
        for (at, round) in self.report.rounds.iter().enumerate() {
            println!(
                "round {}: learned from {} images, {:.1} % of the answers stayed, mean confidence {:.1} %",
                at + 1,
                round.pseudo_labelled,
                round.agreement,
                round.mean_confidence
            );
        }
        if let Some((before, after)) = &self.scored {
            println!("\n{:<34}{:>10}{:>12}", "", "accuracy", "macro F1");
            let row = |name: &str, accuracy: f64, f1: f64, note: &str| {
                println!("{name:<34}{accuracy:>8.1} %{f1:>10.1} %{note}")
            };
            row("zero-shot", before.accuracy, macro_f1(before), "");
            for baseline in &self.baselines {
                let note = if baseline.warning.is_some() { "  (not balanced)" } else { "" };
                row(&baseline.name, baseline.accuracy, baseline.macro_f1, note);
            }
            row("domain-adapter", after.accuracy, macro_f1(after), "");
        }
        println!("\nfitted in {:.2} s on {}", self.fit_seconds, self.device);
        for warning in self
            .report
            .warnings
            .iter()
            .chain(self.baselines.iter().find_map(|baseline| baseline.warning.as_ref()))
        {
            println!("warning: {warning}");
        }
    }
}
