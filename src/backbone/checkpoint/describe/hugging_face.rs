//! `config.json`, as transformers' `CLIPModel` reads it.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::keys::{GENERATION, MODEL, SUPERSEDED, TOWER};
use super::section::Section;
use super::{Description, processor, tokenizer};
use crate::backbone::{
    BackboneConfig, CheckpointLayout, TextConfig, TowerActivation, VisionConfig, VisionKind,
};
use crate::error::Result;

pub(super) fn read(folder: &Path) -> Result<Description> {
    let config = model(&folder.join("config.json"))?;
    Ok(Description {
        layout: CheckpointLayout::HuggingFace,
        preprocess: processor::read(folder)?,
        pad: Some(tokenizer::padding(folder, config.text.context, tokenizer::ANY)?),
        config,
    })
}

/// Keys that a file leaves out have transformers' defaults, those of ViT-B/32.
fn model(path: &Path) -> Result<BackboneConfig> {
    let mut file = Section::open(path)?;
    file.only("model_type", &["clip".into(), Value::Null], "clip, a model of an image and a text tower")?;
    plain(&mut file)?;
    let (mut vision, mut text) = (tower(&mut file, "vision")?, tower(&mut file, "text")?);
    let embed_dim = file.size("projection_dim")?.unwrap_or(512);
    file.finish(&[MODEL, GENERATION, &["eos_token_id"]])?;

    vision.only("num_channels", &[3.into()], "3 channels, red, green and blue")?;
    let image_size = vision.size("image_size")?.unwrap_or(224);
    let patch_size = vision.size("patch_size")?.unwrap_or(32);
    let Tower { width, heads, layers, mlp, epsilon, activation } = sizes(vision, [768, 12, 12, 3072])?;
    let kind = VisionKind::Vit { patch_size, layers, mlp, epsilon, activation };
    let vision = VisionConfig { image_size, width, heads, kind };

    let context = text.size("max_position_embeddings")?.unwrap_or(77);
    let vocabulary = text.size("vocab_size")?.unwrap_or(49408);
    let end = text.read("eos_token_id", "the id of one token", |id| id.as_u64()?.try_into().ok())?;
    // The first checkpoints say 2 and mean the largest id.
    let end = Some(end.unwrap_or(49407)).filter(|&id: &u32| id != 2);
    let Tower { width, heads, layers, mlp, epsilon, activation } = sizes(text, [512, 8, 12, 2048])?;
    let text = TextConfig { context, vocabulary, width, heads, layers, mlp, epsilon, activation, end };
    Ok(BackboneConfig { vision, text, embed_dim })
}

/// What would make other towers of the same sizes.
fn plain(section: &mut Section) -> Result<()> {
    section.off(&["quantization_config"], "none: weights of f32, f16 or bf16")?;
    section.off(&["pruned_heads", "per_layer_config"], "none: layers that are all alike")?;
    section.no_code()?;
    section.only("is_causal", &[true.into(), Value::Null], "true: texts that are read from their start")
}

/// The object of a tower. Where the older form stands beside it, that one counts and brings its defaults along, as in
/// transformers.
fn tower<'a>(file: &mut Section<'a>, name: &str) -> Result<Section<'a>> {
    let key = format!("{name}_config");
    let (newer, older) = (file.inner(&key)?, file.inner(&format!("{key}_dict"))?);
    let mut tower = match (newer, older) {
        (Some(mut newer), Some(older)) => {
            plain(&mut newer)?;
            newer.finish(&[MODEL, GENERATION, TOWER, SUPERSEDED])?;
            older
        }
        (None, Some(tower)) | (Some(tower), None) => tower,
        (None, None) => file.empty(&key),
    };
    plain(&mut tower)?;
    let model_type = format!("clip_{name}_model");
    let allowed = [model_type.as_str().into(), "clip".into(), "".into(), Value::Null];
    tower.only("model_type", &allowed, &model_type)?;
    Ok(tower)
}

/// What both towers have.
struct Tower {
    width: usize,
    heads: usize,
    layers: usize,
    mlp: usize,
    epsilon: f64,
    activation: TowerActivation,
}

fn sizes(mut tower: Section, [width, heads, layers, mlp]: [usize; 4]) -> Result<Tower> {
    let found = Tower {
        width: tower.size("hidden_size")?.unwrap_or(width),
        heads: tower.size("num_attention_heads")?.unwrap_or(heads),
        layers: tower.size("num_hidden_layers")?.unwrap_or(layers),
        mlp: tower.size("intermediate_size")?.unwrap_or(mlp),
        epsilon: tower.number("layer_norm_eps")?.unwrap_or(1e-5),
        activation: tower
            .read("hidden_act", "quick_gelu or gelu", |name| TowerActivation::deserialize(name).ok())?
            .unwrap_or(TowerActivation::QuickGelu),
    };
    tower.finish(&[MODEL, GENERATION, TOWER])?;
    Ok(found)
}
