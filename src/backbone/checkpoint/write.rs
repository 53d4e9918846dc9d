//! Writing a checkpoint as Hugging Face transformers does, with weights of 16 bits.

use std::{fs, path::Path};

use burn::{
    nn::{LayerNorm, Linear},
    tensor::Tensor,
};
use serde_json::{Value, json};

use super::describe::PROCESSOR_FILES;
use crate::archive::{ArchiveWriter, write_atomically};
use crate::backbone::{BackboneConfig, VisionKind};
use crate::error::{Error, Result};
use crate::input::{CropRounding, Preprocess, Resampling, ResizeMode};
use crate::numerics::transposed;

/// How the first checkpoints say that the largest id of a text ends it.
const LARGEST: u32 = 2;

/// The tensors of a checkpoint to be. Its methods undo what those of [`Weights`](super::Weights) do.
pub(in crate::backbone) struct Checkpoint {
    archive: ArchiveWriter<'static>,
}

impl Checkpoint {
    pub fn new() -> Self {
        Self { archive: ArchiveWriter::new("pt") }
    }

    /// A tensor as it is.
    pub fn tensor<const D: usize>(&mut self, name: &str, tensor: Tensor<D>) -> Result<()> {
        let shape = tensor.dims();
        self.add(name, &shape, host(tensor)?);
        Ok(())
    }

    /// A matrix `[columns, rows]` as `[rows, columns]`.
    pub fn transposed(&mut self, name: &str, matrix: Tensor<2>) -> Result<()> {
        let [columns, rows] = matrix.dims();
        self.add(name, &[rows, columns], transposed(&host(matrix)?, columns, rows));
        Ok(())
    }

    /// The patch projection `[3 side side, width]` as a convolution `[width, 3, side, side]`.
    pub fn patches(&mut self, name: &str, matrix: Tensor<2>, side: usize) -> Result<()> {
        let [inputs, width] = matrix.dims();
        self.add(name, &[width, 3, side, side], transposed(&host(matrix)?, inputs, width));
        Ok(())
    }

    /// A single value.
    pub fn scalar(&mut self, name: &str, tensor: Tensor<1>) -> Result<()> {
        self.add(name, &[], host(tensor)?);
        Ok(())
    }

    pub fn norm(&mut self, name: &str, norm: &LayerNorm) -> Result<()> {
        self.tensor(&format!("{name}.weight"), norm.gamma.val())?;
        match &norm.beta {
            Some(beta) => self.tensor(&format!("{name}.bias"), beta.val()),
            None => Ok(()),
        }
    }

    pub fn linear(&mut self, name: &str, linear: &Linear) -> Result<()> {
        self.transposed(&format!("{name}.weight"), linear.weight.val())?;
        match &linear.bias {
            Some(bias) => self.tensor(&format!("{name}.bias"), bias.val()),
            None => Ok(()),
        }
    }

    /// One layer `[width, 3 width]` as query, key and value.
    pub fn qkv(&mut self, prefix: &str, linear: &Linear) -> Result<()> {
        let [width, _] = linear.weight.val().dims();
        for (part, name) in ["q_proj", "k_proj", "v_proj"].into_iter().enumerate() {
            let name = format!("{prefix}.{name}");
            let weight = linear.weight.val().narrow(1, part * width, width);
            self.transposed(&format!("{name}.weight"), weight)?;
            if let Some(bias) = &linear.bias {
                self.tensor(&format!("{name}.bias"), bias.val().narrow(0, part * width, width))?;
            }
        }
        Ok(())
    }

    fn add(&mut self, name: &str, shape: &[usize], values: Vec<f32>) {
        self.archive.halves(name, shape, &values);
    }

    /// Writes weights and configurations; the tokenizer is the caller's.
    pub fn write(self, folder: &Path, config: &BackboneConfig, preprocess: &Preprocess) -> Result<()> {
        if config.text.end == Some(LARGEST) {
            return Err(Error::setting("end", "another id: this one stands for the largest", LARGEST));
        }
        fs::create_dir_all(folder).map_err(|source| Error::write(folder, source))?;
        self.archive.write(&folder.join("model.safetensors"))?;
        write_json(&folder.join("config.json"), &model(config))?;
        write_json(&folder.join(PROCESSOR_FILES[0]), &processor(preprocess))
    }
}

/// A tensor's values in its own order.
fn host<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    tensor.try_into_vec_as::<f32>().map_err(|error| Error::execution("reading weights", error))
}

fn write_json(path: &Path, json: &Value) -> Result<()> {
    let text = format!("{json:#}\n");
    write_atomically(path, |file| {
        file.write_all(text.as_bytes()).map_err(|source| Error::write(path, source))
    })
}

fn model(config: &BackboneConfig) -> Value {
    let (vision, text) = (&config.vision, &config.text);
    let mut tower = json!({
        "model_type": "clip_vision_model",
        "hidden_size": vision.width,
        "num_attention_heads": vision.heads,
        "image_size": vision.image_size,
        "num_channels": 3,
        "projection_dim": config.embed_dim,
    });
    if let VisionKind::Vit { patch_size, layers, mlp, epsilon, activation } = &vision.kind {
        tower["patch_size"] = json!(patch_size);
        tower["num_hidden_layers"] = json!(layers);
        tower["intermediate_size"] = json!(mlp);
        tower["layer_norm_eps"] = json!(epsilon);
        tower["hidden_act"] = json!(activation);
    }
    json!({
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": config.embed_dim,
        "vision_config": tower,
        "text_config": {
            "model_type": "clip_text_model",
            "hidden_size": text.width,
            "num_attention_heads": text.heads,
            "num_hidden_layers": text.layers,
            "intermediate_size": text.mlp,
            "layer_norm_eps": text.epsilon,
            "hidden_act": text.activation,
            "max_position_embeddings": text.context,
            "vocab_size": text.vocabulary,
            "eos_token_id": text.end.unwrap_or(LARGEST),
            "projection_dim": config.embed_dim,
        },
    })
}

/// What transformers' processor cannot do stands under a key of our own, so that it is read back all the same.
fn processor(preprocess: &Preprocess) -> Value {
    let default = Preprocess::default();
    let side = preprocess.resize;
    let mut processor = json!({
        "image_processor_type": match preprocess.resampling {
            Resampling::Pillow => "CLIPImageProcessorPil",
            Resampling::Torchvision => "CLIPImageProcessor",
        },
        "do_resize": true,
        "size": match preprocess.resize_mode {
            ResizeMode::Shortest => json!({ "shortest_edge": side }),
            ResizeMode::Squash => json!({ "height": side, "width": side }),
        },
        "resample": 3,
        "do_center_crop": true,
        "crop_size": { "height": preprocess.crop, "width": preprocess.crop },
        "do_rescale": true,
        "rescale_factor": match preprocess.rescale {
            factor if factor == default.rescale => 1.0 / 255.0, // as transformers writes it
            factor => f64::from(factor),
        },
        "do_normalize": true,
        "do_convert_rgb": true,
        "image_mean": preprocess.mean,
        "image_std": preprocess.std,
    });
    let mut own = serde_json::Map::new();
    if preprocess.rounding == CropRounding::HalfEven {
        own.insert("rounding".into(), "half_even".into());
    }
    if preprocess.orient {
        own.insert("orient".into(), true.into());
    }
    if !own.is_empty() {
        processor["_clip_adapter"] = own.into();
    }
    processor
}
