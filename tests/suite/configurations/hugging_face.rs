//! `config.json`.

use std::fs;

use burn::tensor::Device;
use clip_adapter::{
    ClipBackbone,
    backbone::{BackboneConfig, TowerActivation, VisionKind},
};
use serde_json::{Value, json};

use super::{ABSENT, Changed, refused};
use crate::backbone::golden;

const MODEL: &str = "config.json";

#[test]
fn towers_are_what_clipconfig_makes_of_them() {
    let clip = ClipBackbone::from_pretrained(golden("hf_gelu_patch14"), &Device::flex()).unwrap();
    let usual = clip.config();
    let with = |change: &dyn Fn(&mut BackboneConfig)| {
        let mut config = usual.clone();
        change(&mut config);
        config
    };
    let file: Value =
        serde_json::from_slice(&fs::read(golden("hf_gelu_patch14").join(MODEL)).unwrap()).unwrap();
    let [text, vision] = ["text_config", "vision_config"].map(|key| file[key].clone());
    let mut quick = text.clone();
    quick["hidden_act"] = "quick_gelu".into();
    let mut silent = vision.clone();
    silent.as_object_mut().unwrap().remove("hidden_act"); // quick_gelu then, whatever the newer object says
    let quick_vision = with(&|config| {
        let VisionKind::Vit { activation, .. } = &mut config.vision.kind else { unreachable!() };
        *activation = TowerActivation::QuickGelu;
    });
    let harmless = json!({
        "is_decoder": true, "add_cross_attention": true, "top_k": 3, "max_length": 5, "torch_dtype": "float16",
        "id2label": { "0": "a" }, "bos_token_id": null, "pruned_heads": {}, "quantization_config": null,
        "use_return_dict": true, "initializer_factor": 2, "_attn_implementation_autoset": true, "dropout": 0.5,
    });
    for (pointer, change, expected) in [
        ("", json!({ "text_config_dict": null, "vision_config_dict": null }), usual.clone()),
        ("", json!({ "text_config_dict": text, "text_config": null }), usual.clone()),
        ("", json!({ "text_config_dict": text, "text_config": { "hidden_size": 5 } }), usual.clone()),
        (
            "",
            json!({ "text_config_dict": quick }),
            with(&|config| config.text.activation = TowerActivation::QuickGelu),
        ),
        ("", json!({ "vision_config_dict": silent }), quick_vision.clone()),
        ("", json!({ "model_type": ABSENT }), usual.clone()),
        ("", harmless.clone(), usual.clone()),
        ("/text_config", harmless.clone(), usual.clone()),
        ("/vision_config", harmless, usual.clone()),
        ("/vision_config", json!({ "hidden_act": ABSENT }), quick_vision),
        ("/vision_config", json!({ "projection_dim": 7, "attention_dropout": 0.5 }), usual.clone()),
        ("/text_config", json!({ "eos_token_id": 2 }), with(&|config| config.text.end = None)),
        ("/text_config", json!({ "eos_token_id": 552 }), with(&|config| config.text.end = Some(552))),
        ("/text_config", json!({ "layer_norm_eps": 1e-3 }), with(&|config| config.text.epsilon = 1e-3)),
    ] {
        let clip = Changed::with("hf_gelu_patch14", MODEL, pointer, &change).open();
        let clip = clip.unwrap_or_else(|error| panic!("{pointer} {change}: {error}"));
        assert_eq!(*clip.config(), expected, "{pointer} {change}");
    }
}

#[test]
fn a_model_that_is_not_clip_is_refused() {
    let refused =
        |pointer: &str, changes: &[(Value, &str)]| refused("hf_gelu_patch14", MODEL, pointer, changes);
    let foreign = ["siglip", "chinese_clip", "clipseg", "altclip", "clip_vision_model", "clip_text_model"];
    refused("", &foreign.map(|name| (json!({ "model_type": name }), "model_type")));
    refused(
        "",
        &[
            (json!({ "quantization_config": { "load_in_8bit": true } }), "quantization_config"),
            (json!({ "auto_map": { "AutoModel": "a.B" } }), "auto_map"),
            (json!({ "projection_dim": null }), "projection_dim"),
            (json!({ "text_config": 3 }), "text_config"),
            (json!({ "text_config_dict": { "hidden_act": "relu" } }), "text_config_dict.hidden_act"),
            (json!({ "hidden_act": "gelu" }), "hidden_act"), // of neither tower
        ],
    );
    for (tower, pointer) in [("text_config", "/text_config"), ("vision_config", "/vision_config")] {
        for (change, key) in [
            (json!({ "hidden_act": "gelu_new" }), "hidden_act"),
            (json!({ "hidden_act": "gelu_pytorch_tanh" }), "hidden_act"),
            (json!({ "hidden_size": 32.0 }), "hidden_size"),
            (json!({ "hidden_size": -32 }), "hidden_size"),
            (json!({ "num_hidden_layers": "2" }), "num_hidden_layers"),
            (json!({ "layer_norm_eps": null }), "layer_norm_eps"),
            (json!({ "model_type": "siglip_text_model" }), "model_type"),
            (json!({ "pruned_heads": { "0": [1] } }), "pruned_heads"),
            (json!({ "per_layer_config": { "0": { "hidden_act": "gelu" } } }), "per_layer_config"),
            (json!({ "is_causal": false }), "is_causal"),
            (json!({ "rope_theta": 10000 }), "rope_theta"),
        ] {
            let key = format!("{tower}.{key}");
            refused(pointer, &[(change, &key)]);
        }
    }
    refused(
        "/text_config",
        &[
            (json!({ "eos_token_id": [553] }), "text_config.eos_token_id"),
            (json!({ "eos_token_id": null }), "text_config.eos_token_id"),
            (json!({ "eos_token_id": -1 }), "text_config.eos_token_id"),
        ],
    );
    refused(
        "/vision_config",
        &[
            (json!({ "image_size": [56, 56] }), "vision_config.image_size"), // transformers fails too
            (json!({ "patch_size": [14, 14] }), "vision_config.patch_size"),
            (json!({ "num_channels": 1 }), "vision_config.num_channels"),
            (json!({ "num_attention_heads": 5 }), "vision heads"),
        ],
    );
}
