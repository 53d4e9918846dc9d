use faer::Mat;
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::error::Result;
use crate::features::Embeddings;
use crate::methods::Gaussians;
use crate::model::Classifier;
use crate::numerics::log_normalise;

/// Images scored at once: the logits of all may not fit into memory.
const BLOCK: usize = 512;

/// From this log probability on it is 1 in f32. Images that are equally sure are taken all or none, so that which of them
/// serve does not depend on their order.
const CERTAIN: f64 = -(f32::EPSILON as f64) / 2.0;

/// What gives images their logits.
pub(super) enum Scorer<'a> {
    Model(&'a dyn Classifier),
    /// As many as there are folds, of which each scores the images of its own.
    Gaussians(&'a [Gaussians]),
}

impl Scorer<'_> {
    /// Of the images from `start` on: `[classes, images]`.
    fn logits(&self, images: &Embeddings, start: usize) -> Result<Mat<f64>> {
        match self {
            Self::Model(model) => {
                let logits = model.score(images)?;
                let rows: Vec<&[f32]> = logits.rows().collect();
                Ok(Mat::from_fn(logits.classes(), rows.len(), |class, row| f64::from(rows[row][class])))
            }
            Self::Gaussians(folds) => {
                let mut logits = Mat::zeros(folds[0].bias.len(), images.rows());
                for (fold, gaussians) in folds.iter().enumerate() {
                    let own = |row: &usize| fold_of(start + row, folds.len()) == fold;
                    let rows: Vec<usize> = (0..images.rows()).filter(own).collect();
                    let product =
                        gaussians.weights.transpose() * images.select(&rows).unit_rows().transpose();
                    for (column, row) in rows.into_iter().enumerate() {
                        let sums = product.col_as_slice(column).iter().zip(&gaussians.bias);
                        let logits = logits.col_as_slice_mut(row).iter_mut();
                        logits.zip(sums).for_each(|(logit, (product, bias))| *logit = product + bias);
                    }
                }
                Ok(logits)
            }
        }
    }
}

/// The fold of an image: which of the folds' Gaussians did not learn from it.
pub(super) fn fold_of(image: usize, folds: usize) -> usize {
    image % folds
}

/// What is said of an image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub class: usize,
    /// The next likeliest class; the same where there is no other.
    pub second: usize,
    /// The log probability of the class.
    pub log_p: f64,
}

impl Answer {
    pub fn is_certain(&self) -> bool {
        self.log_p >= CERTAIN
    }

    /// The log probability, of which all that are certain have the same.
    pub fn sureness(&self) -> f64 {
        if self.is_certain() { 0.0 } else { self.log_p }
    }
}

/// What a classifier says of many images, of which not all logits are kept.
pub(super) struct Look {
    pub answers: Vec<Answer>,
    /// Of each class the images that are likeliest to be of it, likeliest first; empty unless asked for.
    likeliest: Vec<Vec<(usize, f64)>>,
    classes: usize,
}

impl Look {
    /// Scores all images. Of each class the `forced` likeliest are kept, also where they are likelier to be of another.
    pub fn at(images: &Embeddings, scorer: &Scorer<'_>, classes: usize, forced: usize) -> Result<Self> {
        let starts: Vec<usize> = (0..images.rows()).step_by(BLOCK).collect();
        let block = |start: usize| -> Result<Self> {
            let rows: Vec<usize> = (start..images.rows().min(start + BLOCK)).collect();
            let mut logits = scorer.logits(&images.select(&rows), start)?;
            let mut look = Self { answers: Vec::new(), likeliest: vec![Vec::new(); classes], classes };
            for row in 0..logits.ncols() {
                let log_p = logits.col_as_slice_mut(row);
                log_normalise(log_p);
                look.answers.push(answer(log_p));
                if forced > 0 {
                    look.likeliest.iter_mut().zip(&*log_p).for_each(|(best, &log_p)| {
                        offer(best, (start + row, log_p), forced);
                    });
                }
            }
            Ok(look)
        };
        let blocks = starts.into_par_iter().map(block).collect::<Result<Vec<Self>>>()?;
        let mut all = Self {
            answers: Vec::with_capacity(images.rows()),
            likeliest: vec![Vec::new(); classes],
            classes,
        };
        for block in blocks {
            all.answers.extend(block.answers);
            for (best, of_block) in all.likeliest.iter_mut().zip(block.likeliest) {
                of_block.into_iter().for_each(|image| offer(best, image, forced));
            }
        }
        Ok(all)
    }

    /// The images that each class is the answer for.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes];
        self.answers.iter().for_each(|answer| counts[answer.class] += 1);
        counts
    }

    /// The images of a class by answer.
    pub fn of_class(&self) -> Vec<Vec<usize>> {
        let mut rows = vec![Vec::new(); self.classes];
        self.answers.iter().enumerate().for_each(|(row, answer)| rows[answer.class].push(row));
        rows
    }

    /// The `count` images that are likeliest to be of `class`, whatever else they may be, and those that are as sure as
    /// can be if these are more.
    pub fn forced(&self, class: usize, own: &[usize], count: usize) -> Vec<usize> {
        self.all_certain(own, count)
            .unwrap_or_else(|| self.likeliest[class].iter().take(count).map(|(row, _)| *row).collect())
    }

    /// The `count` surest of the images `own` of a class, and those that are as sure as can be if these are more.
    pub fn surest(&self, own: &[usize], count: usize) -> Vec<usize> {
        self.all_certain(own, count).unwrap_or_else(|| {
            let mut rows = own.to_vec();
            self.sort(&mut rows);
            rows.truncate(count);
            rows
        })
    }

    /// Surest first, and of equals the one that came first.
    pub fn sort(&self, rows: &mut [usize]) {
        let sureness = |row: &usize| self.answers[*row].sureness();
        rows.sort_by(|a, b| sureness(b).total_cmp(&sureness(a)));
    }

    fn all_certain(&self, own: &[usize], least: usize) -> Option<Vec<usize>> {
        let certain: Vec<usize> = own.iter().copied().filter(|&row| self.answers[row].is_certain()).collect();
        (certain.len() >= least).then_some(certain)
    }

    /// The part of the answers that `other` gives too.
    pub fn agreement(&self, other: &Self) -> f64 {
        let pairs = self.answers.iter().zip(&other.answers);
        let same = pairs.filter(|(own, other)| own.class == other.class).count();
        same as f64 / self.answers.len() as f64
    }

    /// The mean probability of the answers.
    pub fn mean_confidence(&self) -> f64 {
        self.answers.iter().map(|answer| answer.log_p.exp()).sum::<f64>() / self.answers.len() as f64
    }
}

/// The two likeliest classes; of equal ones the first.
fn answer(log_p: &[f64]) -> Answer {
    let likelier = |best: usize, class: usize| if log_p[class] > log_p[best] { class } else { best };
    let class = (0..log_p.len()).fold(0, likelier);
    let others = (0..log_p.len()).filter(|&other| other != class);
    let second = others.reduce(likelier).unwrap_or(class);
    Answer { class, second, log_p: log_p[class] }
}

/// Takes an image among the `most` likeliest if it is; of equal ones the first.
fn offer(best: &mut Vec<(usize, f64)>, image: (usize, f64), most: usize) {
    if best.len() < most || best.last().is_some_and(|(_, least)| image.1 > *least) {
        let place = best.partition_point(|(_, better)| *better >= image.1);
        best.insert(place, image);
        best.truncate(most);
    }
}
