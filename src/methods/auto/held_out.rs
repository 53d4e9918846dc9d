//! What the two closed forms say of shots that they were not fitted to, without fitting again.

use faer::Mat;
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use super::AutoAdapter;
use super::rule::{ALPHA, WEIGHT, uncertainty};
use crate::choose::{NearChoice, Proposal, hold_outs};
use crate::error::{Error, Result};
use crate::features::{FeatureSet, Support, TextClassifier};
use crate::methods::gda::{self, Gaussians, Prior};
use crate::methods::proker::Problem;

/// Sharpness of the kernel and pull towards zero-shot, as [`AutoAdapter`] has them.
const BETA: f64 = 5.0;
const LAMBDA: f64 = 0.1;

/// What an [`AutoAdapter`] says of each shot that it was fitted without, and its counts of what was learned.
///
/// One shot of each class is left out at a time, until each was. The weights of the two members are those that do best on
/// what is said of the *other* groups. No member is fitted with a shot that it is asked about, and no weight is chosen by
/// what is said of it, but what is said of the others was fitted with it: a fit again would choose the weights within.
#[derive(Debug, Clone)]
pub(crate) struct HeldOutShots {
    /// Rows of the support set, each of them once.
    pub rows: Vec<usize>,
    pub zero_shot: Mat<f64>, // [rows, classes]
    pub logits: Mat<f64>,    // [rows, classes]
}

impl HeldOutShots {
    /// How unsure zero-shot is of the images, in nats.
    pub fn uncertainty(set: &FeatureSet, classes: &TextClassifier) -> f64 {
        uncertainty(set, classes)
    }

    /// How far shots that are alike lack the same, and the degrees of freedom of the regression and of the Gaussians.
    pub fn counts(set: &FeatureSet, classes: &TextClassifier) -> Result<(f64, f64, Option<f64>)> {
        check_number(set)?;
        let problem = Problem::new(set, classes);
        let of_kernel = problem.degrees_of_freedom(BETA, LAMBDA)?;
        Ok((problem.alignment(BETA), of_kernel, Gaussians::degrees_of_freedom(set)?))
    }

    /// None where fewer than half of the classes have a second shot.
    pub fn new(set: &FeatureSet, classes: &TextClassifier) -> Result<Option<Self>> {
        check_number(set)?;
        let rotations = set.len(); // all of them: a wrong label makes a class larger than the others
        let folds = hold_outs(set, rotations);
        if folds.is_empty() {
            return Ok(None);
        }
        let (groups, kept): (Vec<_>, Vec<_>) = folds.into_iter().unzip();
        let problem = Problem::new(set, classes);
        let regression = problem.left_out(BETA, LAMBDA, &groups)?;
        let text_shots = AutoAdapter::default().gda.text_shots;
        let prior = Prior::new(classes, text_shots, set);
        let gaussians = gda::HeldOut::new(&Support::new(set.clone())?, classes, &prior, rotations)?.gaussian;
        let evidence = Evidence::new(set, &problem, &groups, regression, gaussians);

        let of_group = |at: usize| -> Result<Mat<f64>> {
            let others = set.select(&kept[at]);
            let unsure = uncertainty(&others, classes).sqrt();
            let proposal = Proposal::new(WEIGHT * unsure, &others);
            let weight = evidence.weight(at, proposal, &evidence.regression);
            let proposal = Proposal::new(ALPHA * unsure, &others).beside(prior.scale());
            let alpha = evidence.weight(at, proposal, &evidence.gaussians);
            Ok(evidence.logits(at, weight, alpha))
        };
        let says: Vec<Mat<f64>> = (0..groups.len()).into_par_iter().map(of_group).collect::<Result<_>>()?;
        Ok(Some(evidence.once(&groups, &says)))
    }
}

/// The matrices are `[shots, shots]`.
fn check_number(set: &FeatureSet) -> Result<()> {
    let most = AutoAdapter::default().most_shots;
    if set.len() <= most {
        return Ok(());
    }
    Err(Error::data("shots to hold out", format!("at most {most}: of more, keep a test set"), set.len()))
}

/// What zero-shot and the two members say of all that is held out, group after group.
struct Evidence {
    labels: Vec<usize>,
    starts: Vec<usize>, // of the groups, and the end
    zero_shot: Mat<f64>,
    regression: Mat<f64>,
    gaussians: Mat<f64>,
}

impl Evidence {
    fn new(
        set: &FeatureSet,
        problem: &Problem<'_>,
        groups: &[Vec<usize>],
        regression: Mat<f64>,
        gaussians: Vec<f32>,
    ) -> Self {
        let rows = groups.concat();
        let classes = set.class_names().len();
        let mut starts = vec![0];
        groups.iter().for_each(|group| starts.push(starts[starts.len() - 1] + group.len()));
        Self {
            labels: problem.labels_of(groups),
            starts,
            zero_shot: Mat::from_fn(rows.len(), classes, |row, class| problem.zero_shot[(rows[row], class)]),
            gaussians: Mat::from_fn(rows.len(), classes, |row, class| {
                f64::from(gaussians[row * classes + class])
            }),
            regression,
        }
    }

    /// The weight of a member that all groups but one choose.
    fn weight(&self, but: usize, proposal: Proposal, adds: &Mat<f64>) -> f64 {
        if proposal.is_zero() {
            return 0.0;
        }
        let left_out = self.starts[but]..self.starts[but + 1];
        let rows: Vec<usize> = (0..self.labels.len()).filter(|row| !left_out.contains(row)).collect();
        if rows.is_empty() {
            return proposal.unconfirmed();
        }
        let labels: Vec<usize> = rows.iter().map(|&row| self.labels[row]).collect();
        let mut choice = NearChoice::new(&labels, proposal);
        let classes = self.zero_shot.ncols();
        for weight in proposal.weights() {
            let logit = |at: usize| {
                let place = (rows[at / classes], at % classes);
                (self.zero_shot[place] + weight * adds[place]) as f32
            };
            let logits: Vec<f32> = (0..rows.len() * classes).map(logit).collect();
            choice.consider(weight, weight, &logits);
        }
        choice.chosen().map_or(proposal.unconfirmed(), |chosen| chosen.best)
    }

    /// The mean of the two members, of one group.
    fn logits(&self, group: usize, weight: f64, alpha: f64) -> Mat<f64> {
        let start = self.starts[group];
        Mat::from_fn(self.starts[group + 1] - start, self.zero_shot.ncols(), |row, class| {
            let place = (start + row, class);
            self.zero_shot[place] + (weight * self.regression[place] + alpha * self.gaussians[place]) / 2.0
        })
    }

    /// A class with few shots has them held out again and again: the first time counts.
    fn once(&self, groups: &[Vec<usize>], says: &[Mat<f64>]) -> HeldOutShots {
        let mut rows = Vec::new();
        let mut places = Vec::new();
        for (group, members) in groups.iter().enumerate() {
            for (at, &row) in members.iter().enumerate() {
                if !rows.contains(&row) {
                    rows.push(row);
                    places.push((group, at));
                }
            }
        }
        let classes = self.zero_shot.ncols();
        let zero_shot = |row: usize, class: usize| {
            let (group, at) = places[row];
            self.zero_shot[(self.starts[group] + at, class)]
        };
        HeldOutShots {
            zero_shot: Mat::from_fn(rows.len(), classes, zero_shot),
            logits: Mat::from_fn(rows.len(), classes, |row, class| {
                let (group, at) = places[row];
                says[group][(at, class)]
            }),
            rows,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::FeatureFile;
    use crate::methods::ProKeR;
    use crate::model::Classifier;
    use crate::train::Method;
    use burn::tensor::Device;

    /// Both members are fitted again without a group, with weights that are known: the closed form says the same.
    #[test]
    fn what_is_said_of_a_held_out_group_is_what_a_refit_says() {
        let file = FeatureFile::synthetic(0).unwrap();
        let (support, classes) = (file.support(4, 1).unwrap(), file.classifier());
        let set = support.set();
        let (groups, kept): (Vec<_>, Vec<_>) = hold_outs(set, set.len()).into_iter().unzip();
        let problem = Problem::new(set, classes);
        let prior = Prior::new(classes, 1.0, set);
        let gaussians = gda::HeldOut::new(&support, classes, &prior, set.len()).unwrap().gaussian;
        let regression = problem.left_out(BETA, LAMBDA, &groups).unwrap();
        let evidence = Evidence::new(set, &problem, &groups, regression, gaussians);
        let (weight, alpha) = (7.0, 0.3);
        for (at, group) in groups.iter().enumerate() {
            let method = AutoAdapter {
                proker: ProKeR { weight: Some(weight), ..AutoAdapter::default().proker },
                gda: gda::Gda { alpha: Some(alpha), text_shots: 1.0 },
                ..Default::default()
            };
            let others = Support::new(set.select(&kept[at])).unwrap();
            let model = method.fit(&others, classes, &Device::flex()).unwrap();
            let refitted = model.score(&set.embeddings().select(group)).unwrap();
            let closed = evidence.logits(at, weight, alpha);
            for (row, logits) in refitted.rows().enumerate() {
                for (class, &logit) in logits.iter().enumerate() {
                    approx::assert_abs_diff_eq!(f64::from(logit), closed[(row, class)], epsilon = 2e-4);
                }
            }
        }
    }

    #[test]
    fn every_shot_counts_once() {
        let file = FeatureFile::synthetic(0).unwrap();
        let all = file.support(4, 1).unwrap();
        let rows: Vec<usize> = (0..all.set().len()).filter(|row| row % 4 < 2 || *row < 8).collect();
        let set = all.set().select(&rows); // two classes of four shots, the others of two
        let found = HeldOutShots::new(&set, file.classifier()).unwrap().unwrap();
        let mut once = found.rows.clone();
        once.sort_unstable();
        assert_eq!(once, (0..set.len()).collect::<Vec<_>>());
        assert_eq!((found.logits.nrows(), found.logits.ncols()), (set.len(), 8));
        let single = file.support(1, 1).unwrap();
        assert!(HeldOutShots::new(single.set(), file.classifier()).unwrap().is_none());
    }
}
