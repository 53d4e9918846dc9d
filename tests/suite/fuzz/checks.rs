//! What must hold of any bytes, one function a kind of file: run here on damaged copies of sound files, and by the fuzz
//! targets in `fuzz` on whatever cargo-fuzz comes upon.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process,
    sync::LazyLock,
};

use clip_adapter::{
    ClipBackbone, Error, FeatureFile, Prompts,
    burn::tensor::Device,
    features::PairFile,
    input::{Tokenizer, decode, read_texts},
    model::{Open, Saved},
    tasks::{self, retrieval::FittedPair},
};

/// Letters of an error: a few lines.
const MESSAGE: usize = 4000;

/// The folder of the crate, from whichever crate this is a part of.
pub fn repository(part: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = if root.ends_with("fuzz") { root.join("..") } else { root.into() };
    root.join(part)
}

/// A folder of this process, in memory where the machine has such a disk.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let root = if memory.is_dir() { memory } else { env::temp_dir() };
    let folder = root.join(format!("clip-adapter-fuzz-{}", process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    folder
});

/// Removes what the checks wrote.
pub fn clear() {
    let _ = fs::remove_dir_all(&*FOLDER); // it may never have been made
}

fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = FOLDER.join(name);
    fs::write(&path, bytes).expect("a file");
    path
}

/// A checkpoint of the repository, copied once for each check.
fn copy_of(folder: &str, check: &str) -> PathBuf {
    let copy = FOLDER.join(format!("{check}-{folder}"));
    if !copy.is_dir() {
        fs::create_dir_all(&copy).expect("a folder");
        for entry in fs::read_dir(repository("tests/golden").join(folder)).expect("a golden model") {
            let entry = entry.expect("a file");
            fs::copy(entry.path(), copy.join(entry.file_name())).expect("a copy");
        }
    }
    copy
}

/// One of these errors, in a few lines.
fn is_error(error: &Error, kinds: fn(&Error) -> bool) {
    let message = error.to_string();
    assert!(kinds(error), "{error:?}");
    assert!(message.len() < MESSAGE, "{} bytes: {message}", message.len());
}

/// An image, or one typed error.
pub fn image(bytes: &[u8]) {
    match decode(bytes, "fuzzed") {
        Ok(image) => assert!(image.width() > 0 && image.height() > 0),
        Err(error) => is_error(&error, |error| matches!(error, Error::Image { .. })),
    }
}

/// The weights of a checkpoint, or one typed error.
pub fn weights(bytes: &[u8]) {
    let folder = copy_of("hf_gelu_patch14", "weights");
    fs::write(folder.join("model.safetensors"), bytes).expect("a file");
    if let Err(error) = ClipBackbone::from_pretrained(folder, &Device::flex()) {
        is_error(&error, |error| matches!(error, Error::Malformed { .. } | Error::Weights { .. }));
    }
}

/// One of the JSON files of a checkpoint, which the first byte chooses, or one typed error.
pub fn configuration(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let (folder, name) = CONFIGURATIONS[usize::from(*kind) % CONFIGURATIONS.len()];
    let folder = copy_of(folder, "configuration");
    let path = folder.join(name);
    let before = fs::read(&path).ok();
    fs::write(&path, bytes).expect("a file");
    if let Err(error) = ClipBackbone::from_pretrained(&folder, &Device::flex()) {
        is_error(&error, |error| !matches!(error, Error::Execution { .. }));
    }
    match before {
        Some(before) => fs::write(&path, before).expect("a file"),
        None => fs::remove_file(&path).expect("a file"),
    }
}

/// The JSON files, in the order of the first byte of [`configuration`].
pub const CONFIGURATIONS: [(&str, &str); 6] = [
    ("hf_gelu_patch14", "config.json"),
    ("hf_gelu_patch14", "preprocessor_config.json"),
    ("hf_gelu_patch14", "processor_config.json"),
    ("hf_gelu_patch14", "tokenizer_config.json"),
    ("hf_sharded", "model.safetensors.index.json"),
    ("openclip_vit", "open_clip_config.json"),
];

/// A tokenizer that encodes a text or says why not, or one typed error.
pub fn tokenizer(bytes: &[u8]) {
    match Tokenizer::from_file(file("tokenizer.json", bytes), 16) {
        Ok(tokenizer) => match tokenizer.encode(&["a photo of a cat.", "", "Zürich 東京 🦀"]) {
            Ok(tokens) => assert!(tokens.ids.iter().all(|ids| ids.len() == 16)),
            Err(error) => is_error(&error, |error| matches!(error, Error::Data { .. })),
        },
        Err(error) => is_error(&error, |error| matches!(error, Error::Malformed { .. })),
    }
}

/// Features that are written again as they were read, or one typed error.
pub fn features(bytes: &[u8]) {
    match FeatureFile::read(file("features.safetensors", bytes)) {
        Ok(features) => {
            let copy = file("copy.safetensors", b"");
            features.write(&copy).expect("what was read can be written");
            let again = FeatureFile::read(&copy).expect("what was written can be read");
            assert_eq!(again.classifier().class_names(), features.classifier().class_names());
        }
        Err(error) => is_error(&error, |error| matches!(error, Error::Malformed { .. })),
    }
}

/// Pairs that are written again as they were read, or an adapter of pairs, or one typed error for each.
pub fn pairs(bytes: &[u8]) {
    let path = file("pairs.safetensors", bytes);
    match PairFile::read(&path) {
        Ok(pairs) => {
            let copy = file("copy.safetensors", b"");
            pairs.write(&copy).expect("what was read can be written");
            assert_eq!(PairFile::read(&copy).expect("what was written can be read"), pairs);
        }
        Err(error) => is_error(&error, |error| matches!(error, Error::Malformed { .. })),
    }
    let adapter = Saved::open(&path).and_then(|saved| {
        let model = FittedPair::load(&path, saved.fingerprint(), &Device::flex())?;
        assert!(model.dim() > 0);
        Ok(())
    });
    if let Err(error) = adapter {
        is_error(&error, |error| matches!(error, Error::Malformed { .. }));
    }
}

/// A model, or one typed error.
pub fn adapter(bytes: &[u8]) {
    let loaded = Saved::from_bytes(bytes.to_vec(), "fuzzed").and_then(|saved| {
        let expected = saved.fingerprint().clone();
        let model = tasks::registry().load(&saved, &expected, &Device::flex())?;
        assert_eq!(model.classes().class_names(), saved.class_names());
        Ok(())
    });
    if let Err(error) = loaded {
        is_error(&error, |error| !matches!(error, Error::Execution { .. } | Error::Read { .. }));
    }
}

static POCKET: LazyLock<Tokenizer> = LazyLock::new(|| {
    let path = repository("examples/pocket/model/tokenizer.json");
    Tokenizer::from_file(path, 32).expect("the pocket model's tokenizer")
});

/// Class names or prompts as lines or as JSON, which the first byte says, or one typed error.
pub fn class_list(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let path = file(if kind % 2 == 0 { "list.txt" } else { "list.json" }, bytes);
    match read_texts(&path) {
        // Whatever is read is encoded too: the pocket model takes every text.
        Ok(texts) => assert_eq!(POCKET.encode(&texts).expect("every text").ids.len(), texts.len()),
        Err(error) => is_error(&error, |error| matches!(error, Error::Malformed { .. })),
    }
    if let Err(error) = Prompts::read(&path) {
        is_error(&error, |error| matches!(error, Error::Malformed { .. }));
    }
}
