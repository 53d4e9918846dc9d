//! Files that lie. Whatever a file says, reading it ends in a value or in one typed error, and takes no memory for
//! what is only claimed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use burn::tensor::Device;
use clip_adapter::{ClipBackbone, Error, Result, input::Preprocess};
use image::ImageFormat;
use proptest::{prelude::*, sample::Index};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    backbone::{copy_golden, golden},
    images::{FORMATS, chunk, encoded, gradient},
};

fn load(bytes: &[u8], name: &str) -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    Preprocess { resize: 16, crop: 16, ..Preprocess::default() }.load(&[path], &Device::flex()).map(drop)
}

/// A damaged image is an image all the same, no image, or one without a pixel worth resizing.
fn is_answer(outcome: &Result<()>) -> bool {
    matches!(outcome, Ok(()) | Err(Error::Image { .. } | Error::Data { .. }))
}

#[test]
fn the_content_of_an_image_counts_and_not_its_name() {
    for format in FORMATS {
        let bytes = encoded(&gradient(40, 30), format);
        for name in ["photo", "photo.jpg", "photo.png", "photo.tiff", "photo.txt", "photo.exr"] {
            load(&bytes, name).unwrap_or_else(|error| panic!("{format:?} as {name}: {error}"));
        }
    }
    for name in ["photo", "photo.jpg", "photo.png", "photo.webp", "photo.gif", "photo.bmp", "photo.tif"] {
        for bytes in [&b""[..], b"just text", &[0; 4096]] {
            let outcome = load(bytes, name);
            assert!(matches!(outcome, Err(Error::Image { .. })), "{name} {}: {outcome:?}", bytes.len());
        }
    }
}

#[test]
fn a_truncated_image_is_one_typed_error() {
    for format in FORMATS {
        let bytes = encoded(&gradient(40, 30), format);
        for length in (0..bytes.len()).step_by(1 + bytes.len() / 60) {
            let outcome = load(&bytes[..length], "photo");
            assert!(is_answer(&outcome), "{format:?} {length}: {outcome:?}");
            assert!(length > bytes.len() / 8 || outcome.is_err(), "{format:?} {length} of {}", bytes.len());
        }
    }
}

/// Headers that claim 65,535 pixels a side or more, and would take 12 GB.
#[test]
fn an_image_of_impossible_size_is_refused_before_memory_is_taken() {
    for format in FORMATS {
        let mut bytes = encoded(&gradient(40, 30), format);
        match format {
            ImageFormat::Png => {
                let mut header = bytes[16..29].to_vec();
                header[..4].copy_from_slice(&100_000u32.to_be_bytes());
                header[4..8].copy_from_slice(&100_000u32.to_be_bytes());
                bytes.splice(8..33, chunk(b"IHDR", &header));
            }
            ImageFormat::Gif => bytes[6..10].fill(0xff),
            ImageFormat::Bmp => {
                bytes[18..22].copy_from_slice(&100_000i32.to_le_bytes());
                bytes[22..26].copy_from_slice(&100_000i32.to_le_bytes());
            }
            ImageFormat::Jpeg => {
                // The frame's header: marker, length, bits, height, width.
                let at = bytes
                    .windows(2)
                    .position(|marker| [[0xff, 0xc0], [0xff, 0xc2]].contains(&[marker[0], marker[1]]));
                let at = at.unwrap();
                bytes[at + 5..at + 9].fill(0xff);
            }
            ImageFormat::Tiff => enlarge_tiff(&mut bytes),
            // 14 bits a side are all that its header holds: 1 GiB, which the data then do not fill.
            _ => bytes[21..25].copy_from_slice(&[0xff, 0xff, 0xff, 0x0f]),
        }
        let outcome = load(&bytes, "photo");
        assert!(matches!(outcome, Err(Error::Image { .. })), "{format:?}: {outcome:?}");
    }
}

/// Sets the width and height of a little-endian TIFF, tags 256 and 257, to 100,000.
fn enlarge_tiff(bytes: &mut [u8]) {
    let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    assert_eq!(bytes[..4], *b"II*\0");
    let entries = word(bytes, 4);
    let count = usize::from(u16::from_le_bytes([bytes[entries], bytes[entries + 1]]));
    for entry in (0..count).map(|index| entries + 2 + 12 * index) {
        if [256, 257].contains(&u16::from_le_bytes([bytes[entry], bytes[entry + 1]])) {
            bytes[entry + 2..entry + 4].copy_from_slice(&4u16.to_le_bytes()); // a 32-bit number
            bytes[entry + 8..entry + 12].copy_from_slice(&100_000u32.to_le_bytes());
        }
    }
}

#[test]
fn a_strip_that_would_be_resized_beyond_memory_is_refused() {
    let outcome = load(&encoded(&gradient(1, 32_000), ImageFormat::Png), "photo");
    outcome.unwrap(); // 16 x 512,000 pixels are within bounds
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("photo");
    fs::write(&path, encoded(&gradient(1, 32_000), ImageFormat::Png)).unwrap();
    let outcome = Preprocess::default().load(&[path], &Device::flex()).map(drop);
    assert!(matches!(outcome, Err(Error::Data { .. })), "{outcome:?}");
}

#[test]
fn a_setting_that_claims_memory_is_refused() {
    for side in [0, 1 << 16, usize::MAX] {
        let preprocess = Preprocess { resize: side, crop: side, ..Preprocess::default() };
        let outcome = preprocess.load(&[golden("images/wide.png")], &Device::flex()).map(drop);
        assert!(matches!(outcome, Err(Error::Setting { .. })), "{side}: {outcome:?}");
    }
    let preprocess = Preprocess { resize: 224 * 9, ..Preprocess::default() };
    assert!(matches!(preprocess.validate(), Err(Error::Setting { name, .. }) if name == "size"));
}

/// A golden model whose files a test then spoils.
struct Spoiled {
    folder: TempDir,
}

impl Spoiled {
    fn of(model: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy_golden(model, folder.path());
        Self { folder }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Loads it and, where that succeeds, encodes: what is loaded must also work.
    fn try_out(&self) -> Result<()> {
        let clip = ClipBackbone::from_pretrained(self.folder.path(), &Device::flex())?;
        clip.encode_images(&[golden("images/wide.png")])?;
        clip.encode_texts(&["a photo of a cat.", ""])?;
        Ok(())
    }
}

/// Errors about a checkpoint, not about the machine.
fn blames_the_file(error: &Error) -> bool {
    matches!(
        error,
        Error::Malformed { .. } | Error::Setting { .. } | Error::Weights { .. } | Error::Data { .. }
    )
}

/// JSON pointers to every value in it, the whole included.
fn pointers(value: &Value, at: String) -> Vec<String> {
    let inside = |key: &str, value| pointers(value, format!("{at}/{key}"));
    let mut all: Vec<String> = match value {
        Value::Object(fields) => fields.iter().flat_map(|(key, value)| inside(key, value)).collect(),
        Value::Array(items) => {
            items.iter().enumerate().flat_map(|(index, value)| inside(&index.to_string(), value)).collect()
        }
        _ => Vec::new(),
    };
    all.push(at);
    all
}

/// What a mutation puts where something else was; none removes it.
fn replacement() -> impl Strategy<Value = Option<Value>> {
    let fixed = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1),
        json!(3),
        json!(0.5),
        json!(-1e300),
        json!(1e18),
        json!(65_536),
        json!(1_048_577),
        json!(4_294_967_296u64),
        json!(u64::MAX),
        json!("x"),
        json!(""),
        json!([]),
        json!({}),
        json!([1, 2, 3, 4]),
    ];
    prop_oneof![
        1 => Just(None),
        6 => prop::sample::select(Vec::from(fixed)).prop_map(Some),
        2 => any::<i64>().prop_map(|value| Some(json!(value))),
        2 => (0u32..5000).prop_map(|value| Some(json!(value))),
    ]
}

fn mutate(json: &mut Value, pointer: &str, replacement: Option<Value>) {
    let (parent, key) = pointer.rsplit_once('/').unwrap_or(("", ""));
    match replacement {
        Some(value) => {
            if let Some(place) = json.pointer_mut(pointer) {
                *place = value;
            }
        }
        None => {
            if let Some(Value::Object(fields)) = json.pointer_mut(parent) {
                fields.remove(key);
            }
        }
    }
}

const CONFIGS: [(&str, &str); 5] = [
    ("hf_gelu_patch14", "config.json"),
    ("hf_gelu_patch14", "preprocessor_config.json"),
    ("hf_sharded", "preprocessor_config.json"),
    ("openclip_vit", "open_clip_config.json"),
    ("openclip_resnet", "open_clip_config.json"),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Huge, negative, fractional and missing numbers, text for numbers, heads that do not divide the width.
    #[test]
    fn any_change_to_a_configuration_is_read_or_refused(
        which in 0..CONFIGS.len(),
        changes in prop::collection::vec((any::<Index>(), replacement()), 1..4),
    ) {
        let (model, file) = CONFIGS[which];
        let copy = Spoiled::of(model);
        let mut json: Value = serde_json::from_slice(&fs::read(copy.path(file)).unwrap()).unwrap();
        for (index, replacement) in changes {
            let pointers = pointers(&json, String::new());
            mutate(&mut json, &pointers[index.index(pointers.len())], replacement);
        }
        fs::write(copy.path(file), json.to_string()).unwrap();
        if let Err(error) = copy.try_out() {
            prop_assert!(blames_the_file(&error), "{json}: {error}");
        }
    }

    #[test]
    fn any_bytes_for_a_configuration_are_read_or_refused(
        which in 0..CONFIGS.len(),
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let (model, file) = CONFIGS[which];
        let copy = Spoiled::of(model);
        fs::write(copy.path(file), bytes).unwrap();
        if let Err(error) = copy.try_out() {
            // What is not UTF-8 cannot be read as text.
            prop_assert!(blames_the_file(&error) || matches!(error, Error::Read { .. }), "{error}");
        }
    }

    #[test]
    fn any_bytes_for_a_weights_header_are_refused(
        header in prop::collection::vec(any::<u8>(), 0..400),
        length: u64,
        honest: bool,
    ) {
        let copy = Spoiled::of("hf_gelu_patch14");
        let length = if honest { header.len() as u64 } else { length };
        fs::write(copy.path("model.safetensors"), [&length.to_le_bytes()[..], &header].concat()).unwrap();
        let error = copy.try_out().unwrap_err();
        prop_assert!(blames_the_file(&error), "{error}");
    }

    #[test]
    fn any_tensor_that_a_header_claims_is_read_or_refused(
        name in prop::sample::select(vec!["logit_scale", "text_projection.weight", "another"]),
        dtype in prop::sample::select(vec!["F32", "F16", "BF16", "F64", "U8", "I64", "BOOL", "X"]),
        shape in prop::collection::vec(prop_oneof![0u64..4, any::<u64>()], 0..5),
        start: u64,
        length in prop_oneof![0u64..64, any::<u64>()],
        data in 0usize..64,
    ) {
        let copy = Spoiled::of("hf_gelu_patch14");
        let start = start % 3;
        let info = json!({ name: {
            "dtype": dtype, "shape": shape, "data_offsets": [start, start.saturating_add(length)],
        }});
        write_weights(&copy.path("model.safetensors"), &info, data);
        let error = copy.try_out().unwrap_err();
        prop_assert!(blames_the_file(&error), "{info}: {error}");
    }

    #[test]
    fn any_changed_byte_of_an_image_is_read_or_refused(
        which in 0..FORMATS.len(),
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = encoded(&gradient(40, 30), FORMATS[which]);
        for (index, byte) in changes {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        let outcome = load(&bytes, "photo");
        prop_assert!(is_answer(&outcome), "{:?}: {outcome:?}", FORMATS[which]);
    }
}

fn write_weights(path: &Path, header: &Value, data: usize) {
    let header = header.to_string();
    let length = (header.len() as u64).to_le_bytes();
    fs::write(path, [&length[..], header.as_bytes(), &vec![0; data]].concat()).unwrap();
}

/// Tensors that follow each other up to the last number there is, so that a sum of sizes would wrap around.
#[test]
fn tensors_beyond_all_memory_are_refused() {
    let copy = Spoiled::of("hf_gelu_patch14");
    let most = (1u64 << 61) - 1; // bytes whose bits can still be counted
    let tensors = (0..8u64).map(|index| {
        let info =
            json!({ "dtype": "U8", "shape": [most], "data_offsets": [index * most, (index + 1) * most] });
        (format!("tensor{index}"), info)
    });
    let header = Value::Object(tensors.collect());
    write_weights(&copy.path("model.safetensors"), &header, 16);
    let error = copy.try_out().unwrap_err();
    assert!(matches!(&error, Error::Malformed { part, .. } if part == "header"), "{error}");
}

/// A ResNet's convolutions are folded with their norms, which must not happen at sizes that no file holds.
#[test]
fn a_huge_resnet_takes_no_memory() {
    let copy = Spoiled::of("openclip_resnet");
    let path = copy.path("open_clip_config.json");
    let mut json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    json["model_cfg"]["vision_cfg"]["width"] = json!(1 << 15);
    json["model_cfg"]["vision_cfg"]["layers"] = json!([3, 4, 6, 3]);
    fs::write(&path, json.to_string()).unwrap();
    let error = copy.try_out().unwrap_err();
    assert!(matches!(&error, Error::Weights { misshapen, .. } if misshapen.len() > 10), "{error}");
}
