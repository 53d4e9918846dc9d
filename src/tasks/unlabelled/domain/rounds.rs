use super::look::{Look, Scorer};
use super::{DomainAdapter, Mode};
use crate::error::Result;
use crate::features::Embeddings;
use crate::methods::{Gaussians, Moments};
use crate::model::Classifier;
use crate::tasks::unlabelled::pseudo_labels::part_of;

/// How far below all other logits one is that is never to be the answer.
const FAR_BELOW: f64 = 100.0;

/// Self-training: what is said of images becomes labels of the surest of them, which give Gaussians, which are asked again.
pub(super) struct SelfTraining<'a> {
    pub settings: &'a DomainAdapter,
    /// Balanced or proportional.
    pub mode: Mode,
    pub classes: usize,
    pub source: Option<&'a Moments>,
    pub images: &'a Embeddings,
    /// Images of each class that came and are no longer there.
    pub gone: Option<&'a [usize]>,
}

/// What a round did.
pub(super) struct Round {
    /// The part of the answers that it left as they were.
    pub agreement: f64,
    pub mean_confidence: f64,
    /// Images of each class that it learned from.
    pub pseudo_labelled: Vec<usize>,
}

pub(super) struct Trained {
    pub gaussians: Gaussians,
    pub look: Look,
    pub rounds: Vec<Round>,
    /// Whether a class was dropped.
    pub absent: Vec<bool>,
}

impl SelfTraining<'_> {
    pub fn run(&self, teacher: &dyn Classifier) -> Result<Trained> {
        let forced = self.forced();
        let look_at = |scorer: &Scorer<'_>| Look::at(self.images, scorer, self.classes, forced);
        let mut look = look_at(&Scorer::Model(teacher))?;
        let mut rounds = Vec::with_capacity(self.settings.rounds);
        let mut absent = vec![false; self.classes];
        loop {
            let counts = self.counts(&look);
            self.drop_classes(&counts, &mut absent);
            let (rows, labels) = self.pseudo_labels(&look, &counts, &absent);
            let mut pseudo_labelled = vec![0; self.classes];
            labels.iter().for_each(|&class| pseudo_labelled[class] += 1);
            let gaussians = self.fit(&rows, &labels, &counts, &absent)?;
            let next = look_at(&Scorer::Gaussians(&gaussians))?;
            let (agreement, mean_confidence) = (next.agreement(&look), next.mean_confidence());
            rounds.push(Round { agreement, mean_confidence, pseudo_labelled });
            look = next;
            if rounds.len() >= self.settings.rounds {
                return Ok(Trained { gaussians, look, rounds, absent });
            }
        }
    }

    /// Images that every class learns from by the balanced rule: no more than a class has on the mean.
    fn forced(&self) -> usize {
        match self.mode {
            Mode::Proportional => 0,
            _ => self.settings.images.min((self.images.rows() / self.classes).max(1)),
        }
    }

    /// The images of each class, also of those that are gone.
    fn counts(&self, look: &Look) -> Vec<usize> {
        let mut counts = look.counts();
        let gone = self.gone.into_iter().flatten();
        counts.iter_mut().zip(gone).for_each(|(count, gone)| *count += gone);
        counts
    }

    fn drop_classes(&self, counts: &[usize], absent: &mut [bool]) {
        if self.settings.absent_classes && self.mode == Mode::Proportional {
            let least = 0.5 * counts.iter().sum::<usize>() as f64 / self.classes as f64;
            absent.iter_mut().zip(counts).for_each(|(absent, &count)| *absent |= (count as f64) < least);
        }
    }

    /// Rows with the classes that they are taken for.
    fn pseudo_labels(&self, look: &Look, counts: &[usize], absent: &[bool]) -> (Vec<usize>, Vec<usize>) {
        let (mut rows, mut labels) = (Vec::new(), Vec::new());
        for (class, own) in look.of_class().iter().enumerate() {
            let taken = match self.mode {
                _ if absent[class] => Vec::new(),
                Mode::Proportional if own.is_empty() => Vec::new(),
                Mode::Proportional => look.surest(own, part_of(self.settings.share, counts[class])),
                _ => look.forced(class, own, self.forced()),
            };
            labels.resize(labels.len() + taken.len(), class);
            rows.extend(taken);
        }
        (rows, labels)
    }

    fn fit(&self, rows: &[usize], labels: &[usize], counts: &[usize], absent: &[bool]) -> Result<Gaussians> {
        let mut moments = match self.source {
            Some(source) => source.clone(),
            None => Moments::new(self.images.dim(), self.classes),
        };
        moments.add(self.images, rows, labels, &vec![1.0; rows.len()]);
        let mut gaussians = moments.gaussians()?;
        if self.mode == Mode::Proportional {
            let all = (counts.iter().sum::<usize>() + self.classes) as f64;
            let biases = gaussians.bias.iter_mut().zip(counts);
            biases.for_each(|(bias, &count)| *bias += ((count + 1) as f64 / all).ln());
        }
        silence(&mut gaussians, absent);
        Ok(gaussians)
    }
}

/// Puts the logits of some classes below what any unit feature gives the others.
fn silence(gaussians: &mut Gaussians, absent: &[bool]) {
    let least = |class: usize| {
        let weights = gaussians.weights.col_as_slice(class);
        gaussians.bias[class] - weights.iter().map(|weight| weight * weight).sum::<f64>().sqrt()
    };
    let present = (0..absent.len()).filter(|&class| !absent[class]);
    let below = present.map(least).fold(f64::INFINITY, f64::min) - FAR_BELOW;
    for class in (0..absent.len()).filter(|&class| absent[class]) {
        gaussians.weights.col_as_slice_mut(class).fill(0.0);
        gaussians.bias[class] = below;
    }
}
