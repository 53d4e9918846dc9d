//! How the towers are trained: the recipe, and what is looked at and written on the way.

use std::{cell::Cell, fs, io, ops::ControlFlow, path::Path, thread};

use burn::tensor::Device;
use clip_adapter::{
    Error, Result, Run,
    backbone::TrainableClip,
    input::Tokenizer,
    pretrain::{Contrastive, ContrastiveBatch, Lanes},
    train::{Monitor, MonitorState, Optimiser, Schedule, Session, Trainer},
};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::json;

use crate::{
    batches::{Batches, Epochs, is_for_validation},
    corpus::Corpus,
    evaluation,
};

/// How to train.
///
/// | Name | Default | Meaning |
/// | --- | --- | --- |
/// | `steps` | 3000 | optimiser steps |
/// | `batch` | 128 | emoji of a step, each drawn twice |
/// | `rate` | 1.5e-3 | the largest learning rate |
/// | `warm_up` | 100 | steps over which the rate rises to it; then a cosine to nearly 0 |
/// | `decay` | 0.05 | AdamW's weight decay |
/// | `contrastive` | its own | the loss |
/// | `every` | 250 | steps between validations; of what divides `steps` the nearest to this |
/// | `seed` | 1 | fixes every batch |
/// | `styles` | 0 | how many of the corpus's styles, from the first, are trained on |
#[derive(Serialize)]
pub struct Recipe {
    pub steps: usize,
    pub batch: usize,
    pub rate: f64,
    pub warm_up: usize,
    pub decay: f64,
    pub contrastive: Contrastive,
    pub every: usize,
    pub seed: u64,
    pub styles: usize,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            steps: 3000,
            batch: 128,
            rate: 1.5e-3,
            warm_up: 100,
            decay: 0.05,
            contrastive: Contrastive::default(),
            every: 250,
            seed: 1,
            styles: 0,
        }
    }
}

impl Recipe {
    /// Steps from one validation to the next: all steps are as many of these.
    fn epoch(&self) -> usize {
        let wanted = self.every.max(1) as f64;
        let apart = |steps: usize| (steps as f64 / wanted).ln().abs();
        let divisors = (1..=self.steps).filter(|&steps| self.steps.is_multiple_of(steps));
        divisors.min_by(|&one, &other| apart(one).total_cmp(&apart(other))).unwrap_or(1)
    }

    fn trainer(&self) -> Trainer {
        let epochs = self.steps / self.epoch();
        let warm_up = self.warm_up.max(1) as f64 / self.steps as f64;
        Trainer {
            schedule: Schedule { floor: 0.01, ..Schedule::clip(self.rate, epochs, warm_up) },
            optimiser: Optimiser::Clip { weight_decay: self.decay },
        }
    }
}

/// A recipe with everything it needs.
pub struct Training<'a> {
    pub recipe: Recipe,
    pub corpus: &'a Corpus,
    pub tokenizer: &'a Tokenizer,
    pub out: &'a Path,
    pub device: &'a Device,
}

impl Training<'_> {
    /// Trains to the end, and writes checkpoint and state on the way.
    pub fn run(&self, model: TrainableClip, resume: bool) -> Result<TrainableClip> {
        let recipe = &self.recipe;
        let state = self.out.join("state");
        match (resume, state.exists()) {
            (true, false) => return Err(Error::read(state, io::ErrorKind::NotFound.into())),
            (false, true) => fs::remove_file(&state).map_err(|source| Error::write(&state, source))?,
            _ => {}
        }
        let batches = Batches::new(
            self.corpus,
            self.tokenizer,
            model.preprocess(),
            recipe.styles,
            recipe.batch,
            recipe.steps,
            recipe.seed,
        );
        let lanes = Lanes::new(self.device)?;
        let seen = Seen { losses: Cell::default(), bar: progress(recipe.steps) };
        let mut validation = Validation { training: self, seen: &seen, steps: 0 };
        let mut run = Run::new(self.device).checkpoint(&state).checkpoint_every(1);
        let mut session = Session::open(&mut run, self.identity(&model), 1)?;
        let model = thread::scope(|scope| {
            let epochs = Epochs { batches: &batches, steps: recipe.epoch(), scope };
            let gradients = |model: &TrainableClip, batch: ContrastiveBatch| -> Result<_> {
                let (losses, gradients) = recipe.contrastive.gradients(model, &batch, &lanes)?;
                seen.step(losses.numbers()?);
                Ok((losses.total, gradients))
            };
            let stage = "pictures and captions";
            recipe.trainer().train(model, &epochs, gradients, &mut validation, stage, &mut session)
        })?;
        seen.bar.finish_and_clear();
        session.close()?;
        Ok(model)
    }

    /// What a state must be of for training to go on from it.
    fn identity(&self, model: &TrainableClip) -> String {
        let styles = self.corpus.styles.iter().take(self.recipe.styles).map(|style| &style.name);
        let styles: Vec<&String> = styles.collect();
        let sizes = format!("{:?}", model.config());
        json!(["pretrain_pocket", self.recipe, styles, self.corpus.emoji.len(), sizes]).to_string()
    }

    /// Zero-shot accuracy and recall on the validation pictures of the styles trained on, averaged.
    fn validate(&self, model: &TrainableClip) -> Result<String> {
        let mut sums = [0.0; 3];
        for style in 0..self.recipe.styles {
            let wanted = |emoji: usize| is_for_validation(style, emoji);
            let score = evaluation::score(model, self.corpus, self.tokenizer, style, wanted)?;
            for (sum, value) in sums.iter_mut().zip([score.zero_shot, score.recall_1, 1.0]) {
                *sum += if score.pictures > 0 { value } else { 0.0 };
            }
        }
        let [zero_shot, recall, styles] = sums.map(|sum| sum / sums[2].max(1.0));
        Ok(if styles > 0.0 {
            format!("zero-shot {zero_shot:.1} %, recall@1 {recall:.1} %")
        } else {
            "has no picture".into()
        })
    }
}

/// What there was to see since the last validation.
struct Seen {
    /// Sums over steps.
    losses: Cell<[f64; 3]>,
    bar: ProgressBar,
}

impl Seen {
    fn step(&self, losses: [f64; 3]) {
        let mut sums = self.losses.get();
        for (sum, loss) in sums.iter_mut().zip(losses) {
            *sum += loss;
        }
        self.losses.set(sums);
        let [images, texts, views] = losses;
        self.bar.set_message(format!("loss {images:.2} {texts:.2} {views:.2}"));
        self.bar.inc(1);
    }
}

/// Scores the model after every epoch, says so, and writes the checkpoint.
struct Validation<'a> {
    training: &'a Training<'a>,
    seen: &'a Seen,
    /// Steps done.
    steps: usize,
}

impl Monitor<TrainableClip> for Validation<'_> {
    fn observe(&mut self, model: TrainableClip) -> Result<(TrainableClip, ControlFlow<()>)> {
        let (epoch, bar) = (self.training.recipe.epoch(), &self.seen.bar);
        self.steps += epoch;
        let [images, texts, views] = self.seen.losses.take().map(|sum| sum / epoch as f64);
        let scores = self.training.validate(&model)?;
        let line = format!(
            "step {}: loss {images:.3} {texts:.3} {views:.3}, validation {scores}, {:.0?}",
            self.steps,
            bar.elapsed()
        );
        // Also where the bar is hidden, such as into a file.
        bar.suspend(|| eprintln!("{line}"));
        model.save(self.training.out)?;
        Ok((model, ControlFlow::Continue(())))
    }

    fn save(&self) -> Result<MonitorState> {
        Ok(MonitorState { numbers: vec![self.steps as f64], ..Default::default() })
    }

    fn restore(&mut self, state: MonitorState, model: TrainableClip) -> Result<TrainableClip> {
        if let [steps] = state.numbers[..] {
            self.steps = steps as usize;
            self.seen.bar.set_position(self.steps as u64);
        }
        Ok(model)
    }
}

fn progress(steps: usize) -> ProgressBar {
    let bar = ProgressBar::new(steps as u64);
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} {elapsed} of {duration}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
