//! Accuracies on real CLIP features, against published ones and against independent PyTorch implementations.

use burn::tensor::Device;
use clip_adapter::{
    Classifier, ClipAdapter, FeatureFile, Method, TestSet, ZeroShot,
    evaluate::{Logits, Scores},
    methods::Ratio,
};
use safetensors::SafeTensors;

use crate::shared::{DATASETS, features, folder};

const SHOTS: [usize; 3] = [1, 4, 16];
const SEEDS: [u64; 3] = [1, 2, 3];

fn zero_shot(file: &FeatureFile, test: &TestSet) -> f64 {
    let support = file.support(1, 1).unwrap();
    ZeroShot::default()
        .fit(&support, file.classifier(), &Device::flex())
        .unwrap()
        .evaluate(test)
        .unwrap()
        .accuracy
}

/// Mean accuracy over the recorded draws 1 to 3, each fitted from several initial weights: with few shots on a
/// test set of 207 images one fit differs from the next by a point.
fn mean_accuracy(file: &FeatureFile, ratio: Ratio, shots: usize, starts: u64) -> f64 {
    let test = file.test_set("test").unwrap();
    let mut accuracies = Vec::new();
    for draw in SEEDS {
        let support = file.support(shots, draw).unwrap();
        for seed in 0..starts {
            let method = ClipAdapter { ratio, seed, ..Default::default() };
            let model = method.fit(&support, file.classifier(), &Device::flex()).unwrap();
            accuracies.push(model.evaluate(&test).unwrap().accuracy);
        }
    }
    accuracies.iter().sum::<f64>() / accuracies.len() as f64
}

#[test]
fn zero_shot_is_the_published_number() {
    for (dataset, split, published) in [
        ("whurs19_vitb32", "all", 81.29),
        ("whurs19_rn50", "all", 71.54),
        ("pets25_vitb32", "test", 92.11),
        ("caltech36_vitb32", "test", 96.85),
    ] {
        let Some(file) = features("zero_shot_is_the_published_number", dataset) else { return };
        let accuracy = zero_shot(&file, &file.test_set(split).unwrap());
        assert_eq!(format!("{accuracy:.2}"), format!("{published:.2}"), "{dataset} {split}");
    }
}

fn fixed_ratio_is_the_reference(ratio: f64) {
    let test = "clip_adapter_is_the_reference";
    let Some(folder) = folder(test) else { return };
    let reference = std::fs::read_to_string(folder.join("data/reference.json")).unwrap();
    let reference: serde_json::Value = serde_json::from_str(&reference).unwrap();
    for dataset in DATASETS {
        let file = features(test, dataset).unwrap();
        for shots in SHOTS {
            let expected =
                reference[dataset][shots.to_string()][format!("clip-adapter r={ratio}")].as_f64().unwrap();
            let found = mean_accuracy(&file, Ratio::Fixed(ratio), shots, if shots < 16 { 3 } else { 1 });
            println!("{dataset} {shots} shots r={ratio}: {found:.2}, reference {expected:.2}");
            assert!(
                (found - expected).abs() <= 1.5,
                "{dataset}, {shots} shots: {found:.2}, reference {expected:.2}"
            );
            if (dataset, shots, ratio) == ("whurs19_vitb32", 16, 0.8) {
                assert!(found >= 97.0, "{found:.2}");
            }
        }
    }
}

#[test]
fn ratio_0_2_is_the_reference() {
    fixed_ratio_is_the_reference(0.2);
}

#[test]
fn ratio_0_4_is_the_reference() {
    fixed_ratio_is_the_reference(0.4);
}

#[test]
fn ratio_0_6_is_the_reference() {
    fixed_ratio_is_the_reference(0.6);
}

#[test]
fn ratio_0_8_is_the_reference() {
    fixed_ratio_is_the_reference(0.8);
}

/// The best single ratio of the grid reaches 94.65 % in `reference.json`, averaged over the four files at 4 and
/// 16 shots. A ratio learned from the shots alone may lose 0.3 of that, and must not lose what CLIP knew.
#[test]
fn the_held_out_ratio_needs_no_tuning() {
    let test = "the_held_out_ratio_needs_no_tuning";
    if folder(test).is_none() {
        return;
    }
    let mut sum = 0.0;
    for dataset in DATASETS {
        let file = features(test, dataset).unwrap();
        let before = zero_shot(&file, &file.test_set("test").unwrap());
        for shots in SHOTS {
            let found = mean_accuracy(&file, Ratio::Hoso, shots, 1);
            println!("{dataset} {shots} shots: {found:.2}, zero-shot {before:.2}");
            if shots > 1 {
                sum += found;
            }
            if !dataset.starts_with("whurs19") {
                assert!(found >= before - 0.5, "{dataset}, {shots} shots: {found:.2}, zero-shot {before:.2}");
            }
        }
    }
    let mean = sum / 8.0;
    println!("mean {mean:.2}");
    assert!(mean >= 94.65 - 0.3, "{mean:.2}");
}

#[test]
fn scores_are_the_published_ones() {
    let Some(folder) = folder("scores_are_the_published_ones") else { return };
    for (file, accuracy, ece, nll) in [
        ("logits_dtd_vitb16", "43.94", "4.27", "2.0545"),
        ("logits_eurosat_vitb16", "48.43", "5.81", "1.4347"),
    ] {
        let bytes = std::fs::read(folder.join(format!("data/{file}.safetensors"))).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let (logits, labels) = (tensors.tensor("logits").unwrap(), tensors.tensor("labels").unwrap());
        let values = logits.data().as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
        let labels: Vec<usize> =
            labels.data().as_chunks().0.iter().map(|&b| i64::from_le_bytes(b) as usize).collect();
        let scores = Scores::new(&Logits::new(values, logits.shape()[1]).unwrap(), &labels).unwrap();
        assert_eq!(format!("{:.2}", scores.accuracy()), accuracy);
        assert_eq!(format!("{:.2}", scores.ece()), ece);
        assert_eq!(format!("{:.4}", scores.nll()), nll);
    }
}
