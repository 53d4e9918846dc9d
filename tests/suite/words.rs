//! Texts of every kind: what open_clip's own tokenizer makes of them, and files of them.

use std::{collections::BTreeSet, fs, path::Path};

use burn::tensor::Device;
use clip_adapter::{
    ClipBackbone, Error,
    input::{Tokenizer, read_texts},
};
use serde_json::Value;

use crate::backbone::golden;

/// As `fnv` in `tests/golden/export_words.py`.
fn hash(ids: &[u32]) -> String {
    let hash = ids.iter().fold(0x811c_9dc5, |hash: u32, id| (hash ^ id).wrapping_mul(0x0100_0193));
    format!("{hash:08x}")
}

fn pocket() -> Tokenizer {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/pocket/model");
    Tokenizer::from_file(model.join("tokenizer.json"), 32).unwrap()
}

/// What is left between the start and the first end token.
fn inside(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    let tokenized = tokenizer.encode(&[text]).unwrap();
    tokenized.ids[0][1..tokenized.ends[0]].to_vec()
}

#[test]
fn open_clips_own_ids_in_every_script() {
    let words: Value = serde_json::from_str(&fs::read_to_string(golden("words.json")).unwrap()).unwrap();
    let rows = words["texts"].as_array().unwrap();
    let texts: Vec<&str> = rows.iter().map(|row| row[0].as_str().unwrap()).collect();
    assert!(texts.len() >= 600, "{}", texts.len());
    let clip = ClipBackbone::from_pretrained(golden("openclip_vit"), &Device::flex()).unwrap();
    let tokenized = clip.tokenizer().encode(&texts).unwrap();
    for ((row, text), ids) in rows.iter().zip(&texts).zip(&tokenized.ids) {
        assert_eq!(hash(ids), row[2], "{text:?}: {ids:?}");
    }
}

#[test]
fn only_open_clips_layout_is_cleaned() {
    let open = |model| ClipBackbone::from_pretrained(golden(model), &Device::flex()).unwrap();
    let (clip, hugging_face) = (open("openclip_vit"), open("hf_gelu_patch14"));
    for (text, plain) in [("salt &amp; pepper", "salt & pepper"), ("a dog’s", "a dog's"), ("cafÃ©", "café")]
    {
        assert_eq!(inside(clip.tokenizer(), text), inside(clip.tokenizer(), plain));
        assert_ne!(inside(hugging_face.tokenizer(), text), inside(hugging_face.tokenizer(), plain));
    }
    // Its own names of start and end are its tokens; those of the file are text.
    let ids = |text| clip.tokenizer().encode(&[text]).unwrap().ids.remove(0);
    let end = clip.tokenizer().id("<|endoftext|>").unwrap();
    assert_eq!(ids("a <end_of_text> b").iter().filter(|&&id| id == end).count(), 2);
    assert_eq!(ids("a <|endoftext|> b").iter().filter(|&&id| id == end).count(), 1);
}

#[test]
fn an_open_clip_tokenizer_is_byte_pairs_between_start_and_end() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["open_clip_config.json", "open_clip_model.safetensors"] {
        fs::copy(golden("openclip_vit").join(file), folder.path().join(file)).unwrap();
    }
    let text = fs::read_to_string(golden("openclip_vit").join("tokenizer.json")).unwrap();
    for (key, value, part) in [
        ("/model/end_of_word_suffix", Value::Null, "model"),
        ("/post_processor", Value::Null, "post_processor"),
    ] {
        let mut tokenizer: Value = serde_json::from_str(&text).unwrap();
        *tokenizer.pointer_mut(key).unwrap() = value;
        fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
        let error = ClipBackbone::from_pretrained(folder.path(), &Device::flex()).unwrap_err();
        assert!(matches!(&error, Error::Malformed { part: found, .. } if found == part), "{error}");
    }
}

/// Its vocabulary has 69 of the 256 bytes that may end a word.
#[test]
fn the_pocket_model_takes_every_text() {
    let pocket = pocket();
    let id = |token: &str| pocket.id(token).unwrap();
    let end = id("<|endoftext|>");
    assert_eq!((pocket.vocabulary(), end), (3072, 3071));
    assert_eq!(pocket.id("²</w>"), None);
    assert_eq!(inside(&pocket, "x²"), [id("x</w>"), id("Â"), id("²")]);
    assert_eq!(inside(&pocket, "🦀 crab"), [id("ð"), id("Ł"), id("¦"), id("Ģ"), id("cra"), id("b</w>")]);
    let texts = ["東京 tower", "ñandú", "don’t walk", "🦁", "🦀", "e\u{301}", "\0", "\u{10ffff}"];
    let different: BTreeSet<Vec<u32>> = texts.iter().map(|text| inside(&pocket, text)).collect();
    assert_eq!(different.len(), texts.len());
    for code in (0..0x3000).chain((0x3000..=0x10_ffff).step_by(97)) {
        let Some(c) = char::from_u32(code) else { continue };
        let text = format!("a {c} b{c}");
        let ids = pocket.encode(&[&text]).unwrap().ids.remove(0);
        assert!(ids.iter().all(|&id| id <= end), "{text:?}: {ids:?}");
        // Nothing unknown became an end token, at which the text would stop.
        let ends = ids.iter().position(|&id| id == end).unwrap();
        assert!(ids[ends..].iter().all(|&id| id == end), "{text:?}: {ids:?}");
        assert!(ids[..ends].contains(&id("a</w>")) && ends >= 3, "{text:?}: {ids:?}");
    }
}

/// What its vocabulary has stays as it is: these ids are those of the first release.
#[test]
fn the_pocket_models_ids_have_not_moved() {
    let (pocket, file) = (pocket(), "examples/pocket/model/tokenizer.json");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let bare = tokenizers::Tokenizer::from_file(path).unwrap();
    let words = bare.get_vocab(true).into_keys().filter(|word| word.is_ascii());
    let texts: Vec<String> = words.map(|word| format!("a {} of", word.replace("</w>", " "))).collect();
    let mut compared = 0;
    for text in &texts {
        let Ok(encoding) = bare.encode(text.as_str(), true) else { continue };
        let ids = encoding.get_ids();
        compared += 1;
        assert_eq!(pocket.encode(&[text]).unwrap().ids[0][..ids.len()], *ids, "{text:?}");
    }
    assert!(compared > 2500, "{compared} of {}", texts.len());
}

#[test]
fn a_byte_order_mark_is_no_letter() {
    let folder = tempfile::tempdir().unwrap();
    let (lines, array) = (folder.path().join("a.txt"), folder.path().join("a.json"));
    fs::write(&lines, "\u{feff}a cat\r\n\r\na dog\u{feff}\r\n").unwrap();
    fs::write(&array, "\u{feff}[\"a cat\",\r\n \"\", \"a dog\u{feff}\"]").unwrap();
    assert_eq!(read_texts(&lines).unwrap(), ["a cat", "", "a dog\u{feff}"]);
    assert_eq!(read_texts(&array).unwrap(), read_texts(&lines).unwrap());
}

#[test]
fn texts_in_another_encoding_are_refused_with_its_name_or_the_line() {
    let folder = tempfile::tempdir().unwrap();
    for ending in ["txt", "json"] {
        let path = folder.path().join("a.").with_extension(ending);
        for (bytes, message) in [
            (&b"\xff\xfea\0"[..], "encoding: expected UTF-8, found UTF-16"),
            (b"\xfe\xff\0a", "encoding: expected UTF-8, found UTF-16"),
            (b"[\"a\",\r\n\"caf\xe9\"]\n", "line 2: expected UTF-8, found the byte 0xE9"),
            (b"\x80", "line 1: expected UTF-8, found the byte 0x80"),
        ] {
            fs::write(&path, bytes).unwrap();
            let error = read_texts(&path).unwrap_err();
            assert!(matches!(error, Error::Malformed { .. }), "{error}");
            assert!(error.to_string().ends_with(message), "{error}");
        }
    }
}
