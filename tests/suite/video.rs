//! Videos as frames: pooled rows and the temporal transformer, on made-up motions of real pictures.

use burn::tensor::Device;
use clip_adapter::{
    Classifier, Error, Method, Support, ZeroShot,
    features::{Embeddings, FRAME_FORMAT, FrameFile, FrameSet},
    methods::LinearProbe,
    model::{Save, Saved},
    tasks::{
        self,
        video::{Dct, Pooling, TemporalTransformer},
    },
};
use safetensors::{Dtype, tensor::TensorView};

use crate::shared;

fn motions(test: &str) -> Option<FrameFile> {
    let path = shared::folder(test)?.join("data/motion_pocket.safetensors");
    Some(FrameFile::read(path).expect("a file of frames"))
}

/// Mean accuracy of the linear probe over three draws.
fn probe(file: &FrameFile, pooling: Pooling, shots: usize) -> f64 {
    let test = pooling.set(file.split("test").unwrap()).unwrap().into_test_set();
    let draws = if shots < 64 { 3 } else { 1 }; // 64 are all there are
    let accuracy = |seed: u64| {
        let drawn = file.split("train").unwrap().shots(shots, seed).unwrap();
        let support = Support::new(pooling.set(&drawn).unwrap()).unwrap();
        let classes = pooling.classes(file, support.set()).unwrap();
        let model = LinearProbe::default().fit(&support, &classes, &Device::flex()).unwrap();
        model.evaluate(&test).unwrap().accuracy
    };
    (1..=draws).map(accuracy).sum::<f64>() / draws as f64
}

#[test]
fn the_temporal_basis_tells_motions_apart_and_the_mean_does_not() {
    let Some(file) = motions("the_temporal_basis_tells_motions_apart") else { return };
    let dct = Pooling::Dct(Dct::default());
    for (shots, at_least) in [(1, 50.0), (4, 71.0), (16, 82.0), (64, 87.0)] {
        let (mean, waves) = (probe(&file, Pooling::Mean, shots), probe(&file, dct, shots));
        println!("{shots} clips a class: mean {mean:.1}, dct {waves:.1}");
        assert!(waves >= at_least, "{shots} clips a class: {waves:.1}");
        assert!(mean < 45.0, "{shots} clips a class: {mean:.1}, order or emoji have leaked");
    }
}

/// Right is left backwards, and so on: each motion of an even label is followed by its opposite.
#[test]
fn backwards_is_the_opposite_motion() {
    let Some(file) = motions("backwards_is_the_opposite_motion") else { return };
    let (pooling, test) = (Pooling::Dct(Dct::default()), file.split("test").unwrap());
    let rows = [test.clone(), test.reversed()].map(|videos| pooling.rows(&videos).unwrap());
    let dim = test.dim();
    for video in 0..test.len() {
        let (forth, back) = (rows[0].row(video), rows[1].row(video));
        assert!(forth[..dim] == back[..dim] && forth[2 * dim..] == back[2 * dim..]);
        assert!(forth[dim..2 * dim].iter().zip(&back[dim..2 * dim]).all(|(a, b)| *a == -*b));
    }
    let support = Support::new(pooling.set(file.split("train").unwrap()).unwrap()).unwrap();
    let classes = pooling.classes(&file, support.set()).unwrap();
    let model = LinearProbe::default().fit(&support, &classes, &Device::flex()).unwrap();
    let predictions = model.score(&rows[1]).unwrap();
    let opposite =
        predictions.predictions().zip(test.labels()).filter(|(found, label)| *found == **label ^ 1);
    let share = 100.0 * opposite.count() as f64 / test.len() as f64;
    println!("backwards {share:.1} % are called the opposite motion");
    assert!(share >= 80.0, "{share:.1}");
}

#[test]
fn the_transformer_starts_at_the_mean_and_learns_the_order() {
    let Some(file) = motions("the_transformer_starts_at_the_mean") else { return };
    let (device, test) = (Device::flex(), file.split("test").unwrap());
    let side_by_side = test.side_by_side().unwrap().into_test_set();
    let (mut trained, mut mean) = (0.0, 0.0);
    for seed in 1..=3 {
        let drawn = file.split("train").unwrap().shots(16, seed).unwrap();
        let classes = TemporalTransformer::classes(&file, &drawn).unwrap();
        let support = Support::new(drawn.side_by_side().unwrap()).unwrap();
        let fit = |epochs: usize| {
            let method = TemporalTransformer { epochs, seed, ..Default::default() };
            method.fit(&support, &classes, &device).unwrap()
        };
        if seed == 1 {
            let means = Support::new(Pooling::Mean.set(&drawn).unwrap()).unwrap();
            let plain = ZeroShot::default().fit(&means, &classes, &device).unwrap();
            let plain = plain.score(&Pooling::Mean.rows(test).unwrap()).unwrap();
            let start = fit(0).score(test.side_by_side().unwrap().embeddings()).unwrap();
            for (plain, start) in plain.rows().zip(start.rows()) {
                approx::assert_abs_diff_eq!(plain, start, epsilon = 1e-4);
            }
        }
        trained += fit(50).evaluate(&side_by_side).unwrap().accuracy / 3.0;
        mean += probe(&file, Pooling::Mean, 16) / 3.0;
    }
    println!("16 clips a class: transformer {trained:.1}, probe of the mean {mean:.1}");
    assert!(trained >= mean + 20.0, "{trained:.1} {mean:.1}");
}

#[test]
fn a_saved_transformer_is_opened_by_its_name() {
    let (file, device) = (FrameFile::synthetic(0).unwrap(), Device::flex());
    let drawn = file.split("train").unwrap().shots(2, 1).unwrap();
    let classes = TemporalTransformer::classes(&file, &drawn).unwrap();
    let support = Support::new(drawn.side_by_side().unwrap()).unwrap();
    let method = TemporalTransformer { epochs: 2, ..Default::default() };
    let model = method.fit(&support, &classes, &device).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("motions.safetensors");
    model.save(&path).unwrap();
    assert_eq!(Saved::open(&path).unwrap().kind(), "temporal-transformer");
    let same = tasks::load(&path, &classes.fingerprint(), &device).unwrap();
    let videos = file.split("test").unwrap().side_by_side().unwrap();
    assert_eq!(same.score(videos.embeddings()).unwrap(), model.score(videos.embeddings()).unwrap());
    let moved = model.to_device(&device).unwrap();
    assert_eq!(moved.score(videos.embeddings()).unwrap(), model.score(videos.embeddings()).unwrap());
    // Frames that were sampled in another way are other features.
    let pooled = Pooling::Mean.classes(&file, support.set());
    assert!(pooled.is_ok_and(|other| tasks::load(&path, &other.fingerprint(), &device).is_err()));
    let narrow = Embeddings::new(vec![1.0; 32], 32).unwrap();
    assert!(matches!(model.score(&narrow), Err(Error::Dim { expected: 256, found: 32, .. })));
    for method in [
        TemporalTransformer { heads: 0, ..Default::default() },
        TemporalTransformer { reduction: 32, ..Default::default() },
        TemporalTransformer { learning_rate: f64::NAN, ..Default::default() },
    ] {
        assert!(matches!(method.fit(&support, &classes, &device), Err(Error::Setting { .. })), "{method:?}");
    }
    let odd = Support::new(drawn.side_by_side().unwrap().select(&[0])).unwrap();
    let other = TemporalTransformer::classes(&file, &drawn.select(&[0, 2, 4, 6])).unwrap();
    assert!(method.fit(&odd, &other, &device).is_ok(), "one video is enough");
}

#[test]
fn frames_that_do_not_fit_together_are_refused() {
    let rows = |count: usize| Embeddings::new(vec![1.0; 2 * count], 2).unwrap();
    let set = |labels: Vec<usize>| FrameSet::new(rows(4), 2, labels, ["a", "b"]);
    set(vec![0, 1]).unwrap();
    for (error, expected) in [
        (set(vec![0]).unwrap_err(), "frames: expected 2 for each of 1 labels, found 4"),
        (set(vec![0, 2]).unwrap_err(), "row 1 of the labels: expected a class below 2, found 2"),
        (set(vec![0, 1]).unwrap().with_counts(vec![1, 3]).unwrap_err(), "count of video 1: expected 1..=2"),
        (set(vec![0, 1]).unwrap().with_times(vec![0.0; 3]).unwrap_err(), "times: expected one for each of 4"),
        (
            set(vec![0, 1]).unwrap().with_times(vec![0.0, 1.0, f32::NAN, 1.0]).unwrap_err(),
            "time of frame 2: expected seconds, 0 or more, found NaN",
        ),
        (
            Pooling::Mean
                .rows(
                    &FrameSet::new(Embeddings::new(vec![1.0, 0.0, -1.0, 0.0], 2).unwrap(), 2, vec![0], ["a"])
                        .unwrap(),
                )
                .unwrap_err(),
            "mean of the frames of video 0: expected a direction",
        ),
        (
            Pooling::Dct(Dct { order: 0, ..Dct::default() }).rows(&set(vec![0, 1]).unwrap()).unwrap_err(),
            "setting `order`",
        ),
        ("middle".parse::<Pooling>().unwrap_err(), "setting `pooling`: expected mean or dct"),
    ] {
        assert!(error.to_string().contains(expected), "{error}\nshould hold\n{expected}");
    }
}

#[test]
fn a_spoiled_file_of_frames_names_the_tensor() {
    let floats = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clips.safetensors");
    let read = |format: &str, frames: &[f32], labels: &[i64], counts: Option<&[i64]>| {
        let ints = |values: &[i64]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        let (frames, labels) = (floats(frames), ints(labels));
        let counts = counts.map(ints);
        let mut views = vec![
            ("train.frames", TensorView::new(Dtype::F32, vec![frames.len() / 16, 2, 2], &frames).unwrap()),
            ("train.labels", TensorView::new(Dtype::I64, vec![labels.len() / 8], &labels).unwrap()),
        ];
        if let Some(counts) = &counts {
            views
                .push(("train.counts", TensorView::new(Dtype::I64, vec![counts.len() / 8], counts).unwrap()));
        }
        let texts = [
            ("format", format),
            ("dataset", "d"),
            ("backbone", "b"),
            ("sampling", "s"),
            ("class_names", "[\"a\"]"),
        ];
        let texts = texts.map(|(key, value)| (key.to_owned(), value.to_owned()));
        std::fs::write(&path, safetensors::serialize(views, Some(texts.into())).unwrap()).unwrap();
        FrameFile::read(&path)
    };
    let good = [1.0, 0.0, 0.0, 1.0];
    assert_eq!(read(FRAME_FORMAT, &good, &[0], Some(&[1])).unwrap().split("train").unwrap().counts(), [1]);
    for (found, expected) in [
        (read("clip-features/1", &good, &[0], None), "metadata `format`: expected `clip-frames/1`"),
        (
            read(FRAME_FORMAT, &good, &[0, 0], None),
            "train.labels: expected one for each of 1 videos, found 2",
        ),
        (
            read(FRAME_FORMAT, &good, &[1], None),
            "train.frames: row 0 of the labels: expected a class below 1",
        ),
        (read(FRAME_FORMAT, &[1.0, 0.0, f32::NAN, 1.0], &[0], None), "train.frames: row 1 of the embeddings"),
        (
            read(FRAME_FORMAT, &[1.0, 0.0, 0.0, 0.0], &[0], None),
            "row 1 of the embeddings: expected a direction",
        ),
        (
            read(FRAME_FORMAT, &good, &[0], Some(&[3])),
            "train.counts: count of video 0: expected 1..=2, found 3",
        ),
    ] {
        let error = found.unwrap_err().to_string();
        assert!(
            error.contains(expected) && error.contains("clips.safetensors"),
            "{error}\nshould hold\n{expected}"
        );
    }
}
