//! What training does and does not do.

use std::{cell::RefCell, ops::ControlFlow};

use burn::tensor::{Device, Tensor};
use clip_adapter::{
    Activation, Classifier, ClipAdapter, Error, FeatureFile, FeatureSet, FittedClipAdapter, Method, Run,
    Support, TextClassifier, ZeroShot,
    features::Embeddings,
    methods::{Branches, Ratio},
};

fn file() -> FeatureFile {
    FeatureFile::synthetic(0).unwrap()
}

fn logits(model: &impl Classifier, file: &FeatureFile) -> Vec<f32> {
    let images = file.split("test").unwrap().embeddings().tensor(model.device());
    model.logits(images).try_to_vec_as::<f32>().unwrap()
}

fn accuracy(method: &ClipAdapter, shots: usize) -> f64 {
    let file = file();
    let model = method.fit(&file.support(shots, 1).unwrap(), file.classifier(), &Device::flex()).unwrap();
    model.evaluate(&file.test_set("test").unwrap()).unwrap().accuracy
}

#[test]
fn ratio_0_is_zero_shot_bit_for_bit() {
    let (file, device) = (file(), Device::flex());
    let support = file.support(2, 1).unwrap();
    let zero_shot = ZeroShot::default().fit(&support, file.classifier(), &device).unwrap();
    for branches in [Branches::Image, Branches::Text, Branches::Both] {
        let method =
            ClipAdapter { branches, ratio: Ratio::Fixed(0.0), epochs: Some(5), ..Default::default() };
        let model = method.fit(&support, file.classifier(), &device).unwrap();
        let (found, expected) = (logits(&model, &file), logits(&zero_shot, &file));
        if branches == Branches::Image {
            assert_eq!(found, expected);
        } else {
            // The text side is normalised a second time, which moves the last bit.
            assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() <= 1e-4));
        }
    }
}

#[test]
fn the_frozen_parts_are_bit_identical_after_training() {
    let (file, device) = (file(), Device::flex());
    let (support, classes) = (file.support(4, 1).unwrap(), file.classifier().clone());
    let (support_before, classes_before) = (support.clone(), classes.clone());
    let model = ClipAdapter { branches: Branches::Both, epochs: Some(10), ..Default::default() }
        .fit(&support, &classes, &device)
        .unwrap();
    assert_eq!((&support, &classes), (&support_before, &classes_before));
    assert_eq!(model.classes(), &classes_before);
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    let (file, device) = (file(), Device::flex());
    let support = file.support(4, 1).unwrap();
    for ratio in [Ratio::Hoso, Ratio::Learned] {
        let fit = |seed| {
            let method = ClipAdapter { ratio, seed, epochs: Some(10), ..Default::default() };
            logits(&method.fit(&support, file.classifier(), &device).unwrap(), &file)
        };
        assert_eq!(fit(3), fit(3));
        assert_ne!(fit(3), fit(4));
    }
}

/// Two fits at once must not share a generator.
#[test]
fn fits_on_two_threads_give_the_same_bits() {
    let file = file();
    let fit = || {
        let support = file.support(4, 1).unwrap();
        let method = ClipAdapter { epochs: Some(10), ..Default::default() };
        logits(&method.fit(&support, file.classifier(), &Device::flex()).unwrap(), &file)
    };
    let alone = fit();
    std::thread::scope(|scope| {
        let threads = [(); 2].map(|()| scope.spawn(fit));
        for thread in threads {
            assert_eq!(thread.join().unwrap(), alone);
        }
    });
}

#[test]
fn a_resumed_fit_is_an_uninterrupted_one() {
    let (file, device) = (file(), Device::flex());
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("fit.state");
    let plain = file.support(3, 1).unwrap();
    let validated = file.support_with_validation(3, 1).unwrap();
    for (ratio, support) in [
        (Ratio::Hoso, &plain),
        (Ratio::Fixed(0.5), &plain),
        (Ratio::Fixed(0.5), &validated),
        (Ratio::Search, &validated),
        (Ratio::Learned, &plain),
    ] {
        let method = ClipAdapter { ratio, epochs: Some(7), ..Default::default() };
        let whole = logits(&method.fit(support, file.classifier(), &device).unwrap(), &file);
        // Stopped again and again, at places that fall into every stage.
        let resumed = loop {
            let left = RefCell::new(3);
            let mut run = Run::new(&device).checkpoint(&state).on_progress(|_| {
                *left.borrow_mut() -= 1;
                if *left.borrow() > 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            match method.fit_with(support, file.classifier(), &mut run) {
                Ok(model) => break logits(&model, &file),
                Err(Error::Cancelled { checkpoint, .. }) => assert_eq!(checkpoint.as_ref(), Some(&state)),
                Err(other) => panic!("{other}"),
            }
        };
        assert_eq!(whole, resumed, "{ratio:?}");
        assert!(!state.exists(), "a finished fit leaves no checkpoint");
    }
}

#[test]
fn another_fits_checkpoint_is_refused() {
    let (file, device) = (file(), Device::flex());
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("fit.state");
    let support = file.support(2, 1).unwrap();
    let mut stop = Run::new(&device).checkpoint(&state).on_progress(|_| ControlFlow::Break(()));
    let _ = ClipAdapter::default().fit_with(&support, file.classifier(), &mut stop);
    let other = ClipAdapter { seed: 9, ..Default::default() };
    let refused = other.fit_with(&support, file.classifier(), &mut Run::new(&device).checkpoint(&state));
    assert!(matches!(refused, Err(Error::Fingerprint { what: "checkpoints", .. })));
}

#[test]
fn progress_rises_to_one_and_the_loss_falls() {
    let (file, device) = (file(), Device::flex());
    let support = file.support(4, 1).unwrap();
    let mut seen = Vec::new();
    let mut run = Run::new(&device).on_progress(|progress| {
        seen.push(progress.clone());
        ControlFlow::Continue(())
    });
    let method = ClipAdapter { ratio: Ratio::Fixed(0.6), ..Default::default() };
    method.fit_with(&support, file.classifier(), &mut run).unwrap();
    drop(run);
    assert_eq!(seen.len(), 100, "4 shots train for 100 epochs");
    assert!(seen.windows(2).all(|pair| pair[0].done < pair[1].done));
    assert_eq!(seen.last().unwrap().done, 1.0);
    assert!(seen.last().unwrap().loss < 0.2 * seen[0].loss);
}

#[test]
fn every_variant_learns() {
    let zero_shot =
        accuracy(&ClipAdapter { ratio: Ratio::Fixed(0.0), epochs: Some(1), ..Default::default() }, 8);
    for method in [
        ClipAdapter { branches: Branches::Image, ..Default::default() },
        ClipAdapter { branches: Branches::Text, ..Default::default() },
        ClipAdapter { branches: Branches::Both, ..Default::default() },
        ClipAdapter { ratio: Ratio::Learned, ..Default::default() },
        ClipAdapter { branches: Branches::Both, ratio: Ratio::LearnedPerClass, ..Default::default() },
        ClipAdapter { activation: Activation::Gelu, ..Default::default() },
        ClipAdapter { bias: true, ..Default::default() },
        ClipAdapter { batch_size: 0, ..Default::default() },
    ] {
        let found = accuracy(&method, 8);
        assert!(found > zero_shot + 5.0, "{method:?}: {found} after {zero_shot}");
    }
}

#[test]
fn validation_keeps_the_best_epoch_and_chooses_a_ratio() {
    let (file, device) = (file(), Device::flex());
    let support = file.support_with_validation(4, 1).unwrap();
    assert_eq!(support.validation().unwrap().class_counts(), [4; 8]);
    let method = ClipAdapter { ratio: Ratio::Search, epochs: Some(30), ..Default::default() };
    let model = method.fit(&support, file.classifier(), &device).unwrap();
    assert!([0.2, 0.4, 0.6, 0.8].contains(&model.ratios().0.unwrap()));

    let mut epochs = 0;
    let mut run = Run::new(&device).on_progress(|_| {
        epochs += 1;
        ControlFlow::Continue(())
    });
    let method =
        ClipAdapter { ratio: Ratio::Fixed(0.6), epochs: Some(200), patience: 5, ..Default::default() };
    method.fit_with(&support, file.classifier(), &mut run).unwrap();
    drop(run);
    assert!((6..200).contains(&epochs), "stopped after {epochs} epochs");
}

#[test]
fn of_one_shot_zero_shots_doubt_is_the_ratio() {
    let (file, device) = (file(), Device::flex());
    let support = file.support(1, 1).unwrap();
    let method = ClipAdapter { epochs: Some(2), ..Default::default() };
    let ratio = method.fit(&support, file.classifier(), &device).unwrap().ratios().0.unwrap();
    let zero_shot = ZeroShot::default().fit(&support, file.classifier(), &device).unwrap();
    let logits = zero_shot.score(support.set().embeddings()).unwrap();
    let right: f64 =
        logits.probabilities().zip(support.set().labels()).map(|(p, &label)| f64::from(p[label])).sum();
    let doubt = 1.0 - right / support.set().len() as f64;
    assert!((0.2..0.8).contains(&doubt), "{doubt}");
    approx::assert_abs_diff_eq!(ratio, doubt, epsilon = 1e-6);

    // Images upon the text of their class, or of the other one.
    let names = ["a", "b"];
    let classes = TextClassifier::new(vec![1.0, 0.0, 0.0, 1.0], 2, names, ["a {}."], 100.0, "test").unwrap();
    for (labels, ratio) in [([0, 1], 0.2), ([1, 0], 0.8)] {
        let images = Embeddings::new(vec![1.0, 0.0, 0.0, 1.0], 2).unwrap();
        let support = Support::new(FeatureSet::new(images, labels.to_vec(), names).unwrap()).unwrap();
        let method = ClipAdapter { reduction: 1, ..method.clone() };
        assert_eq!(method.fit(&support, &classes, &device).unwrap().ratios(), (Some(ratio), None));
    }
}

#[test]
fn uneven_shots_are_held_out_where_there_are_two() {
    let (file, device) = (file(), Device::flex());
    let train = file.split("train").unwrap();
    let rows: Vec<usize> = (0..8).flat_map(|class| (0..=class).map(move |shot| class * 32 + shot)).collect();
    let support = clip_adapter::Support::new(train.select(&rows)).unwrap();
    let method = ClipAdapter { epochs: Some(20), ..Default::default() };
    let ratio = method.fit(&support, file.classifier(), &device).unwrap().ratios().0.unwrap();
    assert!(ratio > 0.0 && ratio < 1.0 && ratio != 0.2);
}

#[test]
fn learned_ratios_are_one_number_or_one_a_class() {
    let (file, device) = (file(), Device::flex());
    let support = file.support(2, 1).unwrap();
    let method = ClipAdapter {
        branches: Branches::Both,
        ratio: Ratio::LearnedPerClass,
        epochs: Some(3),
        ..Default::default()
    };
    let (image, text) = method.fit(&support, file.classifier(), &device).unwrap().ratios();
    assert_ne!(image, Some(0.2));
    assert_eq!(text.unwrap().len(), 8);
}

/// ReLU without bias is positively homogeneous, so caching normalised features loses nothing.
#[test]
fn raw_and_normalised_features_give_the_same_logits() {
    let (file, device) = (file(), Device::flex());
    let model: FittedClipAdapter = ClipAdapter { epochs: Some(10), ..Default::default() }
        .fit(&file.support(2, 1).unwrap(), file.classifier(), &device)
        .unwrap();
    let images: Tensor<2> = file.split("test").unwrap().embeddings().tensor(&device);
    let unit = model.logits(images.clone()).try_to_vec_as::<f32>().unwrap();
    let long = model.logits(images * 7.5).try_to_vec_as::<f32>().unwrap();
    assert!(unit.iter().zip(&long).all(|(a, b)| (a - b).abs() < 1e-4 * 100.0 * 1e-2));
}

#[test]
fn a_loss_that_is_not_finite_is_an_error() {
    let (file, device) = (file(), Device::flex());
    let method = ClipAdapter { learning_rate: 1e30, ratio: Ratio::Fixed(0.9), ..Default::default() };
    let found = method.fit(&file.support(2, 1).unwrap(), file.classifier(), &device);
    assert!(matches!(found, Err(Error::Diverged { .. })), "{:?}", found.err());
}

#[test]
fn settings_out_of_range_are_named() {
    let (file, device) = (file(), Device::flex());
    let support = file.support(2, 1).unwrap();
    let good = ClipAdapter::default;
    for (name, method) in [
        ("ratio", ClipAdapter { ratio: Ratio::Fixed(1.5), ..good() }),
        ("ratio", ClipAdapter { ratio: Ratio::Fixed(f64::NAN), ..good() }),
        ("ratio", ClipAdapter { ratio: Ratio::Search, ..good() }), // no validation images
        ("reduction", ClipAdapter { reduction: 0, ..good() }),
        ("reduction", ClipAdapter { reduction: 65, ..good() }),
        ("epochs", ClipAdapter { epochs: Some(0), ..good() }),
        ("learning_rate", ClipAdapter { learning_rate: 0.0, ..good() }),
        ("momentum", ClipAdapter { momentum: 1.0, ..good() }),
        ("weight_decay", ClipAdapter { weight_decay: -1.0, ..good() }),
        ("warmup_rate", ClipAdapter { warmup_rate: f64::INFINITY, ..good() }),
        ("label_smoothing", ClipAdapter { label_smoothing: 1.0, ..good() }),
        ("hold_outs", ClipAdapter { hold_outs: 0, ..good() }),
        ("patience", ClipAdapter { patience: 0, ..good() }),
    ] {
        let error = method.fit(&support, file.classifier(), &device).unwrap_err();
        assert!(matches!(&error, Error::Setting { name: found, .. } if found == name), "{name}: {error}");
    }
}
