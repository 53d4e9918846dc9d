//! Pre-training as a command: what it writes is a checkpoint, and what was interrupted goes on as if it had not been.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use burn::tensor::Device;
use clip_adapter::ClipBackbone;
use image::{Rgba, RgbaImage};
use safetensors::SafeTensors;
use serde_json::{Value, json};

use crate::{
    backbone::golden,
    commands::{example, json, run},
};

/// Twelve things of three kinds, each drawn in two styles: a shape, with a colour of its own.
fn corpus(folder: &Path) {
    let mut captions = BTreeMap::new();
    for index in 0..12_u32 {
        let (code, kind) = (format!("1f{index:03}"), ["bird", "fruit", "boat"][index as usize % 3]);
        captions.insert(
            code.clone(),
            json!({"name": format!("{kind} {index}"), "keywords": ["small", "round"], "subgroup": kind}),
        );
        for (style, edge) in [("flat", 10), ("deep", 60)] {
            let paint = |x: u32, y: u32| {
                let inside = match index % 3 {
                    0 => x > 4 && y > 4 && x + y < 24,
                    1 => (x as i32 - 10).pow(2) + (y as i32 - 10).pow(2) < 60,
                    _ => y > 10 && x > 2 && x < 18,
                };
                let colour = [20 * index as u8, 200 - edge, edge + 10 * (y / 4) as u8];
                Rgba([colour[0], colour[1], colour[2], if inside { 255 } else { 0 }])
            };
            fs::create_dir_all(folder.join(style)).unwrap();
            RgbaImage::from_fn(20, 20, paint).save(folder.join(style).join(format!("{code}.png"))).unwrap();
        }
    }
    fs::write(folder.join("captions.json"), json!(captions).to_string()).unwrap();
    fs::copy(golden("hf_gelu_patch14").join("tokenizer.json"), folder.join("tokenizer.json")).unwrap();
}

fn arguments<'a>(corpus: &'a str, out: &'a str) -> Vec<&'a str> {
    let sizes = "--image-size 16 --width 32 --layers 1 --text-layers 1 --embed-dim 16 --batch 8 --every 2";
    let rest = "--styles flat --held-out deep --steps 60 --json scores.json";
    ["--corpus", corpus, "--out", out].into_iter().chain(sizes.split(' ')).chain(rest.split(' ')).collect()
}

#[test]
fn an_interrupted_training_ends_in_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    corpus(&folder.path().join("corpus"));
    let train = |out: &str, more: &[&str]| {
        let mut command = example("pretrain_pocket");
        command.current_dir(folder.path()).args(arguments("corpus", out)).args(more);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let weights = |out: &str| fs::read(folder.path().join(out).join("model.safetensors")).unwrap();
    let whole = train("whole", &[]).output().unwrap();
    assert!(whole.status.success(), "{}", String::from_utf8_lossy(&whole.stderr));

    let mut killed = train("parts", &[]).spawn().unwrap();
    let state = folder.path().join("parts/state");
    let start = Instant::now();
    while !state.exists() && start.elapsed() < Duration::from_secs(100) {
        std::thread::sleep(Duration::from_millis(1));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    let bytes = fs::read(&state).expect("a state of what was killed, and not of what was done");
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let position: Value = serde_json::from_str(&header.metadata().as_ref().unwrap()["position"]).unwrap();
    let done = position["epoch"].as_u64().unwrap();
    assert!((1..30).contains(&done), "{done} epochs of two steps when it was killed");
    let resumed = train("parts", &["--resume"]).output().unwrap();
    assert!(resumed.status.success(), "{}", String::from_utf8_lossy(&resumed.stderr));
    assert!(weights("whole") == weights("parts"), "after {done} epochs");
    assert!(!state.exists(), "the state of a training that is done");
    let again = train("parts", &["--resume"]).output().unwrap();
    assert_eq!(again.status.code(), Some(2), "nothing is left to resume");

    let scores = json(&folder.path().join("scores.json"));
    let styles: Vec<_> =
        scores.as_array().unwrap().iter().map(|score| (&score["style"], &score["pictures"])).collect();
    assert_eq!(styles, [(&json!("flat"), &json!(12)), (&json!("deep"), &json!(12))]);
    let clip = ClipBackbone::from_pretrained(folder.path().join("whole"), &Device::flex()).unwrap();
    assert_eq!((clip.config().vision.image_size, clip.config().embed_dim), (16, 16));
    let picture = folder.path().join("corpus/flat/1f003.png");
    assert_eq!(clip.encode_images(&[picture]).unwrap().dim(), 16);
}

#[test]
fn a_corpus_that_is_not_whole_ends_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let (corpus_folder, out) = (folder.path().join("corpus"), folder.path().join("out"));
    corpus(&corpus_folder);
    let fails = |damage: &dyn Fn(), sentence: &str| {
        damage();
        let output =
            run("pretrain_pocket", &arguments(corpus_folder.to_str().unwrap(), out.to_str().unwrap()));
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains(sentence) && message.lines().count() == 1, "{message}");
    };
    fails(&|| fs::write(corpus_folder.join("flat/1f003.png"), "no picture").unwrap(), "1f003.png");
    fails(&|| fs::remove_dir_all(corpus_folder.join("flat")).unwrap(), "style `flat`");
    fails(&|| fs::write(corpus_folder.join("captions.json"), "{}{").unwrap(), "captions.json");
    fails(&|| fs::remove_dir_all(&corpus_folder).unwrap(), "captions.json");
}
