//! Damaged files: every check of `fuzz/checks.rs` on copies of sound files with a few bytes changed, cut or repeated.
//! The seed is fixed; `CLIP_ADAPTER_FUZZ_SECONDS` makes each run longer, and `fuzz/README.md` tells of cargo-fuzz.

pub mod checks;

use std::{
    env, fs,
    path::Path,
    time::{Duration, Instant},
};

use clip_adapter::{
    ClipAdapter, FeatureFile, Method, SsText,
    burn::tensor::Device,
    features::PairFile,
    methods::Guard,
    model::Save,
    tasks::retrieval::{ClipAdapterPair, LinearPair, PairMethod},
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use self::checks::{CONFIGURATIONS, repository};
use crate::images::{FORMATS, encoded, gradient};

/// A check's name, which is that of its fuzz target, the check, and sound files of the kind.
type Check = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

const CHECKS: [Check; 8] = [
    ("images", checks::image, images),
    ("weights", checks::weights, weights),
    ("configurations", checks::configuration, configurations),
    ("tokenizers", checks::tokenizer, tokenizers),
    ("feature_files", checks::features, feature_files),
    ("pair_files", checks::pairs, pair_files),
    ("adapter_files", checks::adapter, adapter_files),
    ("class_lists", checks::class_list, class_lists),
];

fn images() -> Vec<Vec<u8>> {
    FORMATS.iter().map(|&format| encoded(&gradient(20, 16), format)).collect()
}

fn golden(file: &str) -> Vec<u8> {
    fs::read(repository("tests/golden").join(file)).expect("a golden file")
}

fn weights() -> Vec<Vec<u8>> {
    vec![golden("hf_gelu_patch14/model.safetensors")]
}

fn configurations() -> Vec<Vec<u8>> {
    let read = |(kind, (folder, name)): (usize, &(&str, &str))| {
        let path = repository("tests/golden").join(folder).join(name);
        let text = fs::read(path).unwrap_or_else(|_| {
            let image_processor =
                String::from_utf8(golden("hf_gelu_patch14/preprocessor_config.json")).unwrap();
            format!(r#"{{"image_processor": {image_processor}, "processor_class": "CLIPProcessor"}}"#).into()
        });
        [vec![kind as u8], text].concat()
    };
    CONFIGURATIONS.iter().enumerate().map(read).collect()
}

fn tokenizers() -> Vec<Vec<u8>> {
    vec![golden("hf_gelu_patch14/tokenizer.json"), golden("openclip_vit/tokenizer.json")]
}

fn written(write: impl FnOnce(&Path)) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file.safetensors");
    write(&path);
    fs::read(path).unwrap()
}

fn feature_files() -> Vec<Vec<u8>> {
    vec![written(|path| FeatureFile::synthetic(0).unwrap().write(path).unwrap())]
}

fn pair_files() -> Vec<Vec<u8>> {
    let file = PairFile::synthetic(0).unwrap().with_draw(100, 1).unwrap();
    let (train, _) = file.split(1).unwrap();
    let (device, adapter) = (Device::flex(), LinearPair { steps: 1, folds: 0, ..Default::default() });
    let bottleneck = ClipAdapterPair { steps: 1, folds: 0, ..Default::default() };
    vec![
        written(|path| file.write(path).unwrap()),
        written(|path| adapter.fit(&train, &device).unwrap().save(path).unwrap()),
        written(|path| bottleneck.fit(&train, &device).unwrap().save(path).unwrap()),
    ]
}

fn adapter_files() -> Vec<Vec<u8>> {
    let (file, device) = (FeatureFile::synthetic(0).unwrap(), Device::flex());
    let (support, classes) = (file.support(2, 1).unwrap(), file.classifier());
    let adapter = ClipAdapter { epochs: Some(1), ..Default::default() };
    vec![
        written(|path| adapter.fit(&support, classes, &device).unwrap().save(path).unwrap()),
        written(|path| SsText::default().fit(&support, classes, &device).unwrap().save(path).unwrap()),
        written(|path| Guard::default().fit(&support, classes, &device).unwrap().save(path).unwrap()),
        golden("version1/guard.safetensors"),
    ]
}

fn class_lists() -> Vec<Vec<u8>> {
    vec![
        b"\0a photo of a {}.\na {} drawn.\r\n\xef\xbb\xbf caf\xc3\xa9 {} \xf0\x9f\xa6\x80".to_vec(),
        br#"1["a {}", "\u00e9 {}", "\ud83e\udd80 {}"]"#.to_vec(),
    ]
}

/// A copy with one to four changes.
fn damaged(seed: &[u8], random: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..random.random_range(1..5) {
        // Half of all changes are near the start, where headers are.
        let reach = if random.random() { bytes.len().min(600) } else { bytes.len() };
        let at = random.random_range(0..reach.max(1));
        let length = random.random_range(1..9).min(bytes.len().saturating_sub(at));
        match random.random_range(0..6) {
            _ if length == 0 => bytes.push(random.random()),
            0 => bytes[at..at + length].fill_with(|| random.random()),
            1 => bytes[at] ^= 1 << random.random_range(0..8),
            2 => bytes[at..at + length].fill([0, 0xff, b'9', b'"', b'{'][random.random_range(0..5)]),
            3 => bytes.truncate(at),
            4 => drop(bytes.drain(at..at + length)),
            _ => {
                let piece = bytes[at..at + length].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes
}

#[test]
fn damaged_files_are_read_or_are_one_typed_error() {
    let seconds = env::var("CLIP_ADAPTER_FUZZ_SECONDS").map_or(1.5, |seconds| seconds.parse().unwrap());
    for (name, check, seeds) in CHECKS {
        let (seeds, mut random) = (seeds(), ChaCha8Rng::seed_from_u64(12));
        let (start, mut count) = (Instant::now(), 0);
        seeds.iter().for_each(|seed| check(seed));
        while start.elapsed() < Duration::from_secs_f64(seconds) || count < 50 {
            let bytes = damaged(&seeds[count % seeds.len()], &mut random);
            let outcome = std::panic::catch_unwind(|| check(&bytes));
            if outcome.is_err() {
                let path = env::temp_dir().join(format!("clip-adapter-{name}-{count}"));
                fs::write(&path, &bytes).unwrap();
                panic!("{name} {count}: the bytes are in {}", path.display());
            }
            count += 1;
        }
        println!("{name}: {count} damaged files");
    }
    checks::clear();
}

/// The sound files, where cargo-fuzz begins: written into the folder that `CLIP_ADAPTER_SEEDS` names.
#[test]
fn seeds_are_sound() {
    let folder = env::var_os("CLIP_ADAPTER_SEEDS");
    for (name, _, seeds) in CHECKS {
        let seeds = seeds();
        assert!(!seeds.is_empty());
        let Some(folder) = &folder else { continue };
        let folder = Path::new(folder).join(name);
        fs::create_dir_all(&folder).unwrap();
        for (at, seed) in seeds.iter().enumerate() {
            fs::write(folder.join(format!("seed-{at}")), seed).unwrap();
        }
    }
}
