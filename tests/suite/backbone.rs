//! The towers, the tokenizer and the preprocessing against outputs of transformers and open_clip. The models are
//! small and random; `tests/golden/export.py` wrote them with the reference libraries.

use std::{
    fs,
    path::{Path, PathBuf},
};

use burn::tensor::{Device, Tensor, TensorData};
use clip_adapter::{
    ClipBackbone, Error,
    input::{Preprocess, Prompts},
};
use safetensors::SafeTensors;

use crate::shared::folder;

/// The golden models.
pub const GOLDEN: [&str; 5] = ["hf_gelu_patch14", "hf_sharded", "hf_336", "openclip_vit", "openclip_resnet"];

pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Copies a golden model into a folder, where a test may change it.
pub fn copy_golden(model: &str, folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    for entry in fs::read_dir(golden(model)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
    }
}

/// A golden model with its inputs and outputs.
struct Case {
    name: String,
    clip: ClipBackbone,
    images: Vec<PathBuf>,
    texts: Vec<String>,
    expected: Vec<u8>,
}

impl Case {
    fn open(folder: &Path, images: &Path) -> Self {
        let mut images: Vec<PathBuf> =
            fs::read_dir(images).unwrap().map(|entry| entry.unwrap().path()).collect();
        images.sort();
        let mut case = Self {
            name: folder.file_name().unwrap().to_string_lossy().into_owned(),
            clip: ClipBackbone::from_pretrained(folder, &Device::flex()).unwrap(),
            images,
            texts: serde_json::from_str(&fs::read_to_string(folder.join("texts.json")).unwrap()).unwrap(),
            expected: fs::read(folder.join("expected.safetensors")).unwrap(),
        };
        case.images.truncate(case.pixels().1[0]);
        case
    }

    /// The reference's input. A large one is stored as 8-bit levels.
    fn pixels(&self) -> (Vec<f32>, [usize; 4]) {
        let tensors = SafeTensors::deserialize(&self.expected).unwrap();
        let Ok(levels) = tensors.tensor("pixel_levels") else {
            let (values, shape) = self.floats("pixel_values");
            return (values, shape.try_into().unwrap());
        };
        let shape: [usize; 4] = levels.shape().try_into().unwrap();
        let Preprocess { mean, std, .. } = self.clip.preprocess();
        let channel = |at: usize| at / (shape[2] * shape[3]) % 3;
        let value =
            |(at, &level): (usize, &u8)| (f32::from(level) / 255.0 - mean[channel(at)]) / std[channel(at)];
        (levels.data().iter().enumerate().map(value).collect(), shape)
    }

    fn floats(&self, name: &str) -> (Vec<f32>, Vec<usize>) {
        let tensors = SafeTensors::deserialize(&self.expected).unwrap();
        let view = tensors.tensor(name).unwrap();
        (view.data().as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(), view.shape().to_vec())
    }

    fn ids(&self) -> Vec<Vec<u32>> {
        let tensors = SafeTensors::deserialize(&self.expected).unwrap();
        let view = tensors.tensor("input_ids").unwrap();
        let ids: Vec<u32> = view.data().as_chunks().0.iter().map(|&b| i64::from_le_bytes(b) as u32).collect();
        ids.chunks(view.shape()[1]).map(<[u32]>::to_vec).collect()
    }
}

fn cases(test: &str) -> Vec<Case> {
    let mut cases: Vec<Case> =
        GOLDEN.iter().map(|name| Case::open(&golden(name), &golden("images"))).collect();
    if let Some(shared) = folder(test) {
        let legacy = shared.join("fixtures/vit-legacy");
        cases.push(Case::open(&legacy, &legacy.join("images")));
    }
    cases
}

/// Largest difference, relative to the largest value.
fn relative(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().map(|v| v.abs()).fold(0.0, f32::max);
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / largest
}

fn smallest_cosine(found: &[f32], expected: &[f32], dim: usize) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let cosines = found.chunks(dim).zip(expected.chunks(dim));
    cosines.map(|(a, b)| dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()).fold(1.0, f64::min)
}

#[test]
fn token_ids_are_the_references() {
    for case in cases("token_ids_are_the_references") {
        let tokens = case.clip.tokenizer().encode(&case.texts).unwrap();
        assert_eq!(tokens.ids, case.ids(), "{}", case.name);
    }
}

#[test]
fn pixels_are_the_references() {
    for case in cases("pixels_are_the_references") {
        let (expected, shape) = case.pixels();
        let found = case.clip.preprocess().load(&case.images, &Device::flex()).unwrap();
        assert_eq!(found.dims(), shape, "{}", case.name);
        let found = found.try_to_vec_as::<f32>().unwrap();
        for (index, image) in case.images.iter().enumerate() {
            let size = expected.len() / case.images.len();
            let pairs = found[index * size..][..size].iter().zip(&expected[index * size..][..size]);
            let differences: Vec<f32> = pairs.map(|(a, b)| (a - b).abs()).collect();
            let largest = differences.iter().copied().fold(0.0, f32::max);
            let differing = differences.iter().filter(|&&d| d > 1e-3).count() as f64 / size as f64;
            println!(
                "{} {}: largest {largest:.4}, {:.2} % differ",
                case.name,
                image.display(),
                100.0 * differing
            );
            // Every level of a PNG is the reference's; JPEG decoders round differently now and then.
            if image.extension().is_some_and(|extension| extension == "png") {
                assert!(largest < 1e-5, "{} {}: {largest}", case.name, image.display());
            } else {
                assert!(differences.iter().sum::<f32>() / (size as f32) < 0.002, "{}", image.display());
            }
        }
    }
}

#[test]
fn embeddings_of_the_references_pixels_are_the_references() {
    for case in cases("embeddings_of_the_references_pixels_are_the_references") {
        let (pixels, shape) = case.pixels();
        let pixels = Tensor::from_data(TensorData::new(pixels, shape), &Device::flex());
        let images = case.clip.image_embeddings(pixels).try_to_vec_as::<f32>().unwrap();
        let texts = case.clip.encode_texts(&case.texts).unwrap();
        let image_difference = relative(&images, &case.floats("image_embeds").0);
        let text_difference = relative(texts.values(), &case.floats("text_embeds").0);
        println!("{}: images {image_difference:.1e}, texts {text_difference:.1e}", case.name);
        assert!(image_difference < 1e-4, "{}: {image_difference}", case.name);
        assert!(text_difference < 1e-4, "{}: {text_difference}", case.name);
    }
}

#[test]
fn files_to_embeddings_are_the_references() {
    for case in cases("files_to_embeddings_are_the_references") {
        let found = case.clip.encode_images(&case.images).unwrap();
        let expected = case.floats("image_embeds").0;
        for (image, path) in case.images.iter().enumerate() {
            let rows = image * found.dim()..(image + 1) * found.dim();
            let cosine = smallest_cosine(found.row(image), &expected[rows], found.dim());
            println!("{} {}: cosine {cosine:.6}", case.name, path.display());
            assert!(cosine >= 0.9999, "{} {}: {cosine}", case.name, path.display());
        }
    }
}

#[test]
fn a_photo_is_preprocessed_as_torchvision_does() {
    let Some(shared) = folder("a_photo_is_preprocessed_as_torchvision_does") else { return };
    let folder = shared.join("fixtures/preprocess");
    let npy = fs::read(folder.join("expected.npy")).unwrap();
    let values: Vec<f32> =
        npy[npy.len() - 3 * 224 * 224 * 4..].as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
    let found = Preprocess::default().load(&[folder.join("franz-kafka.jpg")], &Device::flex()).unwrap();
    let found = found.try_to_vec_as::<f32>().unwrap();
    let mean = found.iter().zip(&values).map(|(a, b)| (a - b).abs()).sum::<f32>() / values.len() as f32;
    println!("mean absolute difference {mean:.5}");
    assert!(mean < 0.01, "{mean}");
}

#[test]
fn a_classifier_of_prompts_is_their_normalised_mean() {
    let clip = ClipBackbone::from_pretrained(golden("hf_sharded"), &Device::flex()).unwrap();
    let prompts = Prompts::new(["a {}.", "the {}."]).unwrap();
    let classifier = clip.text_classifier(&["cat", "dog"], &prompts).unwrap();
    let one = clip.encode_texts(&["a dog.", "the dog."]).unwrap().normalised();
    let mean: Vec<f32> = one.row(0).iter().zip(one.row(1)).map(|(a, b)| (a + b) / 2.0).collect();
    let norm = mean.iter().map(|v| v * v).sum::<f32>().sqrt();
    for (found, mean) in classifier.weights().row(1).iter().zip(&mean) {
        approx::assert_abs_diff_eq!(*found, mean / norm, epsilon = 1e-5);
    }
    approx::assert_relative_eq!(classifier.logit_scale(), 100.0, epsilon = 1e-3);
    assert_eq!(classifier.templates(), prompts.templates());
}

/// A copy of a golden model with one file replaced.
fn spoiled(name: &str, file: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Error {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(golden(name)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    let path = copy.path().join(file);
    fs::write(&path, change(fs::read(&path).unwrap())).unwrap();
    ClipBackbone::from_pretrained(copy.path(), &Device::flex()).unwrap_err()
}

fn text(change: impl Fn(String) -> String) -> impl FnOnce(Vec<u8>) -> Vec<u8> {
    move |bytes| change(String::from_utf8(bytes).unwrap()).into_bytes()
}

/// Renames a tensor, keeping the header's length.
fn renamed(from: &'static str, to: &'static str) -> impl FnOnce(Vec<u8>) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    move |mut bytes| {
        let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        bytes
    }
}

#[test]
fn a_damaged_checkpoint_is_one_typed_error() {
    let weights = "model.safetensors";
    let error =
        spoiled("hf_gelu_patch14", weights, renamed("text_projection.weight", "text_projection.weighs"));
    let message = error.to_string();
    assert!(message.contains("1 missing: text_projection.weight"), "{message}");
    assert!(message.contains("1 unknown: text_projection.weighs"), "{message}");

    let error = spoiled("hf_gelu_patch14", weights, |bytes| bytes[..bytes.len() / 2].to_vec());
    assert!(matches!(&error, Error::Malformed { part, .. } if part == "header"), "{error}");
    for length in [u64::MAX, 1 << 40, 3] {
        let error = spoiled("hf_gelu_patch14", weights, |mut bytes| {
            bytes[..8].copy_from_slice(&length.to_le_bytes());
            bytes
        });
        assert!(matches!(&error, Error::Malformed { part, .. } if part == "header"), "{error}");
    }
    let error = spoiled("hf_gelu_patch14", "tokenizer.json", |_| b"{}".to_vec());
    assert!(matches!(error, Error::Malformed { .. }), "{error}");
    let error = spoiled(
        "hf_sharded",
        "model.safetensors.index.json",
        text(|json| json.replace("model-00001", "../model-00001")),
    );
    assert!(matches!(&error, Error::Malformed { part, .. } if part == "weight_map"), "{error}");
    let absent = ClipBackbone::from_pretrained("no/such/folder", &Device::flex()).unwrap_err();
    assert!(matches!(absent, Error::Read { .. }), "{absent}");
}

#[test]
fn an_impossible_configuration_is_one_typed_error() {
    let config = |from: &'static str, to: &'static str| {
        spoiled(
            "hf_gelu_patch14",
            "config.json",
            text(move |json| {
                assert!(json.contains(from), "{json}");
                json.replace(from, to)
            }),
        )
    };
    let error = config("\"num_attention_heads\": 4", "\"num_attention_heads\": 5");
    assert!(matches!(&error, Error::Setting { name, .. } if name.contains("heads")), "{error}");
    let error = config("\"patch_size\": 14", "\"patch_size\": 0");
    assert!(matches!(&error, Error::Setting { name, .. } if name == "patch size"), "{error}");
    // Far more than there is in the file, and far more than fits into memory.
    let error = config("\"hidden_size\": 48", "\"hidden_size\": 1048576");
    assert!(matches!(&error, Error::Weights { misshapen, .. } if misshapen.len() > 10), "{error}");
    // A convolution would drop the rest of the image; no public model has one.
    let error = config("\"image_size\": 56", "\"image_size\": 57");
    assert!(matches!(&error, Error::Setting { name, .. } if name == "patch size"), "{error}");
    let error = config("\"hidden_act\": \"gelu\"", "\"hidden_act\": \"swish\"");
    assert!(matches!(error, Error::Malformed { .. }), "{error}");
}

#[test]
fn a_file_that_is_no_image_is_one_typed_error() {
    let folder = tempfile::tempdir().unwrap();
    let load = |bytes: &[u8]| {
        let path = folder.path().join("photo.jpg");
        fs::write(&path, bytes).unwrap();
        Preprocess::default().load(&[path], &Device::flex())
    };
    let png = fs::read(golden("images").join("wide.png")).unwrap();
    assert!(load(&png).is_ok(), "the content counts, not the name");
    assert!(matches!(load(&[]), Err(Error::Image { .. })));
    assert!(matches!(load(b"just text"), Err(Error::Image { .. })));
    assert!(matches!(load(&png[..png.len() / 2]), Err(Error::Image { .. })));
    // A header that claims a billion pixels a side.
    let mut huge = png.clone();
    huge[16..24].copy_from_slice(&[0x3b, 0x9a, 0xca, 0, 0x3b, 0x9a, 0xca, 0]);
    assert!(matches!(load(&huge), Err(Error::Image { .. })));
    let absent = Preprocess::default().load(&[folder.path().join("absent.png")], &Device::flex());
    assert!(matches!(absent, Err(Error::Read { .. })));
}
