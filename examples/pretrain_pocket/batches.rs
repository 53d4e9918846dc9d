//! What one step trains on. A batch depends on the seed and the number of the step alone, so that training resumes
//! without the state of any generator.

use std::{sync::mpsc, thread::Scope};

use clip_adapter::{
    Result,
    input::{Preprocess, Tokenizer},
    pretrain::ContrastiveBatch,
    train,
};
use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::{
    augment::augmented,
    captions::{Caption, caption},
    corpus::Corpus,
};

/// The part of all views that is changed in every way, once training has got going.
const STRONG: f64 = 0.6;

/// The part of the training over which that part rises from 0: with only strong changes from the start, a small
/// tower learns nothing for hundreds of steps.
const RISE: f64 = 0.5;

/// Of so many pictures one is kept for validation.
const VALIDATION: u64 = 20;

/// Batches that are prepared ahead.
const AHEAD: usize = 3;

/// Draws batches from the first `styles` styles of a corpus.
pub struct Batches<'a> {
    corpus: &'a Corpus,
    tokenizer: &'a Tokenizer,
    preprocess: Preprocess,
    /// The styles that each emoji can be drawn from; emoji that have none are left out.
    available: Vec<(usize, Vec<usize>)>,
    size: usize,
    steps: usize,
    seed: u64,
}

/// Whether a picture is kept for validation: a fixed twentieth of all.
pub fn is_for_validation(style: usize, emoji: usize) -> bool {
    // Knuth's multiplicative hash spreads neighbours.
    let mixed = (emoji as u64 * 31 + style as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 33).is_multiple_of(VALIDATION)
}

impl<'a> Batches<'a> {
    pub fn new(
        corpus: &'a Corpus,
        tokenizer: &'a Tokenizer,
        preprocess: &Preprocess,
        styles: usize,
        size: usize,
        steps: usize,
        seed: u64,
    ) -> Self {
        let drawn = |style: usize, emoji: usize| {
            corpus.picture(style, emoji).is_some() && !is_for_validation(style, emoji)
        };
        let available: Vec<(usize, Vec<usize>)> = (0..corpus.emoji.len())
            .map(|emoji| (emoji, (0..styles).filter(|&style| drawn(style, emoji)).collect::<Vec<_>>()))
            .filter(|(_, styles)| !styles.is_empty())
            .collect();
        let size = size.min(available.len());
        Self { corpus, tokenizer, preprocess: preprocess.clone(), available, size, steps, seed }
    }

    /// The batch of a step: two views of each of some emoji, one caption each, and which caption is true of which view.
    fn batch(&self, step: usize) -> Result<ContrastiveBatch> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        random.set_stream(step as u64);
        let strength = STRONG * (step as f64 / (RISE * self.steps as f64)).min(1.0);
        let mut order: Vec<usize> = (0..self.available.len()).collect();
        let (chosen, _) = order.partial_shuffle(&mut random, self.size);
        let mut views = [Vec::new(), Vec::new()];
        let mut captions = Vec::with_capacity(chosen.len());
        for &entry in chosen.iter() {
            let (emoji, styles) = &self.available[entry];
            for (view, style) in views.iter_mut().zip(two_of(styles, &mut random)) {
                if let Some(picture) = self.corpus.picture(style, *emoji) {
                    let may_flip = has_no_side(&self.corpus.emoji[*emoji].name);
                    augmented(picture, may_flip, strength, &self.preprocess, &mut random, view);
                }
            }
            captions.push((*emoji, caption(&self.corpus.emoji[*emoji], &mut random)));
        }
        let truth = self.truth(&captions);
        let texts: Vec<String> = captions.into_iter().map(|(_, caption)| caption.text).collect();
        let [mut pixels, second] = views;
        pixels.extend(second);
        ContrastiveBatch::new(pixels, self.tokenizer.encode(&texts)?, truth, 2)
    }

    /// A caption is true of the emoji it was drawn for, and one of a kind of all emoji of that kind.
    fn truth(&self, captions: &[(usize, Caption)]) -> Vec<f32> {
        let kind = |emoji: usize| &self.corpus.emoji[emoji].subgroup;
        let once: Vec<f32> = captions
            .iter()
            .flat_map(|&(shown, _)| {
                captions.iter().map(move |(emoji, caption)| {
                    let is_true = shown == *emoji || caption.of_kind && kind(shown) == kind(*emoji);
                    if is_true { 1.0 } else { 0.0 }
                })
            })
            .collect();
        once.repeat(2)
    }
}

/// The same in epochs of so many steps, each prepared ahead by a thread of its own.
pub struct Epochs<'scope, 'env> {
    pub batches: &'scope Batches<'env>,
    pub steps: usize,
    pub scope: &'scope Scope<'scope, 'env>,
}

impl train::Batches for Epochs<'_, '_> {
    type Batch = ContrastiveBatch;

    fn steps(&self) -> usize {
        self.steps
    }

    fn epoch(&self, epoch: usize) -> Result<train::Epoch<'_, ContrastiveBatch>> {
        let (batches, steps) = (self.batches, epoch * self.steps..(epoch + 1) * self.steps);
        let share = 1.0 / self.steps as f64;
        let (sender, receiver) = mpsc::sync_channel::<Result<ContrastiveBatch>>(AHEAD);
        self.scope.spawn(move || {
            // The other end hangs up when training fails.
            steps.map(|step| batches.batch(step)).all(|batch| sender.send(batch).is_ok())
        });
        Ok(Box::new(receiver.into_iter().map(move |batch| batch.map(|batch| (batch, share)))))
    }
}

/// Two different styles where there are two.
fn two_of(styles: &[usize], random: &mut ChaCha8Rng) -> [usize; 2] {
    let first = random.random_range(0..styles.len());
    let second = match styles.len() {
        1 => first,
        count => (first + random.random_range(1..count)) % count,
    };
    [styles[first], styles[second]]
}

/// Whether a mirrored picture still shows what the name says.
fn has_no_side(name: &str) -> bool {
    const SIDED: [&str; 16] = [
        "left", "right", "arrow", "button", "clock", "o'clock", "thirty", "keycap", "sign", "letters",
        "mark", "symbols", "latin", "input", "japanese", "hand",
    ];
    !name.split([' ', '-']).any(|word| SIDED.contains(&word))
}
