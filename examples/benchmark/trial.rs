//! One fit of one method: what goes in and what comes out.

use std::{fmt, time::Instant};

use clip_adapter::{
    Protocol, Result, Run, Support,
    train::{AnyMethod, MethodSpec, Registry},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Arguments, cli::distinct::distinct, data::Dataset};

/// A row of the table: a method with settings, by name.
pub struct Entry {
    pub label: String,
    spec: MethodSpec,
}

/// A fit that is to be scored.
pub struct Trial<'a> {
    pub dataset: &'a Dataset,
    pub entry: &'a Entry,
    pub shots: usize,
    pub seed: u64,
}

/// One fit, scored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    pub dataset: String,
    pub method: String,
    pub protocol: Protocol,
    pub shots: usize,
    pub seed: u64,
    pub chosen: Value,
    pub fit_seconds: f64,
    pub accuracy: f64,
    pub macro_f1: f64,
    pub ece: f64,
    pub nll: f64,
}

/// The methods asked for, each once; `all` stands for every one there is.
pub fn entries(methods: &[String]) -> Result<Vec<Entry>> {
    let labels = methods.iter().flat_map(|label| match label.as_str() {
        "all" => Registry::builtin().names(),
        label => vec![label],
    });
    let entries = distinct(labels).into_iter().map(|label| {
        let spec: MethodSpec = label.parse()?;
        spec.method(&Registry::builtin())?; // a typing error is told before the first fit
        Ok(Entry { label: label.to_owned(), spec })
    });
    entries.collect()
}

/// Every method on every data set, with all shots and seeds.
pub fn all<'a>(datasets: &'a [Dataset], entries: &'a [Entry], arguments: &Arguments) -> Vec<Trial<'a>> {
    let mut trials = Vec::new();
    for dataset in datasets {
        for entry in entries {
            for shots in distinct(arguments.shots.iter().copied()) {
                for seed in distinct(arguments.seeds.iter().copied()) {
                    trials.push(Trial { dataset, entry, shots, seed });
                }
            }
        }
    }
    trials
}

impl fmt::Display for Trial<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dataset, entry, shots, seed } = self;
        let plural = if *shots == 1 { "" } else { "s" };
        write!(f, "{} {}, {shots} shot{plural}, seed {seed}", dataset.name, entry.label)
    }
}

impl Trial<'_> {
    /// The method that is fitted, before an oracle changes its settings.
    pub fn method(&self) -> Result<Box<dyn AnyMethod>> {
        self.entry.spec.clone().seeded(self.seed).method(&Registry::builtin())
    }

    /// Fits and scores.
    pub fn outcome(&self, arguments: &Arguments) -> Result<Outcome> {
        let file = &self.dataset.file;
        let support = match arguments.protocol {
            Protocol::ValidationFree | Protocol::Oracle => file.support(self.shots, self.seed)?,
            Protocol::FewShotValidation => file.support_with_validation(self.shots, self.seed)?,
        };
        let candidates = match arguments.protocol {
            Protocol::Oracle => oracle_grid(&self.entry.spec.name),
            Protocol::ValidationFree | Protocol::FewShotValidation => Vec::new(),
        };
        // The one place that looks at test results before it settles. Its rows carry the protocol's name.
        let mut best: Option<Outcome> = None;
        for candidate in candidates {
            let mut spec = self.entry.spec.clone().seeded(self.seed);
            spec.settings.extend(candidate.into_iter().map(|(key, value)| (key.to_owned(), value)));
            let method = spec.method(&Registry::builtin())?;
            let outcome = self.score(arguments, &support, method.as_ref())?;
            if best.as_ref().is_none_or(|best| outcome.accuracy > best.accuracy) {
                best = Some(outcome);
            }
        }
        match best {
            Some(best) => Ok(best),
            None => self.score(arguments, &support, self.method()?.as_ref()),
        }
    }

    fn score(&self, arguments: &Arguments, support: &Support, method: &dyn AnyMethod) -> Result<Outcome> {
        let Dataset { name, file, test, .. } = self.dataset;
        let device = arguments.device.open()?;
        let start = Instant::now();
        let model = method.fit_any(support, file.classifier(), &mut Run::new(&device))?;
        let fit_seconds = start.elapsed().as_secs_f64();
        let report = model.evaluate(test)?;
        Ok(Outcome {
            dataset: name.clone(),
            method: self.entry.label.clone(),
            protocol: arguments.protocol,
            shots: self.shots,
            seed: self.seed,
            chosen: model.chosen(),
            fit_seconds,
            accuracy: report.accuracy,
            macro_f1: report.macro_f1,
            ece: report.ece,
            nll: report.nll,
        })
    }
}

/// Settings the oracle chooses from: what published tables searched.
fn oracle_grid(method: &str) -> Vec<Vec<(&'static str, Value)>> {
    let one = |name: &'static str, values: &[f64]| values.iter().map(|&v| vec![(name, v.into())]).collect();
    match method {
        "clip-adapter" => one("ratio", &[0.2, 0.4, 0.6, 0.8]),
        "gda" => one("alpha", &[1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0]),
        "tip-adapter" => {
            let alphas = [0.1, 0.3, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0];
            let betas = [1.0, 2.0, 4.0, 5.5, 8.0, 12.0];
            let pairs = alphas.into_iter().flat_map(|alpha| betas.map(|beta| (alpha, beta)));
            pairs.map(|(alpha, beta)| vec![("alpha", alpha.into()), ("beta", beta.into())]).collect()
        }
        _ => Vec::new(),
    }
}
