//! What unlabelled images of the style that is tested on add.

use std::time::Instant;

use clip_adapter::{AutoAdapter, Classifier, Method, Result, Run, tasks::unlabelled::DomainAdapter};

use crate::{Comparison, Outcome, style::Test};

const DOMAIN: &str = "domain-adapter";
const AFTER_AUTO: &str = "domain-adapter after auto";

impl Comparison<'_> {
    /// Each moved to the very images that it is tested on, of which it sees no label: from a CLIP-Adapter, and from what
    /// does best in the style that it learned from.
    pub fn domain_adapters(&self, shots: usize, seed: u64, tests: &[Test<'_>]) -> Result<Vec<Outcome>> {
        let support = self.home.features.shots(shots, seed)?;
        let settings = DomainAdapter { seed, ..Default::default() };
        let dim = self.classes.dim();
        let mut outcomes = Vec::new();
        for test in tests {
            for (method, parameters) in [(DOMAIN, dim * dim / 2), (AFTER_AUTO, 0)] {
                let start = Instant::now();
                let model = match method {
                    DOMAIN => {
                        let run = &mut Run::new(&self.device);
                        settings.fit(&test.unlabelled, &self.classes, Some(&support), run)?
                    }
                    _ => {
                        let teacher = AutoAdapter::default().fit(&support, &self.classes, &self.device)?;
                        settings.fit_from(&teacher, &test.unlabelled, Some(&support))?
                    }
                };
                let seconds = start.elapsed().as_secs_f64();
                let report = model.evaluate(&test.features)?;
                outcomes.push(Outcome {
                    method,
                    style: test.style.to_owned(),
                    shots,
                    seed,
                    accuracy: report.accuracy,
                    macro_f1: report.macro_f1,
                    seconds,
                    parameters,
                    learning_rate: None,
                });
            }
        }
        Ok(outcomes)
    }
}
