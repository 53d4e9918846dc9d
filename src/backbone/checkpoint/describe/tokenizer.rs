//! `tokenizer_config.json`, held against the `tokenizer.json` that makes the tokens.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::keys::TOKENIZER;
use super::section::Section;
use crate::error::Result;

/// The token that fills a text where nothing says another.
const PADDING: &str = "<|endoftext|>";

/// Classes of CLIP's tokenizer.
pub(super) const CLIP: &[&str] = &["CLIPTokenizer", "CLIPTokenizerFast"];

/// Those, and the classes that do whatever a `tokenizer.json` says.
pub(super) const ANY: &[&str] =
    &["CLIPTokenizer", "CLIPTokenizerFast", "PreTrainedTokenizerFast", "TokenizersBackend"];

/// The padding token, where the tokenizer is of one of `classes`; for a text tower of `context` tokens.
pub(super) fn padding(folder: &Path, context: usize, classes: &[&str]) -> Result<String> {
    let path = folder.join("tokenizer_config.json");
    if !path.exists() {
        return Ok(PADDING.into());
    }
    let mut config = Section::open(&path)?.without_nulls();
    let class = config.read("tokenizer_class", &format!("one of {}", classes.join(", ")), |class| {
        classes.iter().find(|known| class == *known).copied()
    })?;
    for side in ["padding_side", "truncation_side"] {
        config.only(side, &["right".into()], "right")?;
    }
    config.only("split_special_tokens", &[false.into()], "false")?;
    config.only("add_special_tokens", &[true.into()], "true")?;
    config.no_code()?;
    config.off(&["init_inputs"], "none")?;
    let expected = format!("at least the text tower's {context} tokens");
    config.read("model_max_length", &expected, |length| {
        (length.as_f64()? >= context as f64).then_some(()) // some write 1e30 where there is no limit
    })?;
    // What is damaged there, the tokenizer reports when it is opened.
    let tokenizer = fs::read(folder.join("tokenizer.json")).ok();
    let tokenizer: Option<Tokens> = tokenizer.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let pad = added_tokens(&mut config, tokenizer.as_ref(), class.is_none_or(|class| CLIP.contains(&class)))?;
    config.finish(&[TOKENIZER])?;
    Ok(pad.unwrap_or_else(|| PADDING.into()))
}

/// What a `tokenizer.json` says of its special tokens.
#[derive(Deserialize)]
struct Tokens {
    added_tokens: Vec<Added>,
    #[serde(default)]
    post_processor: Value,
}

/// A token that is found in a text before anything else.
#[derive(Deserialize, PartialEq)]
struct Added {
    #[serde(default)]
    id: u64,
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    normalized: bool,
}

/// The padding token, if one is named. transformers adds every token that the configuration names: one that the
/// tokenizer lacks would be found in texts there, and not here.
fn added_tokens(config: &mut Section, tokenizer: Option<&Tokens>, clips: bool) -> Result<Option<String>> {
    let added = |token: &str| {
        tokenizer.is_none_or(|tokenizer| tokenizer.added_tokens.iter().any(|added| added.content == token))
    };
    let expected = "a token that tokenizer.json adds to its vocabulary";
    let token = |value: &Value| content(value).filter(|token| added(token)).map(str::to_owned);
    let (mut named, mut pad) = (Vec::new(), None);
    for key in config.names().into_iter().filter(|key| key.ends_with("_token")) {
        if ["add_bos_token", "add_eos_token"].contains(&key.as_str()) {
            continue;
        }
        let Some(token) = config.read(&key, expected, token)? else { continue };
        if let (Some(tokenizer), true, "bos_token" | "eos_token") = (tokenizer, clips, key.as_str()) {
            let [start, end] = ends(&tokenizer.post_processor);
            let own = if key == "bos_token" { start } else { end };
            if own != Some(&token) {
                let expected = format!("the one that tokenizer.json puts there, {}", own.unwrap_or("none"));
                return Err(config.wrong(&key, expected, token));
            }
        }
        if key == "pad_token" {
            pad = Some(token.clone());
        }
        named.push(token);
    }
    for key in ["additional_special_tokens", "extra_special_tokens", "model_specific_special_tokens"] {
        let more =
            config.read(key, "tokens that tokenizer.json adds to its vocabulary", |value| match value {
                Value::Array(tokens) => tokens.iter().map(token).collect::<Option<Vec<_>>>(),
                Value::Object(tokens) => tokens.values().map(token).collect(),
                _ => None,
            })?;
        named.extend(more.unwrap_or_default());
    }
    config.read("added_tokens_decoder", "the added_tokens of tokenizer.json", |value| {
        let decoder = value.as_object()?.iter().map(|(id, token)| {
            let token = Added::deserialize(token).ok()?;
            Some(Added { id: id.parse().ok()?, ..token })
        });
        let decoder: Vec<Added> = decoder.collect::<Option<_>>()?;
        let Some(Tokens { added_tokens, .. }) = tokenizer else { return Some(()) };
        // Start and end have flags of all kinds, which matter only to texts that spell them out.
        let same = |one: &Added, other: &Added| {
            one == other || one.id == other.id && one.content == other.content && named.contains(&one.content)
        };
        let known = |token: &Added| added_tokens.iter().any(|added| same(added, token));
        // CLIP's class forgets those that are not listed again.
        let listed = |added: &Added| {
            !clips || named.contains(&added.content) || decoder.iter().any(|token| same(added, token))
        };
        (decoder.iter().all(known) && added_tokens.iter().all(listed)).then_some(())
    })?;
    Ok(pad)
}

/// A token by itself, or with flags.
fn content(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content")?.as_str())
}

/// The tokens that a post-processor puts before and after every text.
fn ends(post_processor: &Value) -> [Option<&str>; 2] {
    match post_processor["type"].as_str() {
        Some("RobertaProcessing" | "BertProcessing") => {
            ["cls", "sep"].map(|key| post_processor[key].get(0).and_then(Value::as_str))
        }
        Some("TemplateProcessing") => {
            let pieces = post_processor["single"].as_array().map_or(&[][..], Vec::as_slice);
            [pieces.first(), pieces.last()].map(|piece| piece?.get("SpecialToken")?.get("id")?.as_str())
        }
        Some("Sequence") => {
            let parts = post_processor["processors"].as_array().map_or(&[][..], Vec::as_slice);
            parts.iter().map(ends).find(|ends| *ends != [None; 2]).unwrap_or_default()
        }
        _ => [None; 2],
    }
}
