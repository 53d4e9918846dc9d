//! What the JSON files beside a checkpoint's weights say, in each public layout.

use std::{fs, path::Path};

use serde::Deserialize;
use serde_json::Value;

use super::CheckpointLayout;
use crate::backbone::{BackboneConfig, TextConfig, TowerActivation, VisionConfig, VisionKind};
use crate::error::{Error, Result};
use crate::input::{CropRounding, Preprocess, Resampling};

/// What a file of weights is called in the layout of open_clip: as it writes it, and as the hub converts it.
pub(super) const OPEN_CLIP_WEIGHTS: [&str; 2] =
    ["open_clip_model.safetensors", "open_clip_pytorch_model.safetensors"];

/// Everything a checkpoint's JSON files say.
pub(in crate::backbone) struct Description {
    pub layout: CheckpointLayout,
    pub config: BackboneConfig,
    pub preprocess: Preprocess,
    /// The padding token; none where padding is id 0.
    pub pad: Option<String>,
}

pub(in crate::backbone) fn describe(folder: &Path) -> Result<Description> {
    let open_clip = folder.join("open_clip_config.json");
    // Some repositories hold both layouts' configurations, and safetensors of one.
    let weights = OPEN_CLIP_WEIGHTS.iter().any(|file| folder.join(file).exists());
    let description = if open_clip.exists() && (weights || !folder.join("config.json").exists()) {
        open_clip_layout(&open_clip)?
    } else {
        hugging_face_layout(folder)?
    };
    let Description { config, preprocess, .. } = &description;
    config.validate()?;
    preprocess.validate()?;
    if preprocess.crop != config.vision.image_size {
        let expected = format!("the image tower's {} pixels", config.vision.image_size);
        return Err(Error::setting("crop_size", expected, preprocess.crop));
    }
    Ok(description)
}

/// Images prepared in another way than ours would be encoded wrongly, without a word.
fn only(setting: &str, expected: &str, found: Option<String>) -> Result<()> {
    match found {
        Some(found) if found != expected => Err(Error::setting(setting, expected, found)),
        _ => Ok(()),
    }
}

fn json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).map_err(|source| Error::read(path, source))?;
    serde_json::from_str(&text)
        .map_err(|error| Error::malformed(path, "JSON", "a CLIP configuration", &error).because(error))
}

/// Keys that a file leaves out have transformers' defaults, those of ViT-B/32.
#[derive(Deserialize)]
#[serde(default)]
struct HuggingFaceTower {
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    hidden_act: TowerActivation,
    layer_norm_eps: f64,
    max_position_embeddings: usize,
    vocab_size: usize,
    eos_token_id: u32,
    image_size: usize,
    patch_size: usize,
}

impl Default for HuggingFaceTower {
    fn default() -> Self {
        Self {
            hidden_size: 512,
            intermediate_size: 2048,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            hidden_act: TowerActivation::QuickGelu,
            layer_norm_eps: 1e-5,
            max_position_embeddings: 77,
            vocab_size: 49408,
            eos_token_id: 49407,
            image_size: 224,
            patch_size: 32,
        }
    }
}

/// The vision tower's defaults differ where its keys are those of the text tower.
fn with_vision_defaults(mut tower: Value) -> Value {
    if let Some(tower) = tower.as_object_mut() {
        for (key, default) in [("hidden_size", 768), ("intermediate_size", 3072), ("num_attention_heads", 12)]
        {
            tower.entry(key).or_insert(default.into());
        }
    }
    tower
}

#[derive(Deserialize)]
struct HuggingFaceConfig {
    #[serde(default)]
    text_config: HuggingFaceTower,
    #[serde(default = "empty")]
    vision_config: Value,
    #[serde(default = "projection_dim")]
    projection_dim: usize,
}

fn empty() -> Value {
    Value::Object(Default::default())
}

fn projection_dim() -> usize {
    512
}

fn hugging_face_layout(folder: &Path) -> Result<Description> {
    let path = folder.join("config.json");
    let config: HuggingFaceConfig = json(&path)?;
    let vision: HuggingFaceTower = serde_json::from_value(with_vision_defaults(config.vision_config))
        .map_err(|error| {
            Error::malformed(path, "vision_config", "a CLIP image tower", &error).because(error)
        })?;
    let text = config.text_config;
    let config = BackboneConfig {
        vision: VisionConfig {
            image_size: vision.image_size,
            width: vision.hidden_size,
            heads: vision.num_attention_heads,
            kind: VisionKind::Vit {
                patch_size: vision.patch_size,
                layers: vision.num_hidden_layers,
                mlp: vision.intermediate_size,
                epsilon: vision.layer_norm_eps,
                activation: vision.hidden_act,
            },
        },
        text: TextConfig {
            context: text.max_position_embeddings,
            vocabulary: text.vocab_size,
            width: text.hidden_size,
            heads: text.num_attention_heads,
            layers: text.num_hidden_layers,
            mlp: text.intermediate_size,
            epsilon: text.layer_norm_eps,
            activation: text.hidden_act,
            // The first checkpoints say 2 and mean the largest id.
            end: (text.eos_token_id != 2).then_some(text.eos_token_id),
        },
        embed_dim: config.projection_dim,
    };
    let tokenizer: Value = json(&folder.join("tokenizer_config.json")).unwrap_or_default();
    let pad = match &tokenizer["pad_token"] {
        Value::String(token) => token.clone(),
        Value::Object(token) => {
            token.get("content").and_then(Value::as_str).unwrap_or("<|endoftext|>").into()
        }
        _ => "<|endoftext|>".into(),
    };
    Ok(Description {
        layout: CheckpointLayout::HuggingFace,
        preprocess: hugging_face_preprocess(
            &folder.join("preprocessor_config.json"),
            config.vision.image_size,
        )?,
        config,
        pad: Some(pad),
    })
}

/// `size` and `crop_size` are a number in old files, and an object in new ones.
fn hugging_face_preprocess(path: &Path, image_size: usize) -> Result<Preprocess> {
    #[derive(Deserialize)]
    struct Processor {
        image_processor_type: Option<String>,
        #[serde(default)]
        size: Value,
        #[serde(default)]
        crop_size: Value,
        resample: Option<u64>,
        image_mean: Option<[f32; 3]>,
        image_std: Option<[f32; 3]>,
    }
    let processor: Processor = json(path)?;
    only("resample", "3", processor.resample.map(|filter| filter.to_string()))?; // PIL's bicubic
    let pixels =
        |value: &Value, key: &str| value.as_u64().or_else(|| value[key].as_u64()).map(|side| side as usize);
    let by_pillow = processor.image_processor_type.is_some_and(|name| name.ends_with("Pil"));
    let default = Preprocess::default();
    Ok(Preprocess {
        resampling: if by_pillow { Resampling::Pillow } else { Resampling::Torchvision },
        resize: pixels(&processor.size, "shortest_edge").unwrap_or(image_size),
        crop: pixels(&processor.crop_size, "height").unwrap_or(image_size),
        rounding: CropRounding::Down,
        orient: false,
        mean: processor.image_mean.unwrap_or(default.mean),
        std: processor.image_std.unwrap_or(default.std),
    })
}

#[derive(Deserialize)]
struct OpenClipFile {
    model_cfg: OpenClipModel,
    #[serde(default)]
    preprocess_cfg: OpenClipPreprocess,
}

#[derive(Deserialize)]
struct OpenClipModel {
    embed_dim: usize,
    #[serde(default)]
    quick_gelu: bool,
    vision_cfg: OpenClipVision,
    text_cfg: OpenClipText,
}

#[derive(Deserialize)]
struct OpenClipVision {
    image_size: usize,
    layers: Value,
    width: usize,
    head_width: Option<usize>,
    mlp_ratio: Option<f64>,
    patch_size: Option<usize>,
}

#[derive(Deserialize)]
struct OpenClipText {
    context_length: Option<usize>,
    vocab_size: Option<usize>,
    width: usize,
    heads: usize,
    layers: usize,
    mlp_ratio: Option<f64>,
}

#[derive(Deserialize, Default)]
struct OpenClipPreprocess {
    mean: Option<[f32; 3]>,
    std: Option<[f32; 3]>,
    interpolation: Option<String>,
    resize_mode: Option<String>,
}

fn open_clip_layout(path: &Path) -> Result<Description> {
    let OpenClipFile { model_cfg: model, preprocess_cfg } = json(path)?;
    only("interpolation", "bicubic", preprocess_cfg.interpolation)?;
    only("resize_mode", "shortest", preprocess_cfg.resize_mode)?;
    let malformed = |part: &str, expected: &str, found: &Value| Error::malformed(path, part, expected, found);
    let activation = if model.quick_gelu { TowerActivation::QuickGelu } else { TowerActivation::Gelu };
    let mlp = |width: usize, ratio: Option<f64>| (width as f64 * ratio.unwrap_or(4.0)) as usize;
    let head_width = model.vision_cfg.head_width.unwrap_or(64).max(1);
    let vision = &model.vision_cfg;
    let (kind, heads) = match (&vision.layers, vision.patch_size) {
        (Value::Number(layers), Some(patch_size)) => {
            let layers =
                layers.as_u64().ok_or_else(|| malformed("layers", "a number", &vision.layers))? as usize;
            let mlp = mlp(vision.width, vision.mlp_ratio);
            (
                VisionKind::Vit { patch_size, layers, mlp, epsilon: 1e-5, activation },
                vision.width / head_width,
            )
        }
        (layers @ Value::Array(_), _) => {
            let layers = serde_json::from_value(layers.clone())
                .map_err(|_| malformed("layers", "four numbers of bottlenecks", layers))?;
            (VisionKind::ResNet { layers }, vision.width.saturating_mul(32) / head_width)
        }
        (layers, _) => return Err(malformed("vision_cfg", "a ViT's or a ResNet's layers", layers)),
    };
    let (text, default) = (&model.text_cfg, Preprocess::default());
    Ok(Description {
        layout: CheckpointLayout::OpenClip,
        config: BackboneConfig {
            vision: VisionConfig { image_size: vision.image_size, width: vision.width, heads, kind },
            text: TextConfig {
                context: text.context_length.unwrap_or(77),
                vocabulary: text.vocab_size.unwrap_or(49408),
                width: text.width,
                heads: text.heads,
                layers: text.layers,
                mlp: mlp(text.width, text.mlp_ratio),
                epsilon: 1e-5,
                activation,
                end: None,
            },
            embed_dim: model.embed_dim,
        },
        preprocess: Preprocess {
            resize: vision.image_size,
            crop: vision.image_size,
            resampling: Resampling::Pillow,
            rounding: CropRounding::HalfEven,
            orient: false,
            mean: preprocess_cfg.mean.unwrap_or(default.mean),
            std: preprocess_cfg.std.unwrap_or(default.std),
        },
        pad: None,
    })
}
