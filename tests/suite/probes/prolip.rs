//! ProLIP on made-up features before a projection.

use std::ops::ControlFlow;

use burn::tensor::{Device, Tensor, TensorData};
use clip_adapter::{
    Classifier, Error, FeatureSet, ProLip, Run, Support, TextClassifier,
    backbone::VisualProjection,
    features::Embeddings,
    methods::FittedProLip,
    model::{Model, Open, Save},
};

use super::file;
use crate::methods::plain::{Rows, dot, unit};

/// Features of 64 channels, and a projection to 16 that is not quite right for them.
struct World {
    support: Support,
    test: FeatureSet,
    projection: VisualProjection,
    classes: TextClassifier,
}

impl World {
    fn new(bias: bool) -> Self {
        let file = file();
        // Spread over the plane but fixed: sin has no seed.
        let matrix: Vec<f32> = (0..64 * 16).map(|at| ((at * at) as f32 * 0.7).sin() / 8.0).collect();
        let shift: Vec<f32> = (0..16).map(|at| (at as f32).cos() / 20.0).collect();
        let device = Device::flex();
        let projection = VisualProjection {
            weight: Tensor::from_data(TensorData::new(matrix.clone(), [64, 16]), &device),
            bias: bias.then(|| Tensor::from_data(TensorData::new(shift, [16]), &device)),
        };
        let text = file.classifier();
        let projected: Vec<f32> = (0..8)
            .flat_map(|class| {
                let (row, matrix) = (text.weights().row(class), &matrix);
                (0..16).map(move |d| (0..64).map(|i| row[i] * matrix[i * 16 + d]).sum::<f32>())
            })
            .collect();
        let classes =
            TextClassifier::new(projected, 16, text.class_names(), ["a {}."], 100.0, "made up").unwrap();
        let test = file.split("test").unwrap().clone();
        Self { support: file.support(4, 1).unwrap(), test, projection, classes }
    }

    fn fit(&self, method: ProLip) -> FittedProLip {
        let mut run = Run::new(&Device::flex());
        method.fit(&self.support, &self.projection, &self.classes, &mut run).unwrap()
    }

    /// `s normalise(x P0 + b) W^T` in plain loops.
    fn zero_shot(&self) -> Rows {
        let matrix: Vec<f32> = self.projection.weight.try_to_vec_as().unwrap();
        let bias = self.projection.bias.as_ref();
        let bias: Vec<f32> = bias.map_or(vec![0.0; 16], |bias| bias.try_to_vec_as().unwrap());
        let text = unit(self.classes.weights());
        let rows = self.test.embeddings();
        let row = |row: usize| {
            let x = rows.row(row);
            let component = |d: usize| {
                let sum: f64 = (0..64).map(|i| f64::from(x[i]) * f64::from(matrix[i * 16 + d])).sum();
                sum + f64::from(bias[d])
            };
            let z: Vec<f64> = (0..16).map(component).collect();
            let norm = dot(&z, &z).sqrt();
            text.iter().map(|t| 100.0 * dot(&z, t) / norm).collect()
        };
        (0..rows.rows()).map(row).collect()
    }
}

#[test]
fn held_tight_it_is_zero_shot() {
    for bias in [false, true] {
        let world = World::new(bias);
        let model = world.fit(ProLip { lambda: Some(1e6), ..Default::default() });
        let found = model.score(world.test.embeddings()).unwrap();
        for (found, expected) in found.rows().flatten().zip(world.zero_shot().iter().flatten()) {
            assert!((f64::from(*found) - expected).abs() < 0.05, "{found} instead of {expected}");
        }
    }
}

#[test]
fn it_learns_and_its_loss_falls() {
    let world = World::new(true);
    let (device, test) = (Device::flex(), world.test.clone().into_test_set());
    let before = world.fit(ProLip { lambda: Some(1e6), ..Default::default() });
    let mut losses = Vec::new();
    let mut run = Run::new(&device).on_progress(|progress| {
        losses.push(progress.loss);
        ControlFlow::Continue(())
    });
    let method = ProLip { learning_rate: 1e-3, ..Default::default() };
    let model = method.fit(&world.support, &world.projection, &world.classes, &mut run).unwrap();
    drop(run);
    assert_eq!((losses.len(), model.chosen()["lambda"].as_f64()), (300, Some(0.25)));
    assert!(losses[299] < losses[0] / 2.0, "{} {}", losses[0], losses[299]);
    let accuracy = |model: &FittedProLip| model.evaluate(&test).unwrap().accuracy;
    assert!(accuracy(&model) > accuracy(&before), "{} {}", accuracy(&model), accuracy(&before));

    // The bias stays, and the tighter it is held the nearer it stays.
    let moved = |model: &FittedProLip| {
        let shift = model.projection().weight - world.projection.weight.clone();
        (shift.clone() * shift).sum().into_scalar::<f32>()
    };
    let tight = world.fit(ProLip { lambda: Some(10.0), ..method });
    assert!(moved(&before) < moved(&tight) && moved(&tight) < moved(&model));
    let bias = |bias: &Option<Tensor<1>>| bias.as_ref().unwrap().try_to_vec_as::<f32>().unwrap();
    assert_eq!(bias(&model.projection().bias), bias(&world.projection.bias));
}

#[test]
fn what_is_saved_is_what_is_loaded() {
    let (folder, device) = (tempfile::tempdir().unwrap(), Device::flex());
    for bias in [false, true] {
        let world = World::new(bias);
        let model = world.fit(ProLip { steps: 5, ..Default::default() });
        assert_eq!(model.dim(), 64);
        let (path, again) = (folder.path().join("a"), folder.path().join("b"));
        model.save(&path).unwrap();
        let same = FittedProLip::load(&path, &world.classes.fingerprint(), &device).unwrap();
        let test = world.test.embeddings();
        assert_eq!(same.score(test).unwrap(), model.score(test).unwrap());
        assert_eq!((same.settings(), same.chosen()), (model.settings(), model.chosen()));
        same.save(&again).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(&again).unwrap());
    }
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let world = World::new(false);
    let device = Device::flex();
    let fit = |projection: &VisualProjection, classes: &TextClassifier, method: ProLip| {
        method.fit(&world.support, projection, classes, &mut Run::new(&device)).unwrap_err()
    };
    let projection = |features: usize, dim: usize| VisualProjection {
        weight: Tensor::ones([features, dim], &device),
        bias: None,
    };
    let default = ProLip::default();
    let error = fit(&projection(63, 16), &world.classes, default);
    assert!(matches!(error, Error::Dim { expected: 63, found: 64, .. }), "{error}");
    let error = fit(&projection(64, 15), &world.classes, default);
    assert!(matches!(error, Error::Dim { expected: 16, found: 15, .. }), "{error}");
    let two = TextClassifier::new(vec![1.0; 32], 16, ["a", "b"], ["a {}."], 100.0, "made up").unwrap();
    assert!(matches!(fit(&world.projection, &two, default), Error::Data { .. }));
    for (method, expected) in [
        (ProLip { lambda: Some(-1.0), ..default }, "lambda"),
        (ProLip { steps: 0, ..default }, "steps"),
        (ProLip { learning_rate: 0.0, ..default }, "learning_rate"),
        (ProLip { epsilon: f64::NAN, ..default }, "epsilon"),
    ] {
        let error = fit(&world.projection, &world.classes, method);
        assert!(matches!(&error, Error::Setting { name, .. } if name == expected), "{error}");
    }
    let narrow = Embeddings::new(vec![1.0; 16], 16).unwrap();
    let error = world.fit(ProLip { steps: 1, ..default }).score(&narrow).unwrap_err();
    assert!(matches!(error, Error::Dim { expected: 64, found: 16, .. }), "{error}");
}
