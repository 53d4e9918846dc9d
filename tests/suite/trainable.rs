//! A CLIP that trains: what it saves is what the frozen one reads, and every parameter learns.

use std::fs;

use burn::{
    optim::{GradientsParams, SgdConfig},
    tensor::{Device, Tensor, TensorData},
};
use clip_adapter::{
    ClipBackbone, Error,
    backbone::TrainableClip,
    input::{Tokenized, Tokenizer},
};

use crate::backbone::golden;

/// A checkpoint of the reference, as one that trains.
fn reference() -> TrainableClip {
    TrainableClip::from_pretrained(golden(FOLDER), &Device::flex().autodiff()).unwrap()
}

const FOLDER: &str = "hf_gelu_patch14";

fn pixels(clip: &TrainableClip, device: &Device) -> Tensor<4> {
    let side = clip.preprocess().crop;
    let count = 2 * 3 * side * side;
    let values: Vec<f32> = (0..count).map(|index| (index as f32 * 0.37).sin()).collect();
    Tensor::from_data(TensorData::new(values, [2, 3, side, side]), device)
}

fn tokens() -> Tokenized {
    let clip = ClipBackbone::from_pretrained(golden(FOLDER), &Device::flex()).unwrap();
    clip.tokenizer().encode(&["a photo of a cat", "two dogs"]).unwrap()
}

fn host(tensor: Tensor<2>) -> Vec<f32> {
    tensor.try_into_vec_as::<f32>().unwrap()
}

#[test]
fn a_saved_model_is_read_by_the_frozen_one() {
    let device = Device::flex();
    let trained = reference();
    let folder = tempfile::tempdir().unwrap();
    trained.save(folder.path()).unwrap();
    fs::copy(golden(FOLDER).join("tokenizer.json"), folder.path().join("tokenizer.json")).unwrap();
    let frozen = ClipBackbone::from_pretrained(folder.path(), &device).unwrap();
    assert_eq!(frozen.config(), trained.config());

    let images = host(frozen.image_embeddings(pixels(&trained, &device)));
    let texts = host(frozen.text_embeddings(&tokens()));
    let trained_images = host(trained.image_embeddings(pixels(&trained, &device)));
    let trained_texts = host(trained.text_embeddings(&tokens()));
    // Weights were rounded to 16 bits.
    approx::assert_abs_diff_eq!(&images[..], &trained_images[..], epsilon = 2e-2);
    approx::assert_abs_diff_eq!(&texts[..], &trained_texts[..], epsilon = 2e-2);
}

#[test]
fn saving_twice_gives_the_same_bytes() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    reference().save(first.path()).unwrap();
    // What was rounded once is rounded no further.
    let again = TrainableClip::from_pretrained(first.path(), &Device::flex()).unwrap();
    again.save(second.path()).unwrap();
    for file in ["model.safetensors", "config.json", "preprocessor_config.json"] {
        let read = |folder: &tempfile::TempDir| fs::read(folder.path().join(file)).unwrap();
        assert_eq!(read(&first), read(&second), "{file}");
    }
}

#[test]
fn random_weights_depend_on_the_seed_alone() {
    let device = Device::flex();
    let of = |seed| {
        let like = reference();
        let clip = TrainableClip::random(like.config(), like.preprocess(), seed, &device).unwrap();
        host(clip.image_embeddings(pixels(&clip, &device)))
    };
    assert_eq!(of(1), of(1));
    assert_ne!(of(1), of(2));
}

#[test]
fn a_few_steps_pair_images_with_their_texts() {
    let device = Device::flex().autodiff();
    let like = reference();
    let mut clip = TrainableClip::random(like.config(), like.preprocess(), 3, &device).unwrap();
    let (pixels, tokens) = (pixels(&clip, &device), tokens());
    let same = Tensor::<2>::eye(2, &device);
    let loss = |clip: &TrainableClip| {
        let logits = clip.logits(clip.image_embeddings(pixels.clone()), clip.text_embeddings(&tokens));
        (burn::tensor::activation::log_softmax(logits, 1) * same.clone()).sum().neg()
    };
    let before = loss(&clip).try_into_scalar::<f32>().unwrap();
    let mut optimiser = SgdConfig::new().init();
    for _ in 0..20 {
        let gradients = GradientsParams::from_grads(loss(&clip).backward(), &clip);
        assert_eq!(gradients.len(), count(&clip));
        clip = optimiser.step(0.01, clip, gradients);
    }
    let after = loss(&clip).try_into_scalar::<f32>().unwrap();
    assert!(after < 0.5 * before, "the loss went from {before} to {after}");
}

/// The number of parameter tensors.
fn count(clip: &TrainableClip) -> usize {
    burn::module::list_param_ids(clip).len()
}

#[test]
fn a_resnet_does_not_train() {
    let error = TrainableClip::from_pretrained(golden("openclip_resnet"), &Device::flex()).unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
}

#[test]
fn a_tokenizer_opens_by_itself() {
    let tokenizer = Tokenizer::from_file(golden(FOLDER).join("tokenizer.json"), 77).unwrap();
    assert_eq!(tokenizer.encode(&["two dogs"]).unwrap().ids, [tokens().ids[1].clone()]);
}
