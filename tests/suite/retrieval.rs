//! Retrieval on real CLIP features, against independent NumPy programs; pair files and adapters that are read again.

use std::{
    fs,
    path::{Path, PathBuf},
};

use burn::tensor::Device;
use clip_adapter::{
    Error,
    evaluate::retrieval::RetrievalReport,
    features::{Embeddings, PairFile, Pairs, TestPairs},
    model::{FeatureMap, Model, Open, Save},
    tasks::retrieval::{
        self, ClipAdapterPair, DualSoftmax, FittedPair, LinearPair, Nnn, PairMethod, PairSettings, QbNorm,
        Sides,
    },
};
use safetensors::{Dtype, tensor::TensorView};

use crate::commands::{failure_in, json, run_in, text};
use crate::shared::folder;

const SEEDS: [u64; 3] = [1, 2, 3];

fn coco_path(test: &str) -> Option<PathBuf> {
    Some(folder(test)?.join("data/coco500_vitb16.safetensors"))
}

fn coco(test: &str) -> Option<PairFile> {
    Some(PairFile::read(coco_path(test)?).unwrap())
}

/// R@1 from texts to images and from images to texts, mean over the three splits.
fn mean(file: &PairFile, score: impl Fn(&Pairs, &TestPairs) -> RetrievalReport) -> [f64; 2] {
    let mut mean = [0.0; 2];
    for seed in SEEDS {
        let (train, test) = file.split(seed).unwrap();
        let report = score(&train, &test);
        assert_eq!((report.gallery, report.queries, report.captions_an_image), (250, 250, 1.0));
        mean[0] += report.text_to_image.r1 / 3.0;
        mean[1] += report.image_to_text.r1 / 3.0;
    }
    mean
}

fn assert_near(what: &str, found: [f64; 2], expected: [f64; 2], within: f64) {
    println!("{what}: {:.2} / {:.2}, reference {:.2} / {:.2}", found[0], found[1], expected[0], expected[1]);
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= within, "{what}: {found:.2}, reference {expected:.2}");
    }
}

#[test]
fn what_is_not_trained_is_the_reference_to_the_digit() {
    let Some(file) = coco("what_is_not_trained_is_the_reference_to_the_digit") else { return };
    let zero_shot = mean(&file, |_, test| retrieval::evaluate(test).unwrap());
    assert_near("zero-shot", zero_shot, [58.80, 63.20], 0.05);
    let nnn = mean(&file, |train, test| Nnn::default().evaluate(train, test).unwrap());
    assert_near("nnn", nnn, [63.73, 66.13], 0.05);
    let large = Nnn { a: 0.75, k: Some(128) };
    let large = mean(&file, |train, test| large.evaluate(train, test).unwrap());
    assert_near("nnn a .75 k 128", large, [61.87, 63.73], 0.05);
    let chosen = mean(&file, |train, test| Nnn::chosen(train).unwrap().evaluate(train, test).unwrap());
    assert_near("nnn chosen", chosen, [63.20, 65.33], 0.05);
    let dynamic = mean(&file, |train, test| QbNorm::default().evaluate(train, test).unwrap());
    assert_near("dynamic inverted softmax", dynamic, [64.00, 62.93], 0.05);
    let dual = mean(&file, |_, test| DualSoftmax::default().evaluate(test).unwrap().0);
    assert_near("dual softmax", dual, [71.47, 72.00], 0.05);
    let tenth = SEEDS.map(|seed| retrieval::evaluate(&file.split(seed).unwrap().1).unwrap());
    let tenth = [
        tenth.iter().map(|report| report.text_to_image.r10 / 3.0).sum(),
        tenth.iter().map(|report| report.image_to_text.r10 / 3.0).sum(),
    ];
    assert_near("zero-shot R@10", tenth, [94.00, 93.87], 0.05);
}

#[test]
fn hubs_are_counted() {
    let Some(file) = coco("hubs_are_counted") else { return };
    let report = retrieval::evaluate(&file.pairs().clone().into_test_pairs()).unwrap();
    assert_eq!(format!("{:.1} {:.1}", report.text_to_image.r1, report.image_to_text.r1), "50.6 55.2");
    let hubness = report.text_to_image.hubness;
    // As NumPy counts in 64 bits, with unit rows.
    assert_eq!((hubness.hubs, hubness.never, format!("{:.1}", hubness.skew).as_str()), (16, 184, "4.0"));
}

#[test]
fn the_linear_adapter_is_the_reference() {
    let Some(file) = coco("the_linear_adapter_is_the_reference") else { return };
    let device = Device::flex();
    let (mut plain, mut corrected) = ([0.0; 2], [0.0; 2]);
    for seed in SEEDS {
        let (train, test) = file.split(seed).unwrap();
        // The guard takes five more trainings: once will do here.
        let folds = if seed == 1 { LinearPair::default().folds } else { 0 };
        let model = LinearPair { folds, ..Default::default() }.fit(&train, &device).unwrap();
        assert!(model.is_kept(), "split {seed}: {:?}", model.held_out());
        let (train, test) =
            (retrieval::adapted(&model, &train).unwrap(), retrieval::adapted_test(&model, &test).unwrap());
        let adapted = retrieval::evaluate(&test).unwrap();
        let both = Nnn::default().evaluate(&train, &test).unwrap();
        for (sum, report) in [(&mut plain, adapted), (&mut corrected, both)] {
            sum[0] += report.text_to_image.r1 / 3.0;
            sum[1] += report.image_to_text.r1 / 3.0;
        }
    }
    assert_near("linear", plain, [64.40, 64.27], 1.0);
    assert_near("linear + nnn", corrected, [66.53, 65.07], 1.0);
    assert!(corrected[0] >= 65.5 && corrected[1] >= 64.0, "{corrected:?}");
}

/// Few pairs are where an adapter may lose.
#[test]
fn the_guard_keeps_what_zero_shot_has() {
    let Some(file) = coco("the_guard_keeps_what_zero_shot_has") else { return };
    let zero_shot = mean(&file, |_, test| retrieval::evaluate(test).unwrap());
    let mut sums = [[0.0; 2]; 3];
    for seed in SEEDS {
        let (train, test) = file.split(seed).unwrap();
        let train = train.select(&(0..64).collect::<Vec<_>>());
        let linear = LinearPair::default().fit(&train, &Device::flex()).unwrap();
        let bottleneck = ClipAdapterPair::default().fit(&train, &Device::flex()).unwrap();
        let adapted = retrieval::adapted_test(&linear, &test).unwrap();
        let bank = retrieval::adapted(&linear, &train).unwrap();
        let reports = [
            retrieval::evaluate(&adapted).unwrap(),
            Nnn::default().evaluate(&bank, &adapted).unwrap(),
            retrieval::evaluate(&retrieval::adapted_test(&bottleneck, &test).unwrap()).unwrap(),
        ];
        println!("split {seed}: linear {:?}, bottleneck {:?}", linear.held_out(), bottleneck.held_out());
        for (sum, report) in sums.iter_mut().zip(reports) {
            sum[0] += report.text_to_image.r1 / 3.0;
            sum[1] += report.image_to_text.r1 / 3.0;
        }
    }
    for (what, found) in ["linear", "linear + nnn", "clip-adapter"].into_iter().zip(sums) {
        println!("{what}, 64 pairs: {:.2} / {:.2}", found[0], found[1]);
        assert!(found[0] >= zero_shot[0] - 0.5 && found[1] >= zero_shot[1] - 0.5, "{what}: {found:?}");
    }
}

fn bits(tensor: burn::tensor::Tensor<2>) -> Vec<u32> {
    tensor.try_into_vec_as::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
}

#[test]
fn a_saved_adapter_gives_the_same_bits() {
    let (train, test) = PairFile::synthetic(0).unwrap().split(1).unwrap();
    let device = Device::flex();
    let linear = LinearPair { steps: 30, folds: 2, ..Default::default() };
    let bottleneck = ClipAdapterPair { steps: 30, folds: 0, ..Default::default() };
    let models = [
        linear.fit(&train, &device).unwrap(),
        LinearPair { sides: Sides::Text, folds: 0, ..linear }.fit(&train, &device).unwrap(),
        LinearPair { sides: Sides::Image, folds: 0, ..linear }.fit(&train, &device).unwrap(),
        bottleneck.fit(&train, &device).unwrap(),
        // Of one pair nothing can be held out, and so nothing is kept.
        linear.fit(&train.draw(1, 1).unwrap(), &device).unwrap(),
    ];
    assert_eq!(models.each_ref().map(FittedPair::is_kept), [true, true, true, true, false]);
    assert_eq!(models.each_ref().map(FittedPair::changes_images), [true, false, true, true, false]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    for model in &models {
        model.save(&path).unwrap();
        let same = FittedPair::load(&path, &train.fingerprint(), &device).unwrap();
        let rows = train.images().tensor(&device);
        assert_eq!(bits(same.images(rows.clone())), bits(model.images(rows.clone())));
        assert_eq!(bits(same.texts(rows.clone())), bits(model.texts(rows)));
        assert_eq!((same.settings(), same.chosen()), (model.settings(), model.chosen()));
        assert_eq!(
            same.held_out().is_some(),
            matches!(model.settings(), PairSettings::Linear(l) if l.folds > 0) && model.is_kept()
        );
    }
    // Twice the same seed is twice the same bits, and zero-shot where it was not kept.
    let again = linear.fit(&train, &device).unwrap();
    let rows = train.texts().tensor(&device);
    assert_eq!(bits(again.texts(rows.clone())), bits(models[0].texts(rows)));
    let refused = retrieval::adapted_test(&models[4], &test).unwrap();
    assert_eq!(retrieval::evaluate(&refused).unwrap(), retrieval::evaluate(&test).unwrap());

    let other = Pairs::new(train.images().clone(), train.images().clone(), (0..120).collect(), 100.0, "RN50")
        .unwrap();
    let error = FittedPair::load(&path, &other.fingerprint(), &device).unwrap_err();
    assert!(matches!(error, Error::Fingerprint { what: "backbones", .. }));
    assert!(matches!(retrieval::adapted(&models[0], &other), Err(Error::Fingerprint { .. })));
}

#[test]
fn settings_out_of_range_are_named() {
    let (train, _) = PairFile::synthetic(0).unwrap().split(1).unwrap();
    let linear = LinearPair::default();
    let bottleneck = ClipAdapterPair::default();
    let name = |outcome: clip_adapter::Result<FittedPair>| match outcome {
        Err(Error::Setting { name, .. }) => name,
        other => panic!("{other:?}"),
    };
    let of = |method: LinearPair| name(method.fit(&train, &Device::flex()));
    assert_eq!(of(LinearPair { lambda: -1.0, ..linear }), "lambda");
    assert_eq!(of(LinearPair { learning_rate: 0.0, ..linear }), "learning_rate");
    assert_eq!(of(LinearPair { steps: 0, ..linear }), "steps");
    assert_eq!(of(LinearPair { batch_size: 1, ..linear }), "batch_size");
    assert_eq!(of(LinearPair { folds: 1, ..linear }), "folds");
    for reduction in [0, 65] {
        let method = ClipAdapterPair { reduction, ..bottleneck };
        assert_eq!(name(method.fit(&train, &Device::flex())), "reduction");
    }
    assert!(
        QbNorm { beta: 0.0, dynamic: true }.validate().is_err()
            && DualSoftmax { scale: f64::NAN }.validate().is_err()
    );
}

#[test]
fn what_is_written_is_what_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.safetensors");
    let made = PairFile::synthetic(5).unwrap();
    let pairs = made.pairs().clone();
    let named = pairs
        .clone()
        .with_image_names((0..pairs.len()).map(|image| format!("{image}.jpg")))
        .unwrap()
        .with_captions((0..480).map(|text| format!("caption {text} of \u{00e9}\u{1f980}\n")))
        .unwrap();
    let file = PairFile::new("made up", named).with_source("here").with_draw(200, 9).unwrap();
    file.write(&path).unwrap();
    let same = PairFile::read(&path).unwrap();
    assert_eq!(same, file);
    assert_eq!(
        (same.dataset(), same.source(), same.seeds().collect::<Vec<_>>()),
        ("made up", "here", vec![9])
    );
    assert_eq!(same.split(9).unwrap().0.len(), 200);
    assert_eq!(same.split(8).unwrap().0.len(), 120);
}

/// Writes a pair file of two images and three texts with some of it replaced.
fn pair_file(change: impl FnOnce(&mut Parts)) -> clip_adapter::Result<PairFile> {
    let mut parts = Parts {
        tensors: vec![
            ("pairs.image_features".into(), Dtype::F32, vec![2, 2], floats(&[1.0, 0.0, 0.0, 1.0])),
            ("pairs.text_features".into(), Dtype::F32, vec![3, 2], floats(&[1.0, 0.1, 0.1, 1.0, 0.6, 0.8])),
            ("pairs.text_to_image".into(), Dtype::I64, vec![3], indices(&[0, 1, 1])),
            ("train.seed1".into(), Dtype::I64, vec![1], indices(&[0])),
            ("test.seed1".into(), Dtype::I64, vec![1], indices(&[1])),
        ],
        metadata: [("format", "clip-pairs/1"), ("backbone", "tiny"), ("logit_scale", "100.0")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
    };
    change(&mut parts);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.safetensors");
    let views = parts.tensors.iter().map(|(name, dtype, shape, bytes)| {
        (name.clone(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    fs::write(&path, safetensors::serialize(views, Some(parts.metadata)).unwrap()).unwrap();
    PairFile::read(&path)
}

struct Parts {
    tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)>,
    metadata: std::collections::HashMap<String, String>,
}

impl Parts {
    fn set(&mut self, name: &str, dtype: Dtype, shape: &[usize], bytes: Vec<u8>) {
        self.tensors.retain(|tensor| tensor.0 != name);
        self.tensors.push((name.to_owned(), dtype, shape.to_vec(), bytes));
    }

    fn drop(&mut self, name: &str) {
        self.tensors.retain(|tensor| tensor.0 != name);
    }
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn indices(values: &[i64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn a_bad_pair_file_is_one_typed_error() {
    assert_eq!(pair_file(|_| ()).unwrap().pairs().texts().rows(), 3);
    let plain = pair_file(|parts| {
        parts.metadata.remove("logit_scale");
        parts.drop("train.seed1");
        parts.drop("test.seed1");
    });
    assert_eq!(plain.unwrap().pairs().logit_scale(), 100.0);

    type Change<'a> = &'a dyn Fn(&mut Parts);
    let faults: [(&str, Change<'_>); 22] = [
        ("metadata `format`", &|parts| {
            drop(parts.metadata.insert("format".into(), "clip-features/1".into()))
        }),
        ("metadata `format`", &|parts| drop(parts.metadata.remove("format"))),
        ("metadata `backbone`", &|parts| drop(parts.metadata.remove("backbone"))),
        ("metadata `logit_scale`", &|parts| drop(parts.metadata.insert("logit_scale".into(), "hot".into()))),
        ("logit_scale", &|parts| drop(parts.metadata.insert("logit_scale".into(), "4.6051702".into()))),
        ("tensor `pairs.image_features`", &|parts| parts.drop("pairs.image_features")),
        ("tensor `pairs.text_features`", &|parts| parts.drop("pairs.text_features")),
        ("tensor `pairs.text_to_image`", &|parts| parts.drop("pairs.text_to_image")),
        ("tensor `test.seed1`", &|parts| parts.drop("test.seed1")),
        ("tensor `train.seed1`", &|parts| parts.drop("train.seed1")),
        ("row 1", &|parts| {
            parts.set("pairs.image_features", Dtype::F32, &[2, 2], floats(&[1.0, 0.0, 0.0, 0.0]))
        }),
        ("row 0", &|parts| {
            parts.set("pairs.image_features", Dtype::F32, &[2, 2], floats(&[1.0, f32::NAN, 0.0, 1.0]))
        }),
        ("text features", &|parts| parts.set("pairs.text_features", Dtype::F32, &[3, 1], floats(&[1.0; 3]))),
        ("images of the texts", &|parts| {
            parts.set("pairs.text_to_image", Dtype::I64, &[2], indices(&[0, 1]))
        }),
        ("image of text 2", &|parts| parts.set("pairs.text_to_image", Dtype::I64, &[3], indices(&[0, 1, 2]))),
        ("row 0 of `pairs.text_to_image`", &|parts| {
            parts.set("pairs.text_to_image", Dtype::I64, &[3], indices(&[-1, 0, 1]));
        }),
        ("texts of image 1", &|parts| {
            parts.set("pairs.text_to_image", Dtype::I64, &[3], indices(&[0, 0, 0]))
        }),
        ("pairs.text_to_image", &|parts| {
            parts.set("pairs.text_to_image", Dtype::F32, &[3], floats(&[0.0; 3]))
        }),
        ("row 0 of `test.seed1`", &|parts| parts.set("test.seed1", Dtype::I64, &[1], indices(&[0]))),
        ("row 1 of `train.seed1`", &|parts| parts.set("train.seed1", Dtype::I64, &[2], indices(&[0, 7]))),
        ("test.seed1", &|parts| parts.set("test.seed1", Dtype::I64, &[0], vec![])),
        ("pairs.captions", &|parts| parts.set("pairs.captions", Dtype::U8, &[4], b"[\"a\"".to_vec())),
    ];
    for (what, change) in faults {
        match pair_file(change) {
            Err(Error::Malformed { part, .. }) => assert!(part.contains(what), "{what}: {part}"),
            other => panic!("{what}: {other:?}"),
        }
    }
    let few = pair_file(|parts| parts.set("pairs.captions", Dtype::U8, &[5], b"[\"a\"]".to_vec()));
    assert!(matches!(few, Err(Error::Malformed { part, .. }) if part.contains("captions")));
    let empty = Embeddings::new(vec![], 2).unwrap();
    assert!(matches!(Pairs::new(empty.clone(), empty, vec![], 100.0, "tiny"), Err(Error::Data { .. })));
}

#[test]
fn the_command_prints_both_directions_and_what_is_transductive() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    PairFile::synthetic(0).unwrap().write(folder.join("p.safetensors")).unwrap();
    let common =
        ["--pairs", "p.safetensors", "--split-seed", "1", "--train-pairs", "40", "--json", "out.json"];
    let printed = run_in(folder, "retrieve", &common);
    for method in
        ["zero-shot", "nnn", "nnn-chosen", "qb-norm", "linear", "linear-nnn", "clip-adapter", "dual-softmax"]
    {
        assert!(printed.lines().any(|line| line.starts_with(&format!("{method} "))), "{method}: {printed}");
    }
    let marked: Vec<&str> = printed.lines().filter(|line| line.contains("transductive")).collect();
    assert!(marked.len() == 1 && marked[0].starts_with("dual-softmax"), "{marked:?}");
    let all = json(&folder.join("out.json"));
    let rows = all["methods"].as_array().unwrap();
    assert_eq!(rows.len(), 8);
    assert!(rows.iter().all(|row| row["transductive"].as_bool() == Some(row["method"] == "dual-softmax")));

    let mut one = common.to_vec();
    one.extend([
        "--method",
        "linear-nnn",
        "--set",
        "folds=0",
        "--set",
        "a=0.4",
        "--set",
        "sides=text",
        "--save",
        "a.safetensors",
    ]);
    run_in(folder, "retrieve", &one);
    let out = json(&folder.join("out.json"));
    for direction in ["text_to_image", "image_to_text"] {
        for key in ["r1", "r5", "r10", "median_rank", "mrr"] {
            assert!(out[direction][key].as_f64().unwrap() > 0.0, "{direction} {key}");
        }
    }
    assert_eq!((out["gallery"].as_u64(), out["queries"].as_u64()), (Some(120), Some(240)));
    assert_eq!(
        (&out["settings"]["nnn"]["a"], &out["settings"]["linear"]["sides"]),
        (&0.4.into(), &"text".into())
    );
    assert_eq!((out["train_images"].as_u64(), out["method"].as_str()), (Some(40), Some("linear-nnn")));
    let (train, _) = PairFile::synthetic(0).unwrap().split(1).unwrap();
    let model =
        FittedPair::load(folder.join("a.safetensors"), &train.fingerprint(), &Device::flex()).unwrap();
    assert!(!model.changes_images());
}

/// An adapter of texts alone leaves an index of pictures as it is.
#[test]
fn the_command_asks_an_index_with_adapted_words() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let of_crate =
        |part: &str| text(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/pocket").join(part));
    let (model, tools) = (of_crate("model"), of_crate("images/fluent-3d/tool"));
    run_in(folder, "index", &["--backbone", &model, "--images", &tools, "--out", "tools.index"]);
    let (pictures, magnet) = (of_crate("images/fluent-line"), of_crate("images/fluent-3d/tool/magnet.png"));
    let train = [
        "--images",
        &pictures,
        "--train-pairs",
        "40",
        "--method",
        "linear",
        "--set",
        "folds=0",
        "--set",
        "steps=20",
    ];
    for (sides, save) in [("sides=text", "text.safetensors"), ("sides=both", "both.safetensors")] {
        let mut arguments = train.to_vec();
        arguments.extend(["--set", sides, "--save", save]);
        run_in(folder, "retrieve", &arguments);
    }
    let ask = ["--index", "tools.index", "--top", "3", "--json", "out.json", "--query"];
    let first = |more: &[&str]| {
        let printed = run_in(folder, "retrieve", &[&ask[..], more].concat());
        let found = json(&folder.join("out.json"))["found"].clone();
        assert_eq!((found.as_array().unwrap().len(), printed.lines().count()), (3, 3));
        found[0]["path"].as_str().unwrap().to_owned()
    };
    assert_eq!(first(&["magnet"]), "magnet.png");
    assert_eq!(first(&["magnet", "--adapter", "text.safetensors"]), "magnet.png");
    assert_eq!(first(&[&magnet]), "magnet.png");
    assert_eq!(first(&[&magnet, "--text", "axe", "--weight", "20"]), first(&["axe"]));
    let refused = |more: &[&str]| failure_in(folder, "retrieve", &[&ask[..], more].concat());
    assert!(refused(&["magnet", "--adapter", "both.safetensors"]).contains("sides=text"));
    assert!(refused(&["magnet", "--text", "red"]).contains("a picture's file"));
    assert!(refused(&["magnet", "--method", "nnn"]).contains("--method"));
}

#[test]
fn the_command_refuses_what_it_cannot_do() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (arguments, expected) in [
        (&["--pairs", "none.safetensors"][..], "none.safetensors"),
        (&["--train-pairs", "0"], "train-pairs"),
        (&["--train-pairs", "9999"], "1 to 120 images"),
        (&["--method", "nnn", "--set", "b=1"], "one of a, k"),
        (&["--method", "nnn", "--set", "k=0"], "`k`"),
        (&["--method", "nnn", "--set", "k"], "KEY=VALUE"),
        (&["--method", "linear", "--set", "sides=up"], "sides"),
        (&["--method", "nnn", "--save", "a.safetensors"], "a method with an adapter"),
        (&["--method", "magic"], "zero-shot"),
        (&["--json", "no/where.json"], "where.json"),
    ] {
        let message = failure_in(folder, "retrieve", arguments);
        assert!(message.contains(expected), "{arguments:?}: {message}");
    }
    if let Some(coco) = coco_path("the_command_refuses_what_it_cannot_do") {
        let printed = run_in(folder, "retrieve", &["--pairs", &text(coco), "--method", "zero-shot"]);
        assert!(printed.contains("zero-shot       59.20"), "{printed}");
    }
}
