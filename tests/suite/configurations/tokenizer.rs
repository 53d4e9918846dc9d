//! `tokenizer_config.json`.

use std::fs;

use serde_json::json;

use super::{ABSENT, Changed, blamed, refused};

const TOKENIZER: &str = "tokenizer_config.json";

#[test]
fn a_tokenizer_that_says_other_tokens_is_refused() {
    let flags = |content: &str| {
        json!({
            "content": content, "lstrip": false, "normalized": false, "rstrip": false, "single_word": false,
            "special": true,
        })
    };
    let both = json!({ "552": flags("<|startoftext|>"), "553": flags("<|endoftext|>") });
    let mut more = both.clone();
    more["554"] = flags("<my-dog>");
    for change in [
        json!({ "do_lower_case": false, "add_prefix_space": true, "errors": "strict", "add_eos_token": false }),
        json!({ "model_max_length": 1e30, "clean_up_tokenization_spaces": true, "chat_template": "x" }),
        json!({ "model_max_length": ABSENT, "tokenizer_class": "CLIPTokenizerFast", "pad_token": null }),
        json!({ "added_tokens_decoder": both, "additional_special_tokens": ["<|endoftext|>"] }),
        json!({ "bos_token": flags("<|startoftext|>"), "tokenizer_class": ABSENT }),
    ] {
        let copy = Changed::with("hf_gelu_patch14", TOKENIZER, "", &change);
        let clip = copy.open().unwrap_or_else(|error| panic!("{change}: {error}"));
        assert_eq!(clip.tokenizer().encode(&["a"]).unwrap().ids[0][3], 553, "{change}");
    }
    let change = json!({ "pad_token": "<|startoftext|>" });
    let clip = Changed::with("hf_gelu_patch14", TOKENIZER, "", &change).open().unwrap();
    assert_eq!(clip.tokenizer().encode(&["a"]).unwrap().ids[0][3], 552);
    refused(
        "hf_gelu_patch14",
        TOKENIZER,
        "",
        &[
            (json!({ "tokenizer_class": "BertTokenizer" }), "tokenizer_class"),
            (json!({ "pad_token": "!" }), "pad_token"), // found in texts there, as a token of its own
            (json!({ "pad_token": 3 }), "pad_token"),
            (json!({ "bos_token": "<|endoftext|>" }), "bos_token"),
            (json!({ "eos_token": "<|startoftext|>" }), "eos_token"),
            (json!({ "image_token": "<image>" }), "image_token"),
            (json!({ "additional_special_tokens": ["<my-dog>"] }), "additional_special_tokens"),
            (json!({ "added_tokens_decoder": more }), "added_tokens_decoder"),
            (json!({ "padding_side": "left" }), "padding_side"),
            (json!({ "truncation_side": "left" }), "truncation_side"),
            (json!({ "model_max_length": 16 }), "model_max_length"),
            (json!({ "split_special_tokens": true }), "split_special_tokens"),
            (json!({ "normalizer": "x" }), "normalizer"),
        ],
    );
    let copy = Changed::of("hf_gelu_patch14");
    fs::write(copy.path(TOKENIZER), "{").unwrap();
    assert_eq!(blamed(TOKENIZER, copy.open(), "damaged"), "JSON");
}
