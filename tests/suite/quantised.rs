//! Towers in eight bits, and what towers that are laid out for the kernels promise of their bits.

use std::{
    fs,
    path::{Path, PathBuf},
};

use burn::tensor::{Device, Tensor};
use clip_adapter::{
    ClipBackbone, Error,
    backbone::{
        BackboneConfig, Precision, TextConfig, TowerActivation, TrainableClip, VisionConfig, VisionKind,
    },
    input::Preprocess,
};

use crate::backbone::{copy_golden, golden};

const POCKET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/pocket");

fn icons() -> Vec<PathBuf> {
    let folder = Path::new(POCKET).join("images/icon-line");
    let kinds = fs::read_dir(folder).unwrap().map(|kind| kind.unwrap().path());
    let mut icons: Vec<PathBuf> =
        kinds.flat_map(|kind| fs::read_dir(kind).unwrap().map(|icon| icon.unwrap().path())).collect();
    icons.sort();
    icons.into_iter().step_by(7).collect()
}

fn sentences() -> Vec<String> {
    let things = ["an apple", "a house at night", "two boats", "a very old car on a long road", "x"];
    let kinds = ["icon of", "a photo of", "an emoji:", "a drawing of", ""];
    things.iter().flat_map(|thing| kinds.iter().map(move |kind| format!("{kind} {thing}"))).collect()
}

/// The cosine of every row with the same of another.
fn cosines(a: &[f32], b: &[f32], dim: usize) -> Vec<f64> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    a.chunks(dim).zip(b.chunks(dim)).map(|(a, b)| dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()).collect()
}

fn assert_faithful(what: &str, cosines: &[f64]) {
    let least = cosines.iter().copied().fold(1.0, f64::min);
    let mean = cosines.iter().sum::<f64>() / cosines.len() as f64;
    println!("{what}: cosine of int8 with f32 at least {least:.5}, mean {mean:.5} of {}", cosines.len());
    assert!(least >= 0.995 && mean >= 0.998, "{what}: {least} {mean}");
}

#[test]
fn eight_bits_keep_the_pocket_models_embeddings() {
    let device = Device::flex();
    let model = format!("{POCKET}/model");
    let whole = ClipBackbone::from_pretrained(&model, &device).unwrap();
    let quantised = ClipBackbone::from_pretrained_in(&model, Precision::Int8, &device).unwrap();
    assert_eq!(whole.identity(), quantised.identity());
    let (icons, sentences, dim) = (icons(), sentences(), whole.config().embed_dim);
    let images = [&whole, &quantised].map(|clip| clip.encode_images(&icons).unwrap());
    assert_faithful("pocket, images", &cosines(images[0].values(), images[1].values(), dim));
    let texts = [&whole, &quantised].map(|clip| clip.encode_texts(&sentences).unwrap());
    assert_faithful("pocket, texts", &cosines(texts[0].values(), texts[1].values(), dim));

    // By way of f32 the weights are the same, and so is what they are quantised to.
    let later = whole.with_precision(Precision::Int8).unwrap();
    assert_eq!(later.encode_images(&icons).unwrap(), images[1]);
    assert_eq!(later.encode_texts(&sentences).unwrap(), texts[1]);
}

/// A random checkpoint of the size of ViT-B/32 but for the words, which are the pocket model's.
fn random_b32(folder: &Path) {
    let (activation, epsilon) = (TowerActivation::QuickGelu, 1e-5);
    let pocket = ClipBackbone::from_pretrained(format!("{POCKET}/model"), &Device::flex()).unwrap();
    let words = &pocket.config().text;
    let kind = VisionKind::Vit { patch_size: 32, layers: 12, mlp: 3072, epsilon, activation };
    let (context, vocabulary, end) = (words.context, words.vocabulary, words.end);
    let config = BackboneConfig {
        vision: VisionConfig { image_size: 224, width: 768, heads: 12, kind },
        text: TextConfig {
            context,
            vocabulary,
            width: 512,
            heads: 8,
            layers: 12,
            mlp: 2048,
            epsilon,
            activation,
            end,
        },
        embed_dim: 512,
    };
    let clip = TrainableClip::random(&config, &Preprocess::default(), 3, &Device::flex()).unwrap();
    clip.save(folder).unwrap();
    fs::copy(format!("{POCKET}/model/tokenizer.json"), folder.join("tokenizer.json")).unwrap();
}

#[test]
fn eight_bits_keep_the_embeddings_of_towers_as_large_as_vit_b_32() {
    let (folder, device) = (tempfile::tempdir().unwrap(), Device::flex());
    random_b32(folder.path());
    let whole = ClipBackbone::from_pretrained(folder.path(), &device).unwrap();
    let quantised = ClipBackbone::from_pretrained_in(folder.path(), Precision::Int8, &device).unwrap();
    let (icons, sentences) = (&icons()[..6], sentences());
    let images = [&whole, &quantised].map(|clip| clip.encode_images(icons).unwrap());
    assert_faithful("as ViT-B/32, images", &cosines(images[0].values(), images[1].values(), 512));
    let texts = [&whole, &quantised].map(|clip| clip.encode_texts(&sentences).unwrap());
    assert_faithful("as ViT-B/32, texts", &cosines(texts[0].values(), texts[1].values(), 512));

    let saved = tempfile::tempdir().unwrap();
    quantised.save_quantised(saved.path()).unwrap();
    let size = |folder: &Path| fs::metadata(folder.join("model.safetensors")).unwrap().len() as f64;
    let share = size(saved.path()) / (2.0 * size(folder.path())); // the other has 16 bits
    println!("quantised: {share:.3} of the size in f32");
    assert!(share < 0.26, "{share}");
}

#[test]
fn a_quantised_checkpoint_opens_to_the_same_bits() {
    let device = Device::flex();
    for model in ["hf_gelu_patch14", "openclip_vit"] {
        let [first, second] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let clip = ClipBackbone::from_pretrained_in(golden(model), Precision::Int8, &device).unwrap();
        clip.save_quantised(first.path()).unwrap();
        let again = ClipBackbone::from_pretrained(first.path(), &device).unwrap();
        assert_eq!((again.precision(), again.identity()), (Precision::Int8, clip.identity()), "{model}");
        let side = clip.preprocess().crop;
        let pixels = Tensor::<1, burn::tensor::Int>::arange(0..(2 * 3 * side * side) as i64, &device);
        let pixels = pixels.float().mul_scalar(0.37).sin().reshape([2, 3, side, side]);
        let images = |clip: &ClipBackbone| clip.image_embeddings(pixels.clone()).to_data();
        assert_eq!(images(&clip), images(&again), "{model}");
        let texts = ["a cat", "two dogs in the snow"];
        assert_eq!(clip.encode_texts(&texts).unwrap(), again.encode_texts(&texts).unwrap(), "{model}");
        // What is quantised is no further from itself.
        again.save_quantised(second.path()).unwrap();
        for file in fs::read_dir(first.path()).unwrap() {
            let file = file.unwrap();
            let other = second.path().join(file.file_name());
            assert_eq!(fs::read(file.path()).unwrap(), fs::read(other).unwrap(), "{model} {file:?}");
        }
        // In f32 it computes with the levels' own numbers.
        let floats = ClipBackbone::from_pretrained_in(first.path(), Precision::F32, &device).unwrap();
        let [a, b] = [&floats, &clip].map(|clip| clip.encode_texts(&texts).unwrap());
        assert!(cosines(a.values(), b.values(), a.dim()).into_iter().all(|cosine| cosine > 0.999), "{model}");
    }
}

#[test]
fn a_damaged_quantised_checkpoint_names_what_is_missing() {
    let (folder, device) = (tempfile::tempdir().unwrap(), Device::flex());
    let clip = ClipBackbone::from_pretrained_in(golden("hf_gelu_patch14"), Precision::Int8, &device).unwrap();
    clip.save_quantised(folder.path()).unwrap();
    let path = folder.path().join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let name = b"text_model.embeddings.token_embedding.weight.scales";
    let at = bytes.windows(name.len()).position(|window| window == name).unwrap();
    bytes[at + name.len() - 1] = b'X';
    fs::write(&path, bytes).unwrap();
    match ClipBackbone::from_pretrained(folder.path(), &device) {
        Err(Error::Weights { misshapen, unused, .. }) => {
            let expected =
                "text_model.embeddings.token_embedding.weight: expected f32, f16 or bf16, found I8";
            assert_eq!(misshapen, [expected]);
            assert_eq!(unused, ["text_model.embeddings.token_embedding.weight.scaleX"]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_towers_in_eight_bits_are_saved_so() {
    let (folder, device) = (tempfile::tempdir().unwrap(), Device::flex());
    let clip = ClipBackbone::from_pretrained(golden("hf_gelu_patch14"), &device).unwrap();
    let message = clip.save_quantised(folder.path()).unwrap_err().to_string();
    assert!(message.contains("int8") && message.contains("f32"), "{message}");
    let resnet =
        ClipBackbone::from_pretrained_in(golden("openclip_resnet"), Precision::Int8, &device).unwrap();
    let message = resnet.save_quantised(folder.path()).unwrap_err().to_string();
    assert!(message.contains("ResNet"), "{message}");

    // The folder that a backbone came from may be gone by then.
    let source = tempfile::tempdir().unwrap();
    copy_golden("hf_gelu_patch14", source.path());
    let clip = ClipBackbone::from_pretrained_in(source.path(), Precision::Int8, &device).unwrap();
    let gone = source.path().to_owned();
    source.close().unwrap();
    let message = clip.save_quantised(folder.path()).unwrap_err().to_string();
    assert!(message.contains(&*gone.to_string_lossy()), "{message}");
}

#[test]
fn bits_depend_neither_on_the_batch_nor_on_the_threads_that_share_it() {
    let device = Device::flex();
    let (icons, sentences) = (icons(), sentences());
    for precision in [Precision::F32, Precision::Int8] {
        let clip = ClipBackbone::from_pretrained_in(format!("{POCKET}/model"), precision, &device).unwrap();
        let all = clip.encode_images(&icons).unwrap();
        for count in [1, 2, 3, 5] {
            let some = clip.encode_images(&icons[..count]).unwrap();
            assert_eq!(some.values(), &all.values()[..some.values().len()], "{precision} {count} images");
        }
        let alone = clip.encode_images(&icons[7..8]).unwrap();
        assert_eq!(alone.row(0), all.row(7), "{precision}: one image, which all threads share");
        let all = clip.encode_texts(&sentences).unwrap();
        for (at, sentence) in sentences.iter().enumerate() {
            let alone = clip.encode_texts(&[sentence]).unwrap();
            assert_eq!(alone.row(0), all.row(at), "{precision} {sentence:?}");
        }
    }
}
