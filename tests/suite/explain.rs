//! What an adapter learned: identities, and on real features how far names and deletions can be trusted.

mod estimates;

use burn::tensor::Device;
use clip_adapter::{
    Activation, AutoAdapter, Classifier, ClipAdapter, Error, FeatureFile, FeatureSet, Method, Rla, Run,
    explain::{
        Concepts, Splice, Unit, certificate, change, concept_deletion, describe_units, diagnose, held_out,
        learning_curve, near_duplicates, neighbour_purity, shares, suspects, text_shares, unit_deletion,
    },
    features::Embeddings,
    methods::{Branches, FittedZeroShot, Ratio},
    model::FeatureMap,
};

use crate::shared::features;

fn device() -> Device {
    Device::flex()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
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
        let frozen = FittedZeroShot::new(classes, &device()).score(images).unwrap();
        let decisions: Vec<(usize, usize)> =
            logits.predictions().map(|answer| (answer, (answer + 3) % 8)).collect();
        let found = shares(map, classes, images, &decisions).unwrap();
        for (share, (row, before)) in found.iter().zip(logits.rows().zip(frozen.rows())) {
            let margin = f64::from(row[share.class]) - f64::from(row[share.over]);
            let before = f64::from(before[share.class]) - f64::from(before[share.over]);
            approx::assert_abs_diff_eq!(share.before, before, epsilon = 2e-4);
            let sum = share.kept + share.units.iter().sum::<f64>();
            approx::assert_abs_diff_eq!(sum, share.margin, epsilon = 1e-9);
            approx::assert_abs_diff_eq!(sum, margin, epsilon = 2e-4);
        }
        assert!(found.iter().any(|share| share.units.iter().any(|unit| unit.abs() > 0.1)));
        let zero_shot = change(model.as_ref(), file.split("test").unwrap()).unwrap();
        assert!(zero_shot.image_distance.unwrap() > 1e-3, "{}: features moved", model.kind());
    }
}

/// Units of the text side, alone and beside those of the image side, whose shares add up to the same.
#[test]
fn the_shares_of_the_texts_units_add_up() {
    let file = FeatureFile::synthetic(0).unwrap();
    let (support, classes) = (file.support(8, 1).unwrap(), file.classifier());
    let images = file.split("test").unwrap().embeddings();
    let fitted = |branches, ratio| {
        let method = ClipAdapter { branches, ratio, ..Default::default() };
        method.fit(&support, classes, &device()).unwrap()
    };
    for branches in [Branches::Text, Branches::Both] {
        let model = fitted(branches, Ratio::Fixed(0.6));
        let (logits, frozen) = (model.score(images).unwrap(), FittedZeroShot::new(classes, &device()));
        let frozen = frozen.score(images).unwrap();
        let decisions: Vec<(usize, usize)> =
            logits.predictions().map(|answer| (answer, (answer + 3) % 8)).collect();
        let found = text_shares(&model, classes, images, &decisions).unwrap();
        for (share, (row, before)) in found.iter().zip(logits.rows().zip(frozen.rows())) {
            let margin = |row: &[f32]| f64::from(row[share.class]) - f64::from(row[share.over]);
            let sum = share.kept + share.units.iter().sum::<f64>();
            approx::assert_abs_diff_eq!(sum, share.margin, epsilon = 1e-9);
            approx::assert_abs_diff_eq!(sum, margin(row), epsilon = 2e-4);
            approx::assert_abs_diff_eq!(share.before, margin(before), epsilon = 2e-4);
        }
        assert!(found.iter().any(|share| share.units.iter().any(|unit| unit.abs() > 0.1)));
        if let Ok(of_images) = shares(&model, classes, images, &decisions) {
            assert_eq!(branches, Branches::Both);
            for (one, other) in of_images.iter().zip(&found) {
                approx::assert_abs_diff_eq!(one.margin, other.margin, epsilon = 2e-4);
            }
        }
        assert!(matches!(text_shares(&model, classes, images, &[(0, 1)]), Err(Error::Data { .. })));
    }
    let rla = Rla::default().fit(&support, classes, &device()).unwrap();
    let (image, each) =
        (fitted(Branches::Image, Ratio::Fixed(0.6)), fitted(Branches::Text, Ratio::LearnedPerClass));
    for refused in [&rla as &dyn FeatureMap, &image, &each] {
        let decisions = vec![(0, 1); images.rows()];
        let found = text_shares(refused, classes, images, &decisions);
        assert!(matches!(found, Err(Error::Unsupported { .. })), "{}", refused.kind());
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
            // of other rows than the reference took
            assert!(
                (count - words).abs() <= 0.5 + 0.05 * words,
                "{}: {count:.2} words at {lambda}",
                file.dataset()
            );
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
    let (mut flips, mut random_flips) = (0.0, 0.0); // of a few images in one set a single one says little
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
            flips += found.flips;
            random_flips += found.random_flips;
        }
    }
    assert!(flips >= 5.0 * random_flips, "{flips} and {random_flips}");
}
