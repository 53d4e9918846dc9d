//! On real features, how far estimates, curves and suspects can be trusted.

use clip_adapter::{
    AutoAdapter, Classifier, FeatureFile, FeatureSet, Method, Run, Support,
    explain::{HeldOutEstimate, LearningCurve, change, diagnose, held_out, learning_curve, suspects},
};
use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::{device, mean};
use crate::shared::{DATASETS, features};

const SEEDS: [u64; 3] = [1, 2, 3];

/// Spearman's correlation: Pearson's of the ranks, in which equals share their mean.
fn spearman(one: &[f64], other: &[f64]) -> f64 {
    let ranks = |values: &[f64]| -> Vec<f64> {
        let rank = |value: &f64| {
            let below = values.iter().filter(|other| *other < value).count() as f64;
            let equal = values.iter().filter(|other| *other == value).count() as f64;
            below + (equal - 1.0) / 2.0
        };
        values.iter().map(rank).collect()
    };
    let (one, other) = (ranks(one), ranks(other));
    let (a, b) = (mean(&one), mean(&other));
    let sum = |of: &dyn Fn(usize) -> f64| (0..one.len()).map(of).sum::<f64>();
    let both = sum(&|at| (one[at] - a) * (other[at] - b));
    both / (sum(&|at| (one[at] - a).powi(2)) * sum(&|at| (other[at] - b).powi(2))).sqrt()
}

/// One number for each file and draw.
struct Cell {
    estimate: HeldOutEstimate,
    test: f64,
    gain: f64,
    unsure: f64,
    alignment: f64,
}

fn cells(test: &str, shots: usize) -> Option<Vec<Cell>> {
    let mut cells = Vec::new();
    for dataset in DATASETS {
        let file = features(test, dataset)?;
        let set = file.split("test").unwrap();
        for seed in SEEDS {
            let support = file.support(shots, seed).unwrap();
            let diagnosis = diagnose(&support, file.classifier()).unwrap();
            let model = AutoAdapter::default().fit(&support, file.classifier(), &device()).unwrap();
            let change = change(&model, set).unwrap();
            cells.push(Cell {
                estimate: diagnosis.held_out.unwrap(),
                test: change.after,
                gain: change.after - change.before,
                unsure: diagnosis.unsure,
                alignment: diagnosis.alignment,
            });
        }
    }
    Some(cells)
}

/// Four files, three draws: how far the estimate from the shots alone is from the test, and what predicts the gain.
#[test]
fn shots_alone_tell_what_there_is_to_gain() {
    const TEST: &str = "shots_alone_tell_what_there_is_to_gain";
    println!("shots  |held-out - test|  lower <= test  rho(U, gain)  rho(alignment, gain)");
    for (shots, off, correlation) in [(2, 6.5, 0.4), (4, 3.5, 0.6), (8, 3.5, 0.8), (16, 1.5, 0.85)] {
        let Some(cells) = cells(TEST, shots) else { return };
        let distance =
            mean(&cells.iter().map(|cell| (cell.estimate.accuracy - cell.test).abs()).collect::<Vec<_>>());
        let held = cells.iter().filter(|cell| cell.estimate.lower_95 <= cell.test).count() as f64
            / cells.len() as f64;
        let gains: Vec<f64> = cells.iter().map(|cell| cell.gain).collect();
        let by = |of: &dyn Fn(&Cell) -> f64| spearman(&cells.iter().map(of).collect::<Vec<_>>(), &gains);
        let (unsure, alignment) = (by(&|cell| cell.unsure), by(&|cell| cell.alignment));
        println!("{shots:>5}  {distance:>17.2}  {held:>13.2}  {unsure:>12.2}  {alignment:>20.2}");
        assert!(distance <= off, "{shots} shots: {distance:.2} points off");
        assert!(held >= 0.95, "{shots} shots: the limit holds in {held:.2} of the cells");
        assert!(unsure >= correlation, "{shots} shots: {unsure:.2}");
    }
}

/// What 4 and 8 shots say of 16.
#[test]
fn a_curve_of_few_shots_says_about_how_many_are_needed() {
    const TEST: &str = "a_curve_of_few_shots_says_about_how_many_are_needed";
    let method = AutoAdapter::default();
    for (few, most) in [(4, 3.0), (8, 3.0)] {
        let (mut off, mut low) = (Vec::new(), 0);
        for dataset in DATASETS {
            let Some(file) = features(TEST, dataset) else { return };
            // The wide features take longest, and say nothing that the others do not.
            for &seed in if dataset.contains("rn50") { &SEEDS[..1] } else { &SEEDS[..] } {
                let (classes, test) = (file.classifier(), file.test_set("test").unwrap());
                let curve: LearningCurve = learning_curve(
                    &method,
                    &file.support(few, seed).unwrap(),
                    classes,
                    &mut Run::new(&device()),
                )
                .unwrap();
                let model = method.fit(&file.support(16, seed).unwrap(), classes, &device()).unwrap();
                let (said, is) = (curve.accuracy_at(16), model.evaluate(&test).unwrap().accuracy);
                println!("{dataset} {seed}: from {few} shots {said:.1} % at 16, where {is:.1} % are");
                off.push((said - is).abs());
                low += usize::from(said <= is);
            }
        }
        let distance = mean(&off);
        println!("from {few} shots: {distance:.2} points off, too low in {low} of {}", off.len());
        assert!(distance <= most, "from {few} shots: {distance:.2} points off");
    }
}

/// The part of the wrong labels that is among the first tenth of the suspects, in percent; wrong labels are random, or those
/// that zero-shot CLIP finds likeliest beside the right ones.
fn found_faults(file: &FeatureFile, shots: usize, seed: u64, near: bool) -> f64 {
    let support = file.support(shots, seed).unwrap();
    let set = support.set();
    let classes = set.class_names().len();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut rows: Vec<usize> = (0..set.len()).collect();
    let count = (0.05 * set.len() as f64).round().max(1.0) as usize;
    let (wrong, _) = rows.partial_shuffle(&mut random, count);
    let mut labels = set.labels().to_vec();
    let texts = file.classifier().weights();
    let cosine = |row: usize, class: usize| {
        set.embeddings().row(row).iter().zip(texts.row(class)).map(|(a, b)| a * b).sum::<f32>()
    };
    for &mut row in wrong.iter_mut() {
        let right = labels[row];
        labels[row] = match near {
            false => (right + random.random_range(1..classes)) % classes,
            true => (0..classes)
                .filter(|&class| class != right)
                .max_by(|&a, &b| cosine(row, a).total_cmp(&cosine(row, b)))
                .unwrap(),
        };
    }
    let wrong = wrong.to_vec();
    let faulty = FeatureSet::new(set.embeddings().clone(), labels, set.class_names().to_vec()).unwrap();
    let found = suspects(&Support::new(faulty).unwrap(), file.classifier()).unwrap();
    let first = &found[..set.len().div_ceil(10)];
    100.0 * first.iter().filter(|suspect| wrong.contains(&suspect.row)).count() as f64 / wrong.len() as f64
}

#[test]
fn wrong_labels_are_among_the_first_suspects() {
    const TEST: &str = "wrong_labels_are_among_the_first_suspects";
    for (shots, near, least) in [(4, false, 85.0), (4, true, 60.0), (16, false, 90.0), (16, true, 70.0)] {
        let mut found = Vec::new();
        for dataset in DATASETS {
            let Some(file) = features(TEST, dataset) else { return };
            found.extend(SEEDS.map(|seed| found_faults(&file, shots, seed, near)));
        }
        let mean = mean(&found);
        println!("{shots} shots, {} labels: {mean:.1} %", if near { "likely" } else { "random" });
        assert!(mean >= least, "{shots} shots: {mean:.1} %");
    }
}

/// Folds of four shots are the same in both: of `auto` in closed form, with weights that the other folds choose, and fitted
/// again with weights that what is fitted chooses.
#[test]
fn the_closed_form_says_what_fitting_again_says() {
    const TEST: &str = "the_closed_form_says_what_fitting_again_says";
    let (mut same, mut shots, mut apart) = (0, 0, Vec::new());
    for dataset in DATASETS {
        let Some(file) = features(TEST, dataset) else { return };
        for seed in if dataset.contains("rn50") { &SEEDS[..1] } else { &SEEDS[..] } {
            let (support, classes) = (file.support(4, *seed).unwrap(), file.classifier());
            let closed = diagnose(&support, classes).unwrap().held_out.unwrap();
            let again =
                held_out(&AutoAdapter::default(), &support, classes, &mut Run::new(&device())).unwrap();
            assert_eq!(closed.images, again.images);
            let pairs = closed.shots.iter().zip(&again.shots);
            same += pairs.filter(|(one, other)| one.answer == other.answer).count();
            shots += closed.images;
            apart.push(closed.accuracy - again.accuracy);
        }
    }
    let (same, apart) = (100.0 * same as f64 / shots as f64, mean(&apart));
    println!("{same:.1} % of the answers are the same; the closed form is {apart:+.2} points above");
    assert!(same >= 97.0 && apart.abs() <= 1.0, "{same:.1} %, {apart:+.2}");
}
