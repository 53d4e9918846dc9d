use faer::Mat;
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use super::look::{Look, Scorer, fold_of};
use super::{DomainAdapter, Known, Mode};
use crate::error::Result;
use crate::features::{Embeddings, TextClassifier};
use crate::methods::{Gaussians, Moments};
use crate::model::Classifier;
use crate::tasks::unlabelled::pseudo_labels::part_of;

/// How far below all other logits one is that is never to be the answer.
const FAR_BELOW: f64 = 100.0;

/// All rounds but the last score the images of each of so many folds by Gaussians of the others.
const FOLDS: usize = 10;

/// So many images of a class serve where it has them, so that each has others to be told by.
const LEAST: usize = 3;

/// Images that the text of a class counts as.
pub(super) const TEXT_SHOTS: f64 = 1.0;

/// Self-training: what is said of images becomes labels of the surest of them, which give Gaussians, which are asked again.
pub(super) struct SelfTraining<'a> {
    pub settings: &'a DomainAdapter,
    /// Not auto.
    pub mode: Mode,
    pub known: &'a Known,
    pub classes: &'a TextClassifier,
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
        let (forced, classes) = (self.forced(), self.class_count());
        let look_at = |scorer: &Scorer<'_>| Look::at(self.images, scorer, classes, forced);
        let texts = self.classes.weights().unit_rows();
        if let (Mode::Source, Some(source)) = (self.mode, self.source) {
            let gaussians = self.of_source(source, &texts)?;
            let look = look_at(&Scorer::Gaussians(std::slice::from_ref(&gaussians)))?;
            return Ok(Trained { gaussians, look, rounds: Vec::new(), absent: vec![false; classes] });
        }
        let mut look = look_at(&Scorer::Model(teacher))?;
        let mut rounds = Vec::with_capacity(self.settings.rounds);
        let mut absent = vec![false; classes];
        loop {
            let counts = self.counts(&look);
            self.drop_classes(&counts, &mut absent);
            let (rows, labels) = self.pseudo_labels(&look, &counts, &absent);
            let mut pseudo_labelled = vec![0; classes];
            labels.iter().for_each(|&class| pseudo_labelled[class] += 1);
            let is_last = rounds.len() + 1 >= self.settings.rounds;
            let folds = if is_last { 1 } else { FOLDS };
            let mut gaussians = self.fit(&rows, &labels, &texts, folds)?;
            gaussians.iter_mut().for_each(|gaussians| self.weigh(gaussians, &counts, &absent));
            let next = look_at(&Scorer::Gaussians(&gaussians))?;
            let (agreement, mean_confidence) = (next.agreement(&look), next.mean_confidence());
            rounds.push(Round { agreement, mean_confidence, pseudo_labelled });
            look = next;
            if is_last {
                return Ok(Trained { gaussians: gaussians.remove(0), look, rounds, absent });
            }
        }
    }

    /// Zero-shot CLIP, unless Gaussians of the source are clearly better where that can be known.
    fn of_source(&self, source: &Moments, texts: &Mat<f64>) -> Result<Gaussians> {
        if self.known.check.is_some_and(|check| check.prefers_gaussians()) {
            return source.gaussians(texts, TEXT_SHOTS);
        }
        let (scale, classes) = (self.classes.logit_scale(), texts.nrows());
        let weights = Mat::from_fn(texts.ncols(), classes, |column, class| scale * texts[(class, column)]);
        Ok(Gaussians { weights, bias: vec![0.0; classes] })
    }

    fn class_count(&self) -> usize {
        self.classes.class_names().len()
    }

    /// Images that every class learns from by the balanced rule: no more than a class has on the mean.
    fn forced(&self) -> usize {
        match self.mode {
            Mode::Proportional | Mode::Source => 0,
            _ => self.settings.images.min((self.images.rows() / self.class_count()).max(1)),
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
            let least = 0.5 * counts.iter().sum::<usize>() as f64 / self.class_count() as f64;
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
                Mode::Proportional => {
                    look.surest(own, part_of(self.settings.share, counts[class]).max(LEAST))
                }
                _ => look.forced(class, own, self.forced()),
            };
            labels.resize(labels.len() + taken.len(), class);
            rows.extend(taken);
        }
        (rows, labels)
    }

    /// The Gaussians of each fold, of the source and the images of all other folds; those of one fold, of all images.
    fn fit(
        &self,
        rows: &[usize],
        labels: &[usize],
        texts: &Mat<f64>,
        folds: usize,
    ) -> Result<Vec<Gaussians>> {
        let none = || Moments::new(self.images.dim(), self.class_count());
        let of_fold = |fold: usize| {
            let (rows, labels): (Vec<usize>, Vec<usize>) =
                rows.iter().zip(labels).filter(|(row, _)| fold_of(**row, folds) == fold).unzip();
            let mut moments = none();
            moments.add(self.images, &rows, &labels, &vec![1.0; rows.len()]);
            moments
        };
        let images: Vec<Moments> = (0..folds).into_par_iter().map(of_fold).collect();
        let without = |fold: usize| {
            let mut moments = self.source.cloned().unwrap_or_else(none);
            let others = images.iter().enumerate().filter(|(other, _)| folds == 1 || *other != fold);
            others.for_each(|(_, other)| moments.merge(other));
            moments.gaussians(texts, TEXT_SHOTS)
        };
        (0..folds).into_par_iter().map(without).collect()
    }

    /// Adds how frequent classes are where that is not even, and silences those that are absent.
    fn weigh(&self, gaussians: &mut Gaussians, counts: &[usize], absent: &[bool]) {
        if self.mode == Mode::Proportional {
            let all = (counts.iter().sum::<usize>() + counts.len()) as f64;
            let biases = gaussians.bias.iter_mut().zip(counts);
            biases.for_each(|(bias, &count)| *bias += ((count + 1) as f64 / all).ln());
        }
        silence(gaussians, absent);
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
