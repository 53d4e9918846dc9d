//! A checkpoint of random weights in the layout of Hugging Face, so that a tower's speed can be measured without a
//! download.

use std::{fmt, fs, io, path::Path};

use clap::ValueEnum;
use clip_adapter::{Error, Result};
use half::f16;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::{Dtype, tensor::TensorView};
use serde_json::json;

/// A vocabulary of 554 tokens.
const TOKENIZER: &str = include_str!("../../tests/golden/hf_gelu_patch14/tokenizer.json");
const VOCABULARY: usize = 554;
const CONTEXT: usize = 77;

/// The image towers that OpenAI published, and one that is tried out in a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Size {
    /// 2 layers of width 64 on 32 x 32 pixels
    Tiny,
    /// 12 layers of width 768 on 7 x 7 patches
    #[value(name = "vit-b-32")]
    VitB32,
    /// 12 layers of width 768 on 14 x 14 patches
    #[value(name = "vit-b-16")]
    VitB16,
    /// 24 layers of width 1024 on 16 x 16 patches
    #[value(name = "vit-l-14")]
    VitL14,
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tiny => "tiny",
            Self::VitB32 => "vit-b-32",
            Self::VitB16 => "vit-b-16",
            Self::VitL14 => "vit-l-14",
        })
    }
}

struct Tower {
    width: usize,
    layers: usize,
    heads: usize,
}

/// The image tower with its sides of image and patch in pixels, and the width of an embedding.
fn sizes(size: Size) -> (Tower, [usize; 2], usize) {
    match size {
        Size::Tiny => (Tower { width: 64, layers: 2, heads: 4 }, [32, 8], 32),
        Size::VitB32 => (Tower { width: 768, layers: 12, heads: 12 }, [224, 32], 512),
        Size::VitB16 => (Tower { width: 768, layers: 12, heads: 12 }, [224, 16], 512),
        Size::VitL14 => (Tower { width: 1024, layers: 24, heads: 16 }, [224, 14], 768),
    }
}

/// Writes a checkpoint into a folder. Its text tower is one small layer.
pub fn write(size: Size, folder: &Path) -> Result<()> {
    let (vision, [image, patch], dim) = sizes(size);
    let text = Tower { width: 64, layers: 1, heads: 4 };
    let tower = |tower: &Tower| {
        json!({
            "hidden_size": tower.width, "intermediate_size": 4 * tower.width, "num_hidden_layers": tower.layers,
            "num_attention_heads": tower.heads, "image_size": image, "patch_size": patch,
            "vocab_size": VOCABULARY, "eos_token_id": VOCABULARY - 1, "max_position_embeddings": CONTEXT,
        })
    };
    let config =
        json!({ "projection_dim": dim, "vision_config": tower(&vision), "text_config": tower(&text) });
    for (name, content) in [
        ("config.json", config.to_string()),
        ("preprocessor_config.json", json!({ "size": image, "crop_size": image }).to_string()),
        ("tokenizer.json", TOKENIZER.into()),
    ] {
        let path = folder.join(name);
        fs::write(&path, content).map_err(|source| Error::write(&path, source))?;
    }

    let mut weights = Weights { random: ChaCha8Rng::seed_from_u64(0), tensors: Vec::new() };
    let patches = (image / patch) * (image / patch);
    weights.draw("vision_model.embeddings.class_embedding", &[vision.width]);
    weights.draw("vision_model.embeddings.patch_embedding.weight", &[vision.width, 3, patch, patch]);
    weights.draw("vision_model.embeddings.position_embedding.weight", &[patches + 1, vision.width]);
    weights.norm("vision_model.pre_layrnorm", vision.width);
    weights.blocks("vision_model", &vision);
    weights.norm("vision_model.post_layernorm", vision.width);
    weights.draw("visual_projection.weight", &[dim, vision.width]);
    weights.draw("text_model.embeddings.token_embedding.weight", &[VOCABULARY, text.width]);
    weights.draw("text_model.embeddings.position_embedding.weight", &[CONTEXT, text.width]);
    weights.blocks("text_model", &text);
    weights.norm("text_model.final_layer_norm", text.width);
    weights.draw("text_projection.weight", &[dim, text.width]);
    weights.constant("logit_scale", &[], 100f32.ln());
    weights.write(&folder.join("model.safetensors"))
}

/// Tensors to be written, as f16.
struct Weights {
    random: ChaCha8Rng,
    tensors: Vec<(String, Vec<usize>, Vec<u8>)>,
}

impl Weights {
    fn push(&mut self, name: &str, shape: &[usize], mut value: impl FnMut(&mut ChaCha8Rng) -> f32) {
        let count: usize = shape.iter().product();
        let random = &mut self.random;
        let bytes = (0..count).flat_map(|_| f16::from_f32(value(random)).to_le_bytes()).collect();
        self.tensors.push((name.to_owned(), shape.to_vec(), bytes));
    }

    /// As PyTorch initialises a layer: within one over the root of the number of inputs.
    fn draw(&mut self, name: &str, shape: &[usize]) {
        let bound = 1.0 / (shape[1..].iter().product::<usize>() as f32).sqrt();
        self.push(name, shape, |random| random.random_range(-bound..bound));
    }

    fn constant(&mut self, name: &str, shape: &[usize], value: f32) {
        self.push(name, shape, |_| value);
    }

    fn norm(&mut self, name: &str, width: usize) {
        self.constant(&format!("{name}.weight"), &[width], 1.0);
        self.constant(&format!("{name}.bias"), &[width], 0.0);
    }

    fn blocks(&mut self, model: &str, tower: &Tower) {
        let width = tower.width;
        for layer in 0..tower.layers {
            let block = format!("{model}.encoder.layers.{layer}");
            self.norm(&format!("{block}.layer_norm1"), width);
            self.norm(&format!("{block}.layer_norm2"), width);
            for (name, [inputs, outputs]) in [
                ("self_attn.q_proj", [width, width]),
                ("self_attn.k_proj", [width, width]),
                ("self_attn.v_proj", [width, width]),
                ("self_attn.out_proj", [width, width]),
                ("mlp.fc1", [width, 4 * width]),
                ("mlp.fc2", [4 * width, width]),
            ] {
                self.draw(&format!("{block}.{name}.weight"), &[outputs, inputs]);
                self.constant(&format!("{block}.{name}.bias"), &[outputs], 0.0);
            }
        }
    }

    fn write(&self, path: &Path) -> Result<()> {
        let failed = |error| Error::write(path, io::Error::other(error));
        let mut views = Vec::with_capacity(self.tensors.len());
        for (name, shape, bytes) in &self.tensors {
            views.push((name, TensorView::new(Dtype::F16, shape.clone(), bytes).map_err(failed)?));
        }
        safetensors::serialize_to_file(views, None, path).map_err(failed)
    }
}
