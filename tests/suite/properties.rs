//! Facts that hold for all inputs.

use burn::tensor::{Device, Tensor, TensorData};
use clip_adapter::{
    AdapterConfig, FeatureFile, ResidualFusionConfig,
    evaluate::{Logits, Scores},
    features::normalise,
};
use proptest::prelude::*;

fn tensor(values: &[f32], dim: usize) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len() / dim, dim]), &Device::flex())
}

fn values(tensor: Tensor<2>) -> Vec<f32> {
    tensor.try_to_vec_as::<f32>().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_adapter_is_positively_homogeneous(x in prop::collection::vec(-1.0f32..1.0, 24), scale in 0.01f32..100.0) {
        let adapter = AdapterConfig::new(8).with_seed(1).init(&Device::flex());
        let once = values(adapter.forward(tensor(&x, 8)));
        let scaled = values(adapter.forward(tensor(&x, 8) * scale));
        for (once, scaled) in once.iter().zip(&scaled) {
            prop_assert!((once * scale - scaled).abs() <= 1e-5 * scale);
        }
    }

    #[test]
    fn fusion_moves_on_the_line_between_its_inputs(
        a in prop::collection::vec(-1.0f32..1.0, 8),
        b in prop::collection::vec(-1.0f32..1.0, 8),
        ratio in 0.0f64..=1.0,
    ) {
        let fusion = ResidualFusionConfig::new().with_ratio(ratio).init(&Device::flex());
        let blend = values(fusion.forward(tensor(&a, 4), tensor(&b, 4)));
        for ((a, b), blend) in a.iter().zip(&b).zip(&blend) {
            let expected = ratio * f64::from(*a) + (1.0 - ratio) * f64::from(*b);
            prop_assert!((f64::from(*blend) - expected).abs() < 1e-6);
        }
    }

    #[test]
    fn normalised_rows_have_unit_length_and_no_nan(x in prop::collection::vec(-1e3f32..1e3, 12)) {
        for row in values(normalise(tensor(&x, 4))).chunks(4) {
            let length = row.iter().map(|v| v * v).sum::<f32>().sqrt();
            prop_assert!((length - 1.0).abs() < 1e-5 || length == 0.0);
        }
    }

    #[test]
    fn scores_are_percentages_and_count_every_image(
        logits in prop::collection::vec(-50.0f32..50.0, 40),
        labels in prop::collection::vec(0usize..4, 10),
    ) {
        let scores = Scores::new(&Logits::new(logits, 4).unwrap(), &labels).unwrap();
        prop_assert_eq!(scores.confusion().iter().flatten().sum::<usize>(), 10);
        for value in [scores.accuracy(), scores.macro_f1(), scores.ece()] {
            prop_assert!((0.0..=100.0).contains(&value));
        }
        prop_assert!(scores.nll() >= 0.0);
    }

    /// Whatever bytes a file holds, reading it is an answer and never a panic.
    #[test]
    fn any_change_to_a_file_is_read_or_refused(at in 0usize..4000, byte: u8) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.safetensors");
        FeatureFile::synthetic(0).unwrap().write(&path).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[at] = byte;
        std::fs::write(&path, bytes).unwrap();
        let _ = FeatureFile::read(&path);
    }
}

#[test]
fn the_initial_weights_are_pytorchs_distribution() {
    let adapter = AdapterConfig::new(400).with_bias(true).init(&Device::flex());
    let parameters = burn::module::Module::num_params(&adapter);
    assert_eq!(parameters, 400 * 100 + 100 + 100 * 400 + 400);
    // A unit vector in shows a row of W1, of which ReLU keeps the positive half: mean bound / 4.
    let bare = AdapterConfig::new(400).init(&Device::flex());
    let out = values(
        bare.forward(Tensor::from_data(TensorData::new(vec![1.0f32; 400], [1, 400]), &Device::flex())),
    );
    assert!(out.iter().all(|v| v.is_finite() && *v >= 0.0));
    assert!(out.iter().any(|v| *v > 0.0));
}
