//! Every kind of bad file and bad set: one typed error that names the thing.

use std::{collections::HashMap, fs, path::Path};

use burn::tensor::Device;
use clip_adapter::{
    Classifier, ClipAdapter, Error, FeatureFile, FeatureSet, Method, Support, TextClassifier,
    features::Embeddings,
};
use safetensors::{Dtype, tensor::TensorView};

/// A small valid feature file, whose parts a test then spoils.
struct Draft {
    tensors: HashMap<&'static str, (Dtype, Vec<usize>, Vec<u8>)>,
    metadata: HashMap<String, String>,
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn ints(values: &[i64]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

impl Draft {
    fn new() -> Self {
        let unit = floats(&[1.0, 0.0, 0.0, 1.0]);
        let metadata = [
            ("format", "clip-features/1"),
            ("dataset", "pets"),
            ("backbone", "tiny"),
            ("class_names", r#"["cat", "dog"]"#),
            ("prompts", r#"["a {}."]"#),
            ("logit_scale", "100.0"),
        ];
        Self {
            tensors: HashMap::from([
                ("train.features", (Dtype::F32, vec![2, 2], unit.clone())),
                ("train.labels", (Dtype::I64, vec![2], ints(&[0, 1]))),
                ("text.features", (Dtype::F32, vec![1, 2, 2], unit)),
            ]),
            metadata: metadata.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
        }
    }

    fn write(&self, path: &Path) {
        let views = self.tensors.iter().map(|(name, (dtype, shape, bytes))| {
            (*name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
        });
        fs::write(path, safetensors::serialize(views, Some(self.metadata.clone())).unwrap()).unwrap();
    }

    fn read(&self) -> Result<FeatureFile, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pets.safetensors");
        self.write(&path);
        FeatureFile::read(path)
    }

    fn tensor(mut self, name: &'static str, dtype: Dtype, shape: &[usize], bytes: Vec<u8>) -> Self {
        self.tensors.insert(name, (dtype, shape.to_vec(), bytes));
        self
    }

    fn text(mut self, key: &str, value: &str) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }
}

#[test]
fn a_spoiled_feature_file_names_the_tensor_and_the_row() {
    Draft::new().read().unwrap();
    let row = [1.0, 0.0];
    let two = [2, 2];
    for (message, draft) in [
        (
            "metadata `format`: expected `clip-features/1`, found `clip-features/2`",
            Draft::new().text("format", "clip-features/2"),
        ),
        ("metadata `class_names`: expected valid JSON", Draft::new().text("class_names", "cat")),
        (
            "class 1: expected a name of its own, found `cat` again",
            Draft::new().text("class_names", r#"["cat", "cat"]"#),
        ),
        (
            "text.features: expected 2 prompts x 2 classes, found 1 x 2",
            Draft::new().text("prompts", r#"["a", "b"]"#),
        ),
        ("logit_scale: expected a number above 0", Draft::new().text("logit_scale", "-1")),
        (
            "row 1 of the labels: expected a class below 2, found 2",
            Draft::new().tensor("train.labels", Dtype::I64, &[2], ints(&[0, 2])),
        ),
        (
            "row 0 of `train.labels`: expected an index of 0 or more, found -1",
            Draft::new().tensor("train.labels", Dtype::I64, &[2], ints(&[-1, 0])),
        ),
        (
            "labels: expected one for each of 2 rows, found 3",
            Draft::new().tensor("train.labels", Dtype::I64, &[3], ints(&[0, 1, 0])),
        ),
        (
            "train.labels: expected i64, found F32",
            Draft::new().tensor("train.labels", Dtype::F32, &[2], floats(&row)),
        ),
        (
            "train.features: row 1 of the embeddings: expected finite values, found NaN",
            Draft::new().tensor("train.features", Dtype::F32, &two, floats(&[1.0, 0.0, 0.0, f32::NAN])),
        ),
        (
            "row 0 of the embeddings: expected a direction, found only zeros",
            Draft::new().tensor("train.features", Dtype::F32, &two, floats(&[0.0, 0.0, 0.0, 1.0])),
        ),
        (
            "train.features: expected f32, f16 or bf16, found I64",
            Draft::new().tensor("train.features", Dtype::I64, &two, ints(&[1, 0, 0, 1])),
        ),
        (
            "train.features: expected 2 axes, found shape [4]",
            Draft::new().tensor("train.features", Dtype::F32, &[4], floats(&[1.0, 0.0, 0.0, 1.0])),
        ),
        (
            "split `train`: expected 2 dimensions, found 1",
            Draft::new().tensor("train.features", Dtype::F32, &[2, 1], floats(&[1.0, 2.0])),
        ),
        (
            "row 1: expected a row of `train` below 2, found 7",
            Draft::new().tensor("shots.1.seed1", Dtype::I64, &[2], ints(&[0, 7])),
        ),
        (
            "images of class `dog`: expected 1, found 0",
            Draft::new().tensor("shots.1.seed1", Dtype::I64, &[1], ints(&[0])),
        ),
    ] {
        let error = draft.read().unwrap_err().to_string();
        assert!(error.contains(message), "{error}\nshould hold\n{message}");
        assert!(error.contains("pets.safetensors"), "{error}");
    }
    let mut draft = Draft::new();
    draft.tensors.remove("train.labels");
    let error = draft.read().unwrap_err().to_string();
    assert!(error.contains("tensor `train.labels`: expected to be there, found none"), "{error}");
}

#[test]
fn a_truncated_or_foreign_file_is_malformed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.safetensors");
    FeatureFile::synthetic(0).unwrap().write(&path).unwrap();
    let bytes = fs::read(&path).unwrap();
    for length in [0, 4, 8, 100, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&path, &bytes[..length]).unwrap();
        let error = FeatureFile::read(&path).unwrap_err();
        assert!(matches!(&error, Error::Malformed { part, .. } if part == "header"), "{length}: {error}");
    }
    fs::write(&path, b"\x89PNG\r\n\x1a\n and so on").unwrap();
    assert!(matches!(FeatureFile::read(&path), Err(Error::Malformed { .. })));
    assert!(matches!(FeatureFile::read(folder.path().join("absent")), Err(Error::Read { .. })));
}

#[test]
fn an_unwritable_output_leaves_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let file = FeatureFile::synthetic(0).unwrap();
    let missing = folder.path().join("no/such/folder/f.safetensors");
    assert!(matches!(file.write(&missing), Err(Error::Write { .. })));
    // A folder stands where the file should go: the rename fails after everything has been written.
    let taken = folder.path().join("taken");
    fs::create_dir(&taken).unwrap();
    assert!(matches!(file.write(&taken), Err(Error::Write { .. })));
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["taken"], "no temporary file stays behind");
}

#[test]
fn sets_that_do_not_fit_together_are_refused() {
    let file = FeatureFile::synthetic(0).unwrap();
    let support = file.support(1, 1).unwrap();
    let fit =
        |text: TextClassifier| ClipAdapter::default().fit(&support, &text, &Device::flex()).unwrap_err();
    let names = file.classifier().class_names();
    let narrow = TextClassifier::new(vec![1.0; 8 * 32], 32, names, ["a {}."], 100.0, "tiny").unwrap();
    assert!(matches!(fit(narrow), Error::Dim { expected: 32, found: 64, .. }));
    let others = (0..8).map(|class| format!("other {class}"));
    let others = TextClassifier::new(vec![1.0; 8 * 64], 64, others, ["a {}."], 100.0, "tiny").unwrap();
    assert!(matches!(fit(others), Error::Data { what, .. } if what.starts_with("support set: class ")));
}

#[test]
fn features_of_another_width_do_not_fit_an_adapter() {
    let file = FeatureFile::synthetic(0).unwrap();
    let method = ClipAdapter { epochs: Some(1), ..Default::default() };
    let model = method.fit(&file.support(1, 1).unwrap(), file.classifier(), &Device::flex()).unwrap();
    let narrow = Embeddings::new(vec![1.0; 32], 32).unwrap();
    assert!(matches!(model.score(&narrow), Err(Error::Dim { expected: 64, found: 32, .. })));
    let set = FeatureSet::new(narrow, vec![0], file.classifier().class_names()).unwrap();
    assert!(matches!(model.evaluate(&set.into_test_set()), Err(Error::Dim { .. })));
    let empty = file.split("train").unwrap().select(&[]);
    assert!(matches!(model.evaluate(&empty.clone().into_test_set()), Err(Error::Data { .. })));
    assert!(matches!(Support::new(empty), Err(Error::Data { .. })));
}
