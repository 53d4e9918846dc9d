//! What an adapter learned: identities, and on real features how far estimates, suspects, names and deletions can be trusted.

use burn::tensor::Device;
use clip_adapter::{
    Activation, AutoAdapter, Classifier, ClipAdapter, Error, FeatureFile, FeatureSet, Method, Rla, Run,
    Support,
    explain::{
        Concepts, HeldOutEstimate, LearningCurve, Splice, Unit, certificate, change, concept_deletion,
        describe_units, diagnose, held_out, learning_curve, near_duplicates, neighbour_purity, shares,
        suspects, unit_deletion,
    },
    features::Embeddings,
    methods::{Branches, Ratio},
    model::FeatureMap,
};
use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::shared::{DATASETS, features};

const SEEDS: [u64; 3] = [1, 2, 3];

fn device() -> Device {
    Device::flex()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

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

/// The parts of a decision add up to it, whatever the units are made of.
#[test]
fn the_shares_of_a_decision_add_up() {
    let file = FeatureFile::synthetic(0).unwrap();
    let (support, classes) = (file.support(8, 1).unwrap(), file.classifier());
    let images = file.split("test").unwrap().embeddings();
    let both = ClipAdapter { branches: Branches::Both, ratio: Ratio::Learned, ..Default::default() };
    let fixed = ClipAdapter { ratio: Ratio::Fixed(0.6), ..Default::default() };
    let fitted: Vec<Box<dyn Classifier>> = vec![
        Box::new(fixed.fit(&support, classes, &device()).unwrap()),
        Box::new(both.fit(&support, classes, &device()).unwrap()),
        Box::new(Rla::default().fit(&support, classes, &device()).unwrap()),
    ];
    for model in fitted {
        let map = model.feature_map().unwrap();
        let logits = model.score(images).unwrap();
        let decisions: Vec<(usize, usize)> =
            logits.predictions().map(|answer| (answer, (answer + 3) % 8)).collect();
        let found = shares(map, classes, images, &decisions).unwrap();
        for (share, row) in found.iter().zip(logits.rows()) {
            let margin = f64::from(row[share.class]) - f64::from(row[share.over]);
            let sum = share.kept + share.units.iter().sum::<f64>();
            approx::assert_abs_diff_eq!(sum, share.margin, epsilon = 1e-9);
            approx::assert_abs_diff_eq!(sum, margin, epsilon = 2e-4);
        }
        assert!(found.iter().any(|share| share.units.iter().any(|unit| unit.abs() > 0.1)));
        let zero_shot = change(model.as_ref(), file.split("test").unwrap()).unwrap();
        assert!(zero_shot.image_distance.unwrap() > 1e-3, "{}: features moved", model.kind());
    }
}

#[test]
fn what_was_gained_is_what_was_fixed_less_what_was_broken() {
    let file = FeatureFile::synthetic(0).unwrap();
    let (support, test) = (file.support(4, 1).unwrap(), file.split("test").unwrap());
    let model = AutoAdapter::default().fit(&support, file.classifier(), &device()).unwrap();
    let found = change(&model, test).unwrap();
    let right = |percent: f64| (percent / 100.0 * test.len() as f64).round() as i64;
    assert_eq!(right(found.after) - right(found.before), found.fixed as i64 - found.broken as i64);
    assert_eq!(found.decisions.len(), found.fixed + found.broken + found.other_wrong);
    assert!(
        found.decisions.iter().all(|decision| decision.margin_before <= 0.0 && decision.margin_after >= 0.0)
    );
    let by_class: i64 = found.classes.iter().map(|class| class.after as i64 - class.before as i64).sum();
    assert_eq!(by_class, found.fixed as i64 - found.broken as i64);
    assert_eq!(found.classes.iter().map(|class| class.called_after).sum::<usize>(), test.len());
}

/// Where there is nothing to say, it is said so.
#[test]
fn what_cannot_be_said_is_refused() {
    let file = FeatureFile::synthetic(0).unwrap();
    let (classes, test) = (file.classifier(), file.split("test").unwrap());
    let (one, two, many) =
        (file.support(1, 1).unwrap(), file.support(2, 1).unwrap(), file.support(4, 1).unwrap());
    let auto = AutoAdapter::default();
    let run = || Run::new(&Device::flex());
    assert!(diagnose(&one, classes).unwrap().held_out.is_none());
    assert!(diagnose(&two, classes).unwrap().held_out.is_some());
    assert!(matches!(suspects(&one, classes), Err(Error::Data { .. })));
    assert!(matches!(held_out(&auto, &one, classes, &mut run()), Err(Error::Data { .. })));
    assert!(matches!(learning_curve(&auto, &two, classes, &mut run()), Err(Error::Data { .. })));
    let few = certificate(&auto, &two, classes, &mut run());
    assert!(matches!(few, Err(Error::TooFewShots { expected: 4, found: 2, .. })));

    let refused = |method: ClipAdapter| {
        let model = ClipAdapter { epochs: Some(1), ratio: Ratio::Fixed(0.5), ..method };
        let model = model.fit(&many, classes, &device()).unwrap();
        assert!(matches!(model.units(), Err(Error::Unsupported { .. })));
    };
    refused(ClipAdapter { activation: Activation::Gelu, ..Default::default() });
    refused(ClipAdapter { bias: true, ..Default::default() });
    refused(ClipAdapter { branches: Branches::Text, ..Default::default() });
    let model = auto.fit(&many, classes, &device()).unwrap();
    assert!(model.feature_map().is_none());

    let words = classes.class_names();
    let images = test.embeddings();
    let same = images.select(&[0, 0]);
    assert!(matches!(Concepts::new(&words[..1], &images.select(&[0]), images), Err(Error::Data { .. })));
    assert!(matches!(Concepts::new(&words[..2], &same, images), Err(Error::Data { .. })));
    let narrow = Embeddings::new(vec![1.0, 2.0], 2).unwrap();
    assert!(matches!(Concepts::new(words, classes.weights(), &narrow), Err(Error::Dim { .. })));
    let concepts = Concepts::new(words, classes.weights(), images).unwrap();
    assert!(matches!(concepts.decompose(&narrow, &Splice::default()), Err(Error::Dim { .. })));
    for settings in [
        Splice { lambda: 0.0, ..Default::default() },
        Splice { lambda: f64::NAN, ..Default::default() },
        Splice { tolerance: -1.0, ..Default::default() },
        Splice { rounds: 0, ..Default::default() },
    ] {
        assert!(matches!(concepts.decompose(images, &settings), Err(Error::Setting { .. })));
    }
    assert!(matches!(near_duplicates(&many, images, 1.5), Err(Error::Setting { .. })));
    assert!(matches!(neighbour_purity(&test.select(&[0, 1]), 5), Err(Error::Data { .. })));
    let other = FeatureSet::new(images.clone(), vec![0; test.len()], ["something else"]).unwrap();
    assert!(matches!(change(&model, &other), Err(Error::Data { .. })));
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
    for (few, most) in [(4, 4.0), (8, 4.0)] {
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

/// The names of ImageNet's thousand classes beside the file's own, and the mean of ImageNet's images.
fn words(test: &str, file: &FeatureFile) -> Option<Concepts> {
    let base = features(test, "imagenet_base_vitb32")?;
    let own = file.classifier();
    let names = [base.classifier().class_names(), own.class_names()].concat();
    let mut values = base.classifier().weights().values().to_vec();
    values.extend(own.weights().values());
    let images = base.split(base.split_names().next().unwrap()).unwrap().embeddings();
    Some(Concepts::new(&names, &Embeddings::new(values, own.dim()).unwrap(), images).unwrap())
}

/// The numbers that an independent program found, with its 1,080 words: all four files' names.
#[test]
fn features_are_made_of_as_many_words_as_elsewhere() {
    const TEST: &str = "features_are_made_of_as_many_words_as_elsewhere";
    let Some(base) = features(TEST, "imagenet_base_vitb32") else { return };
    let files =
        ["whurs19_vitb32", "pets25_vitb32", "caltech36_vitb32"].map(|name| features(TEST, name).unwrap());
    let mut names = base.classifier().class_names().to_vec();
    let mut values = base.classifier().weights().values().to_vec();
    for file in &files {
        names.extend_from_slice(file.classifier().class_names());
        values.extend(file.classifier().weights().values());
    }
    let images = base.split(base.split_names().next().unwrap()).unwrap().embeddings();
    let texts = Embeddings::new(values, images.dim()).unwrap();
    let concepts = Concepts::new(&names, &texts, images).unwrap();
    let [whu, pets, caltech] = &files;
    for (file, split, step, expected) in [
        (pets, "test", 4, [(0.1, 57.0, 0.744), (0.2, 14.8, 0.668), (0.3, 6.2, 0.632)]),
        (caltech, "test", 2, [(0.1, 51.1, 0.699), (0.2, 10.5, 0.618), (0.3, 4.0, 0.590)]),
        (whu, "all", 2, [(0.1, 47.1, 0.689), (0.2, 8.0, 0.628), (0.3, 2.9, 0.613)]),
    ] {
        let set = file.split(split).unwrap();
        let rows: Vec<usize> = (0..set.len()).step_by(step).collect();
        let images = set.embeddings().select(&rows);
        for (lambda, words, cosine) in expected {
            let found = concepts.decompose(&images, &Splice { lambda, ..Default::default() }).unwrap();
            let count = mean(&found.iter().map(|made| made.weights.len() as f64).collect::<Vec<_>>());
            let close = mean(&found.iter().map(|made| made.cosine).collect::<Vec<_>>());
            println!(
                "{} {lambda}: {count:.1} words, cosine {close:.3}; expected {words} and {cosine}",
                file.dataset()
            );
            assert!((count - words).abs() <= 0.5, "{}: {count:.2} words at {lambda}", file.dataset());
            assert!((close - cosine).abs() <= 0.005, "{}: {close:.4} at {lambda}", file.dataset());
            assert!(found.iter().all(|made| made.gap <= 1e-6));
        }
    }
}

/// Names of units hold on images that they were not made of, and what they are said to do can be taken away.
#[test]
fn units_do_what_is_said_of_them() {
    const TEST: &str = "units_do_what_is_said_of_them";
    for (dataset, ratio, holds) in [("whurs19_vitb32", 0.6, 0.35), ("pets25_vitb32", 0.2, 0.22)] {
        let Some(file) = features(TEST, dataset) else { return };
        let (support, test) = (file.support(16, 1).unwrap(), file.split("test").unwrap());
        let concepts = words(TEST, &file).unwrap();
        let method = ClipAdapter { ratio: Ratio::Fixed(ratio), seed: 1, ..Default::default() };
        let (classes, images) = (file.classifier(), test.embeddings());
        let model = method.fit(&support, classes, &device()).unwrap();
        let units: Vec<Unit> =
            describe_units(&model, classes, &concepts, support.set().embeddings(), images).unwrap();
        assert_eq!(units.len(), 128);
        let faithful: Vec<f64> = units.iter().filter_map(|unit| unit.faithfulness).collect();
        let mean = mean(&faithful);
        assert!(units.iter().all(|unit| unit.name.is_none() || unit.faithfulness.unwrap() >= 0.2));
        // 5 % of the units, as the card has it, and ten.
        for count in [6, 10] {
            let found = unit_deletion(&model, classes, images, count, 1).unwrap();
            println!(
                "{dataset}: names hold by {mean:.3}; without {count} units {:.1} % flip, without random ones {:.1} %; margin \
                 {:.2}, {:.2}, {:.2}",
                found.flips, found.random_flips, found.margin, found.margin_left, found.random_margin_left
            );
            assert!(found.flips >= 5.0 * found.random_flips, "{dataset}: {found:?}");
            assert!(found.margin_left < found.random_margin_left);
        }
        assert!(mean >= holds, "{dataset}: names hold by {mean:.3}");
    }
}

/// Ten concepts that weigh most against ten random words, of what adapts features and of what does not.
#[test]
fn decisions_hang_on_the_concepts_that_are_named() {
    const TEST: &str = "decisions_hang_on_the_concepts_that_are_named";
    for dataset in ["whurs19_vitb32", "pets25_vitb32", "caltech36_vitb32"] {
        let Some(file) = features(TEST, dataset) else { return };
        let (support, test) = (file.support(16, 1).unwrap(), file.split("test").unwrap());
        let concepts = words(TEST, &file).unwrap();
        let rows: Vec<usize> = (0..test.len()).step_by(4).collect();
        let images = test.embeddings().select(&rows);
        let rla = Rla::default().fit(&support, file.classifier(), &device()).unwrap();
        let auto = AutoAdapter::default().fit(&support, file.classifier(), &device()).unwrap();
        for model in [&rla as &dyn Classifier, &auto] {
            let found = concept_deletion(model, &concepts, &images, &Splice::default(), 10, 1).unwrap();
            println!(
                "{dataset} {}: without ten concepts {:.1} % flip, without random ones {:.1} %",
                model.kind(),
                found.flips,
                found.random_flips
            );
            assert!(found.flips >= 5.0 * found.random_flips, "{dataset}: {found:?}");
        }
    }
}
