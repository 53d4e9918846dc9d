//! The loop: batches from a thread of their own, three contrastive losses, AdamW, warm-up and cosine.

use std::{f64::consts::PI, path::Path, sync::mpsc, thread};

use burn::{
    grad_clipping::GradientClippingConfig,
    module::Module,
    optim::{AdamWConfig, ModuleOptimizer},
};
use clip_adapter::{Error, Result, backbone::TrainableClip, input::Tokenizer};
use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    batches::{Batches, is_for_validation},
    corpus::Corpus,
    evaluation,
    lanes::Lanes,
    state,
};

/// Batches that are prepared ahead.
const AHEAD: usize = 3;

/// How to train.
///
/// | Name | Default | Meaning |
/// | --- | --- | --- |
/// | `steps` | 3000 | optimiser steps |
/// | `batch` | 128 | emoji of a step, each drawn twice |
/// | `rate` | 1.5e-3 | the largest learning rate |
/// | `warm_up` | 100 | steps over which the rate rises to it; then a cosine to nearly 0 |
/// | `decay` | 0.05 | AdamW's weight decay |
/// | `views_weight` | 0.5 | weight of the loss that draws two styles of an emoji together |
/// | `every` | 250 | steps between validations |
/// | `seed` | 1 | fixes every batch |
/// | `styles` | 0 | how many of the corpus's styles, from the first, are trained on |
pub struct Recipe {
    pub steps: usize,
    pub batch: usize,
    pub rate: f64,
    pub warm_up: usize,
    pub decay: f32,
    pub views_weight: f64,
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
            views_weight: 0.5,
            every: 250,
            seed: 1,
            styles: 0,
        }
    }
}

impl Recipe {
    /// The learning rate of a step, counted from 0.
    fn rate(&self, step: usize) -> f64 {
        let warm = (step + 1) as f64 / self.warm_up.max(1) as f64;
        let done = step as f64 / self.steps as f64;
        self.rate * warm.min(1.0) * (0.01 + 0.99 * 0.5 * (1.0 + (PI * done).cos()))
    }

    fn optimiser(&self) -> ModuleOptimizer {
        AdamWConfig::new()
            .with_beta_2(0.98) // as CLIP
            .with_epsilon(1e-6)
            .with_weight_decay(self.decay)
            .with_grad_clipping(Some(GradientClippingConfig::Norm(1.0))) // of each tensor
            .init()
    }
}

/// A recipe with everything it needs.
pub struct Training<'a> {
    pub recipe: Recipe,
    pub corpus: &'a Corpus,
    pub tokenizer: &'a Tokenizer,
    pub out: &'a Path,
    pub lanes: Lanes,
}

impl Training<'_> {
    /// Trains to the end, and writes checkpoint and state on the way.
    pub fn run(&self, mut model: TrainableClip, resume: bool) -> Result<TrainableClip> {
        let recipe = &self.recipe;
        let mut optimiser = recipe.optimiser();
        let mut first = 0;
        if resume {
            (model, optimiser, first) = state::load(self.out, model, optimiser)?;
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
        let progress = progress(recipe.steps, first);
        let device = model.devices().into_iter().next().unwrap_or_default().autodiff();
        thread::scope(|scope| {
            let (sender, receiver) = mpsc::sync_channel(AHEAD);
            scope.spawn(move || {
                // The other end hangs up when training fails.
                (first..recipe.steps).map(|step| batches.batch(step)).all(|batch| sender.send(batch).is_ok())
            });
            let mut sums = [0.0; 3];
            for (step, batch) in (first..recipe.steps).zip(receiver.iter()) {
                let (gradients, losses) =
                    self.lanes.gradients(&model, &batch?, &device, recipe.views_weight)?;
                if losses.iter().any(|loss| !loss.is_finite()) {
                    return Err(Error::Diverged { epoch: step + 1, loss: losses[0] });
                }
                for (sum, loss) in sums.iter_mut().zip(losses) {
                    *sum += loss / recipe.every as f64;
                }
                model = optimiser.step(recipe.rate(step), model, gradients);
                progress.set_message(format!("loss {:.2} {:.2} {:.2}", losses[0], losses[1], losses[2]));
                progress.inc(1);
                if (step + 1).is_multiple_of(recipe.every) || step + 1 == recipe.steps {
                    let [images, texts, views] = sums;
                    let scores = self.validate(&model)?;
                    let line = format!(
                        "step {}: loss {images:.3} {texts:.3} {views:.3}, validation {scores}, {:.0?}",
                        step + 1,
                        progress.elapsed()
                    );
                    // Also where the bar is hidden, such as into a file.
                    progress.suspend(|| eprintln!("{line}"));
                    sums = [0.0; 3];
                    model.save(self.out)?;
                    state::save(self.out, &model, &optimiser, step + 1)?;
                }
            }
            progress.finish_and_clear();
            Ok(model)
        })
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

fn progress(steps: usize, done: usize) -> ProgressBar {
    let bar = ProgressBar::new(steps as u64).with_position(done as u64);
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} {elapsed} of {duration}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
