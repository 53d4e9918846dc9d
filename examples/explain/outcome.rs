//! What was found, as words and as JSON.

use clip_adapter::{
    Result,
    explain::{
        Certificate, Change, ConceptChange, ConceptDeletion, Diagnosis, Duplicate, HeatMap, HeldOutEstimate,
        LearningCurve, Neighbour, Plane, Share, Suspect, Unit, UnitDeletion,
    },
};
use serde_json::{Value, json};

/// A part of the result, or why there is none: a sentence.
pub struct Why<T>(pub std::result::Result<T, String>);

impl<T> Why<T> {
    pub fn of(result: Result<T>) -> Self {
        Self(result.map_err(|error| error.to_string()))
    }

    pub fn found(&self) -> Option<&T> {
        self.0.as_ref().ok()
    }
}

/// What each unit has in each changed decision.
pub struct Shares {
    /// Of which side the units are: `image` or `text`.
    pub side: &'static str,
    pub all: Vec<Share>,
}

/// Where in an image something speaks for its new answer: what covering costs, and what patches say where there are some.
pub struct Heat {
    pub row: usize,
    pub covered: HeatMap,
    pub patches: Option<HeatMap>,
}

pub struct Outcome {
    pub data: String,
    pub backbone: String,
    pub device: String,
    pub method: String,
    pub settings: Value,
    pub chosen: Value,
    pub shots: usize,
    pub seed: u64,
    pub fit_seconds: f64,
    pub diagnosis: Diagnosis,
    pub held_out: Why<HeldOutEstimate>,
    pub certificate: Why<Certificate>,
    pub curve_method: String,
    pub curve: Why<LearningCurve>,
    pub changes: Change,
    /// The shots that are nearest to each changed decision.
    pub nearest: Vec<Vec<Neighbour>>,
    pub suspects: Why<Vec<Suspect>>,
    pub duplicates: Vec<Duplicate>,
    pub concepts: Why<ConceptChange>,
    pub concept_deletion: Why<ConceptDeletion>,
    pub units: Why<Vec<Unit>>,
    pub unit_deletion: Why<UnitDeletion>,
    pub shares: Why<Shares>,
    pub heat: Vec<Heat>,
    pub plane: Why<Plane>,
    /// Of the nearest five, how many are of the same class: before and after.
    pub purity: [Option<f64>; 2],
}

/// Units that are told of a decision.
const UNITS: usize = 3;

impl Outcome {
    pub fn print(&self) {
        let changes = &self.changes;
        println!("{}: {} shots each, {}", self.data, self.shots, self.backbone);
        println!(
            "zero-shot {:.2} %, {} {:.2} % of {} images: {} fixed, {} broken, {} wrong in another way",
            changes.before,
            self.method,
            changes.after,
            changes.images,
            changes.fixed,
            changes.broken,
            changes.other_wrong
        );
        match &self.held_out.0 {
            Ok(estimate) => println!(
                "from the shots alone: {:.1} %, with 95 % confidence at least {:.1} %",
                estimate.accuracy, estimate.lower_95
            ),
            Err(why) => println!("no held-out estimate: {why}"),
        }
        match &self.curve.0 {
            Ok(curve) => println!("{}", in_words(curve)),
            Err(why) => println!("no learning curve: {why}"),
        }
        if let Ok(suspects) = &self.suspects.0 {
            let against = suspects.iter().filter(|suspect| suspect.margin < 0.0).count();
            println!(
                "{against} shots whose label the others disagree with; {} near-duplicates",
                self.duplicates.len()
            );
        }
        if let Ok(deletion) = &self.unit_deletion.0 {
            println!(
                "without the {} units that speak most for it {:.1} % of the answers flip, without random ones {:.1} %",
                deletion.silenced, deletion.flips, deletion.random_flips
            );
        }
        for (part, why) in self.missing() {
            println!("no {part}: {why}");
        }
    }

    /// The parts that say nothing here, and why.
    pub fn missing(&self) -> Vec<(&'static str, &str)> {
        let parts = [
            ("concepts", self.concepts.0.as_ref().err()),
            ("units", self.units.0.as_ref().err()),
            ("suspects", self.suspects.0.as_ref().err()),
            ("certificate", self.certificate.0.as_ref().err()),
        ];
        parts.into_iter().filter_map(|(part, why)| Some((part, why?.as_str()))).collect()
    }

    /// Everything; what there is none of is null, and `why` says why.
    pub fn json(&self) -> Value {
        let mut changes = json!(self.changes);
        for (at, decision) in changes["decisions"].as_array_mut().into_iter().flatten().enumerate() {
            decision["nearest"] = json!(self.nearest[at]);
            if let Some(shares) = self.shares.found() {
                let share = &shares.all[at];
                let top: Vec<Value> = share
                    .top(UNITS)
                    .iter()
                    .map(|(unit, value)| json!({ "unit": unit, "share": value }))
                    .collect();
                decision["shares"] = json!({ "side": shares.side, "before": share.before, "kept": share.kept,
                    "all_units": share.units.iter().sum::<f64>(), "margin": share.margin, "top": top });
            }
        }
        let mut diagnosis = json!(self.diagnosis);
        // The estimate of the method asked for stands beside it; this one is `auto`'s, without its shots.
        if let Some(estimate) = diagnosis["held_out"].as_object_mut() {
            estimate.remove("shots");
        }
        let why: serde_json::Map<String, Value> = [
            ("held_out", self.held_out.0.as_ref().err()),
            ("curve", self.curve.0.as_ref().err()),
            ("certificate", self.certificate.0.as_ref().err()),
            ("suspects", self.suspects.0.as_ref().err()),
            ("concepts", self.concepts.0.as_ref().err()),
            ("concept_deletion", self.concept_deletion.0.as_ref().err()),
            ("units", self.units.0.as_ref().err()),
            ("unit_deletion", self.unit_deletion.0.as_ref().err()),
            ("shares", self.shares.0.as_ref().err()),
            ("map", self.plane.0.as_ref().err()),
        ]
        .into_iter()
        .filter_map(|(part, why)| Some((part.to_owned(), json!(why?))))
        .collect();
        let mut all = json!({
            "dataset": self.data,
            "backbone": self.backbone,
            "device": self.device,
            "method": self.method,
            "settings": self.settings,
            "chosen": self.chosen,
            "shots": self.shots,
            "seed": self.seed,
            "fit_seconds": self.fit_seconds,
            "zero_shot_accuracy": self.changes.before,
            "accuracy": self.changes.after,
        });
        let parts = json!({
            "diagnosis": diagnosis,
            "held_out": self.held_out.found().map(|estimate| estimate.accuracy),
            "lower_95": self.held_out.found().map(|estimate| estimate.lower_95),
            "held_out_shots": self.held_out.found().map(|estimate| &estimate.shots),
            "certificate": self.certificate.found(),
            "curve": self.curve.found(),
            "curve_method": self.curve_method,
            "changes": changes,
            "suspects": self.suspects.found(),
            "duplicates": self.duplicates,
            "concepts": self.concepts.found(),
            "concept_deletion": self.concept_deletion.found(),
            "units": self.units.found(),
            "unit_deletion": self.unit_deletion.found(),
            "heat": self.heat.iter().map(Heat::json).collect::<Vec<_>>(),
            "map": self.plane.found(),
            "neighbour_purity": self.purity,
            "why": why,
        });
        if let (Some(all), Value::Object(parts)) = (all.as_object_mut(), parts) {
            all.extend(parts);
        }
        all
    }
}

impl Heat {
    fn json(&self) -> Value {
        json!({ "row": self.row, "covered": self.covered, "patches": self.patches })
    }
}

/// How many more images might be needed.
pub fn in_words(curve: &LearningCurve) -> String {
    let last = curve.points.last().map_or(1, |point| point.shots);
    let now = curve.accuracy_at(last + 1);
    let halved = 100.0 - (100.0 - now) / 2.0;
    let half = match curve.shots_for(halved) {
        Some(shots) => format!("half of the error, {halved:.1} %, at least about {shots} images a class"),
        None => "half of the error is out of reach this way".to_owned(),
    };
    format!("twice as many shots: about {:.1} %; {half}", curve.accuracy_at(2 * (last + 1)))
}
