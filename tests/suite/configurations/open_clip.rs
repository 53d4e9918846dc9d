//! `open_clip_config.json`.

use burn::tensor::Device;
use clip_adapter::{
    ClipBackbone,
    backbone::VisionKind,
    input::{Preprocess, ResizeMode},
};
use serde_json::{Value, json};

use super::{ABSENT, Changed, refused};
use crate::backbone::golden;

const OPEN_CLIP: &str = "open_clip_config.json";
const VISION: &str = "/model_cfg/vision_cfg";
const TEXT: &str = "/model_cfg/text_cfg";

#[test]
fn a_configuration_of_open_clip_is_done() {
    let clip = ClipBackbone::from_pretrained(golden("openclip_vit"), &Device::flex()).unwrap();
    let (config, preprocess) = (clip.config(), clip.preprocess());
    let mut fine = (config.clone(), preprocess.clone());
    let VisionKind::Vit { epsilon, .. } = &mut fine.0.vision.kind else { unreachable!() };
    *epsilon = 1e-3;
    let mut fine_text = (config.clone(), preprocess.clone());
    fine_text.0.text.epsilon = 1e-3;
    let usual = || (config.clone(), preprocess.clone());
    let prepared = |preprocess| (config.clone(), preprocess);
    let mean = [0.1, 0.2, 0.3];
    for (pointer, change, expected) in [
        (VISION, json!({ "image_size": [32, 32], "patch_size": [8, 8] }), usual()),
        (VISION, json!({ "norm_kwargs": { "eps": 1e-3 } }), fine),
        (VISION, json!({ "norm_kwargs": {}, "act_kwargs": {}, "ls_init_value": null }), usual()),
        (VISION, json!({ "patch_dropout": 0.5, "timm_pool": "avg", "attn_pooler_heads": 2 }), usual()),
        (VISION, json!({ "pos_embed_type": "sin_cos_2d", "final_ln_after_pool": true }), usual()),
        (TEXT, json!({ "norm_kwargs": { "eps": 1e-3 } }), fine_text),
        (TEXT, json!({ "pad_id": 1, "eos_id": 7, "hf_tokenizer_name": "", "tokenizer_kwargs": {} }), usual()),
        (TEXT, json!({ "hf_tokenizer_name": "acme/clip" }), usual()),
        (
            "/model_cfg",
            json!({ "custom_text": true, "init_logit_scale": 1, "init_logit_bias": null }),
            usual(),
        ),
        // The image tower's size wins.
        ("/preprocess_cfg", json!({ "size": 64, "mode": "RGB", "fill_color": 9 }), usual()),
        ("/preprocess_cfg", json!({ "interpolation": "random", "resize_mode": null }), usual()),
        (
            "/preprocess_cfg",
            json!({ "resize_mode": "squash" }),
            prepared(Preprocess { resize_mode: ResizeMode::Squash, ..preprocess.clone() }),
        ),
        ("/preprocess_cfg", json!({ "mean": mean }), prepared(Preprocess { mean, ..preprocess.clone() })),
        (
            "/preprocess_cfg",
            json!({ "mean": null, "std": ABSENT }),
            prepared(Preprocess {
                mean: Preprocess::default().mean,
                std: Preprocess::default().std,
                ..preprocess.clone()
            }),
        ),
    ] {
        let clip = Changed::with("openclip_vit", OPEN_CLIP, pointer, &change).open();
        let clip = clip.unwrap_or_else(|error| panic!("{pointer} {change}: {error}"));
        assert_eq!((clip.config().clone(), clip.preprocess().clone()), expected, "{pointer} {change}");
    }
}

#[test]
fn a_model_of_open_clip_that_is_not_plain_is_refused() {
    let refused_in = |pointer: &str, changes: Vec<Value>| {
        for change in changes {
            let key = change.as_object().unwrap().keys().next().unwrap().clone();
            let place = pointer.trim_start_matches('/').replace('/', ".");
            let key = if place.is_empty() { key } else { format!("{place}.{key}") };
            refused("openclip_vit", OPEN_CLIP, pointer, &[(change, &key)]);
        }
    };
    refused_in("", vec![json!({ "model_cfg": null }), json!({ "architecture": "x" })]);
    refused_in(
        "/model_cfg",
        vec![
            json!({ "multimodal_cfg": { "width": 16 } }),
            json!({ "init_logit_bias": -10 }),
            json!({ "embed_dim": ABSENT }),
            json!({ "quick_gelu": 1 }),
            json!({ "cast_dtype": "bf16" }),
        ],
    );
    refused_in(
        VISION,
        vec![
            json!({ "timm_model_name": "vit_tiny_patch16_224" }),
            json!({ "image_size": [32, 64] }),
            json!({ "patch_size": null }),
            json!({ "layers": [1, 2, 1] }),
            json!({ "ls_init_value": 0 }),
            json!({ "attentional_pool": true }),
            json!({ "no_ln_pre": true }),
            json!({ "pool_type": "avg" }),
            json!({ "output_tokens": true }),
            json!({ "act_kwargs": { "approximate": "tanh" } }),
            json!({ "block_type": "custom" }),
            json!({ "qk_norm": true }),
            json!({ "mlp_ratio": "4" }),
            json!({ "drop_path": 0.1 }),
        ],
    );
    refused_in(
        TEXT,
        vec![
            json!({ "hf_model_name": "roberta-base" }),
            json!({ "embed_cls": true }),
            json!({ "no_causal_mask": true }),
            json!({ "pool_type": "eos" }),
            json!({ "proj_bias": true }),
            json!({ "proj_type": "none" }),
            json!({ "context_length": 32.5 }),
            json!({ "tokenizer_mode": "clips" }),
        ],
    );
    refused_in(
        "/preprocess_cfg",
        vec![
            json!({ "mode": "L" }),
            json!({ "interpolation": "bilinear" }),
            json!({ "resize_mode": "longest" }),
            json!({ "mean": 0.5 }),
            json!({ "crop_pct": 0.9 }),
        ],
    );
    let cleaned = json!({ "tokenizer_kwargs": { "clean": "canonicalize" } });
    refused("openclip_vit", OPEN_CLIP, TEXT, &[(cleaned, "model_cfg.text_cfg.tokenizer_kwargs.clean")]);
}
