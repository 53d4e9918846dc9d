//! `open_clip_config.json`, as open_clip's `create_model` reads it.

use std::path::Path;

use serde_json::Value;

use super::keys::{OPEN_CLIP, OPEN_CLIP_PREPROCESS, OPEN_CLIP_TEXT, OPEN_CLIP_TOWER, OPEN_CLIP_VISION};
use super::section::{Section, channels, side, whole};
use super::{Description, tokenizer};
use crate::backbone::{
    BackboneConfig, CheckpointLayout, TextConfig, TowerActivation, VisionConfig, VisionKind,
};
use crate::error::Result;
use crate::input::{CropRounding, Preprocess, Resampling, ResizeMode};

pub(super) const CONFIG: &str = "open_clip_config.json";

pub(super) fn read(folder: &Path) -> Result<Description> {
    let path = folder.join(CONFIG);
    let mut file = Section::open(&path)?;
    let mut model = required(&mut file, "model_cfg")?;
    let preprocess = file.inner("preprocess_cfg")?.unwrap_or_else(|| file.empty("preprocess_cfg"));
    file.finish(&[])?;

    model.off(&["multimodal_cfg"], "none: a model without a tower that writes")?;
    model.only("init_logit_bias", &[Value::Null], "none: a model of cosines and a scale")?;
    let quick = model.flag("quick_gelu")?.unwrap_or(false);
    let activation = if quick { TowerActivation::QuickGelu } else { TowerActivation::Gelu };
    let vision = vision(required(&mut model, "vision_cfg")?, activation)?;
    let (text, pad) = text(required(&mut model, "text_cfg")?, activation, folder)?;
    let embed_dim = counted(&mut model, "embed_dim", None)?;
    model.finish(&[OPEN_CLIP])?;
    Ok(Description {
        layout: CheckpointLayout::OpenClip,
        preprocess: image_transform(preprocess, vision.image_size)?,
        config: BackboneConfig { vision, text, embed_dim },
        pad,
    })
}

fn required<'a>(section: &mut Section<'a>, key: &str) -> Result<Section<'a>> {
    section.inner(key)?.ok_or_else(|| section.wrong(key, "an object", "none"))
}

fn counted(section: &mut Section, key: &str, default: Option<usize>) -> Result<usize> {
    section.size(key)?.or(default).ok_or_else(|| section.wrong(key, "a whole number", "none"))
}

fn vision(mut vision: Section, activation: TowerActivation) -> Result<VisionConfig> {
    let what = "none: a plain vision transformer or ResNet";
    vision.off(&["timm_model_name", "attentional_pool", "no_ln_pre", "output_tokens"], what)?;
    vision.only("pool_type", &["tok".into()], "tok, the class token")?;
    vision.only("pos_embed_type", &["learnable".into(), "sin_cos_2d".into()], "learnable or sin_cos_2d")?;
    let epsilon = block(&mut vision)?;
    let width = counted(&mut vision, "width", Some(768))?;
    let head_width = counted(&mut vision, "head_width", Some(64))?;
    let mlp = mlp(&mut vision, width)?;
    let square = "a whole number, or two that are equal";
    let image_size = vision.read("image_size", square, side)?.unwrap_or(224);
    let layers = vision.take("layers").unwrap_or(12.into());
    let (kind, heads) = if let Value::Array(stages) = &layers {
        vision.take("patch_size"); // a ResNet has none
        let stages: Option<Vec<usize>> = stages.iter().map(whole).collect();
        let Some(Ok(layers)) = stages.map(<[usize; 4]>::try_from) else {
            return Err(vision.wrong("layers", "four numbers of bottlenecks", &layers));
        };
        (VisionKind::ResNet { layers }, width.saturating_mul(32).checked_div(head_width))
    } else {
        let patch_size = vision.read("patch_size", square, side)?.unwrap_or(16);
        let wrong =
            || vision.wrong("layers", "a ViT's number of blocks, or a ResNet's four of bottlenecks", &layers);
        let layers = whole(&layers).ok_or_else(wrong)?;
        (VisionKind::Vit { patch_size, layers, mlp, epsilon, activation }, width.checked_div(head_width))
    };
    vision.finish(&[OPEN_CLIP_TOWER, OPEN_CLIP_VISION])?;
    Ok(VisionConfig { image_size, width, heads: heads.unwrap_or(0), kind })
}

/// The text tower, and the padding token where it is none of open_clip's own tokenizer.
fn text(
    mut text: Section,
    activation: TowerActivation,
    folder: &Path,
) -> Result<(TextConfig, Option<String>)> {
    let what = "none: CLIP's own text transformer";
    text.off(&["hf_model_name", "embed_cls", "no_causal_mask", "proj_bias", "output_tokens"], what)?;
    text.only("pool_type", &["argmax".into()], "argmax, the token of the largest id")?;
    text.only("proj_type", &["linear".into()], "linear")?;
    // With a name the tokenizer is transformers', from the files beside this one: CLIP's own has the same tokens.
    let named = text.read("hf_tokenizer_name", "a name", |name| match name {
        Value::Null => Some(false),
        name => name.as_str().map(|name| !name.is_empty()),
    })?;
    let named = named.unwrap_or(false);
    text.off(&["tokenizer_mode"], "none")?;
    if let Some(mut tokenizer) = text.inner("tokenizer_kwargs")? {
        let clean = if named { "whitespace" } else { "lower" };
        tokenizer.only("clean", &[clean.into()], clean)?;
        tokenizer.off(&["reduction_mask", "additional_special_tokens", "strip_sep_token"], "none")?;
        tokenizer.finish(&[])?;
    }
    let epsilon = block(&mut text)?;
    let width = counted(&mut text, "width", Some(512))?;
    let found = TextConfig {
        context: counted(&mut text, "context_length", Some(77))?,
        vocabulary: counted(&mut text, "vocab_size", Some(49408))?,
        width,
        heads: counted(&mut text, "heads", Some(8))?,
        layers: counted(&mut text, "layers", Some(12))?,
        mlp: mlp(&mut text, width)?,
        epsilon,
        activation,
        end: None,
    };
    text.finish(&[OPEN_CLIP_TOWER, OPEN_CLIP_TEXT])?;
    let pad = named.then(|| tokenizer::padding(folder, found.context, tokenizer::CLIP)).transpose()?;
    Ok((found, pad))
}

/// The epsilon of the norms; a block that is not the plain one is refused.
fn block(tower: &mut Section) -> Result<f64> {
    let plain = "none: plain blocks of attention and MLP";
    let norms =
        ["qk_norm", "scaled_cosine_attn", "scale_heads", "scale_attn_inner", "scale_attn", "scale_fc"];
    tower.off(&norms, plain)?;
    tower.off(&["act_kwargs"], "none: GELU without its approximation")?;
    tower.only("ls_init_value", &[Value::Null], plain)?;
    tower.only("block_type", &["default".into(), Value::Null], "default")?;
    let Some(mut norm) = tower.inner("norm_kwargs")? else { return Ok(1e-5) };
    let epsilon = norm.number("eps")?.unwrap_or(1e-5);
    norm.finish(&[])?;
    Ok(epsilon)
}

fn mlp(tower: &mut Section, width: usize) -> Result<usize> {
    Ok((width as f64 * tower.number("mlp_ratio")?.unwrap_or(4.0)) as usize)
}

/// The side is the image tower's, whatever `size` says.
fn image_transform(preprocess: Section, side: usize) -> Result<Preprocess> {
    let mut preprocess = preprocess.without_nulls();
    preprocess.only("mode", &["RGB".into()], "RGB")?;
    // `random` is for training, and bicubic else.
    let filters = ["bicubic".into(), "random".into(), "".into()];
    preprocess.only("interpolation", &filters, "bicubic")?;
    let mode = preprocess.read("resize_mode", "shortest or squash", |mode| match mode.as_str()? {
        "shortest" | "" => Some(ResizeMode::Shortest),
        "squash" => Some(ResizeMode::Squash),
        _ => None,
    })?;
    let default = Preprocess::default();
    let mean = preprocess.read("mean", "three numbers", channels)?.unwrap_or(default.mean);
    let std = preprocess.read("std", "three numbers", channels)?.unwrap_or(default.std);
    preprocess.finish(&[OPEN_CLIP_PREPROCESS])?;
    Ok(Preprocess {
        resize: side,
        resize_mode: mode.unwrap_or_default(),
        crop: side,
        resampling: Resampling::Pillow,
        rounding: CropRounding::HalfEven,
        mean,
        std,
        ..default
    })
}
