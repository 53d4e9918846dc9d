//! What a few shots of a folder of images gain: fits at several numbers of shots, all scored on the same images.

use std::{collections::BTreeSet, path::PathBuf, time::Instant};

use burn::tensor::Device;
use clip_adapter::{
    AutoAdapter, Classifier, ClipAdapter, Error, FeatureSet, Method, Report, Result, Run, TextClassifier,
    ZeroShot,
    evaluate::{Logits, Scores},
    extract::Extracted,
    methods::FittedZeroShot,
    model::Settings,
    train::AnyMethod,
};
use serde::Serialize;

/// One fit, scored.
#[derive(Debug, Serialize)]
pub struct Point {
    pub method: &'static str,
    pub shots: usize,
    pub accuracy: f64,
    pub macro_f1: f64,
    pub fit_seconds: f64,
}

/// What a classifier says of the images that were held out.
pub struct Verdict {
    pub report: Report,
    pub logits: Logits,
}

impl Verdict {
    fn new(model: &dyn Classifier, held_out: &FeatureSet) -> Result<Self> {
        let logits = model.score(held_out.embeddings())?;
        let scores = Scores::new(&logits, held_out.labels())?;
        Ok(Self { report: Report::new(scores, held_out.class_names()), logits })
    }
}

/// An image that the adapter calls something else than zero-shot CLIP: its row and three classes.
pub struct Change {
    pub row: usize,
    pub truth: usize,
    pub before: usize,
    pub after: usize,
}

/// Zero-shot CLIP, and what shots make of it.
pub struct Study {
    pub held_out: FeatureSet,
    /// The images that were held out, in the order of their features.
    pub files: Vec<PathBuf>,
    pub zero_shot: FittedZeroShot,
    pub before: Verdict,
    pub after: Verdict,
    /// Each method at each number of shots.
    pub points: Vec<Point>,
    /// CLIP-Adapter at the largest number of shots.
    pub adapter: Box<dyn Classifier>,
}

impl Study {
    /// Draws `shots` images of every class, fits on them and on the first of them, and scores on all the others.
    pub fn run(
        images: Extracted,
        classes: &TextClassifier,
        shots: usize,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        let features = images.labelled()?;
        let drawn: BTreeSet<usize> = features.shot_rows(shots, seed)?.into_iter().collect();
        let rows: Vec<usize> = (0..features.len()).filter(|row| !drawn.contains(row)).collect();
        if rows.is_empty() {
            return Err(Error::data("images to test on", format!("more than {shots} of a class"), "none"));
        }
        let held_out = features.select(&rows);
        let zero_shot = ZeroShot::default().fit(&features.shots(shots, seed)?, classes, device)?;
        let fit = |method: &dyn AnyMethod, shots: usize| -> Result<(Point, Verdict, Box<dyn Classifier>)> {
            // A draw is the beginning of a larger one, so that none of them holds an image of the test.
            let support = features.shots(shots, seed)?;
            let start = Instant::now();
            let model = method.fit_any(&support, classes, &mut Run::new(device))?;
            let fit_seconds = start.elapsed().as_secs_f64();
            let verdict = Verdict::new(model.as_ref(), &held_out)?;
            let Report { accuracy, macro_f1, .. } = verdict.report;
            Ok((Point { method: method.name(), shots, accuracy, macro_f1, fit_seconds }, verdict, model))
        };
        let (clip_adapter, auto) = (ClipAdapter { seed, ..Default::default() }, AutoAdapter::default());
        let mut points = Vec::new();
        for fewer in [1, 2, 4, 8, 16, 32].into_iter().filter(|&fewer| fewer < shots) {
            points.push(fit(&clip_adapter, fewer)?.0);
            points.push(fit(&auto, fewer)?.0);
        }
        let (point, after, adapter) = fit(&clip_adapter, shots)?;
        points.extend([point, fit(&auto, shots)?.0]);
        Ok(Self {
            files: rows.iter().map(|&row| images.keys[row].clone()).collect(),
            before: Verdict::new(&zero_shot, &held_out)?,
            after,
            zero_shot,
            held_out,
            points,
            adapter,
        })
    }

    /// The images whose class changed, in order.
    pub fn changes(&self) -> Vec<Change> {
        let decisions = self.before.logits.predictions().zip(self.after.logits.predictions());
        decisions
            .zip(self.held_out.labels())
            .enumerate()
            .filter(|(_, ((before, after), _))| before != after)
            .map(|(row, ((before, after), &truth))| Change { row, truth, before, after })
            .collect()
    }

    /// The points of one method, in order of shots.
    pub fn of(&self, method: &str) -> Vec<&Point> {
        self.points.iter().filter(|point| point.method == method).collect()
    }

    /// The methods, in order.
    pub fn methods(&self) -> [&'static str; 2] {
        [ClipAdapter::NAME, AutoAdapter::NAME]
    }
}
