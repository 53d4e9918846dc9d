/// Which program's names a checkpoint's files and tensors have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckpointLayout {
    /// Hugging Face transformers: `config.json`, `model.safetensors` or an index of shards.
    HuggingFace,
    /// OpenAI, open_clip and timm: `open_clip_config.json`, `open_clip_model.safetensors`.
    OpenClip,
}

pub(in crate::backbone) struct VisionNames {
    pub patch: &'static str,
    pub class: &'static str,
    pub position: &'static str,
    pub pre_norm: &'static str,
    pub post_norm: &'static str,
    pub projection: &'static str,
}

pub(in crate::backbone) struct TextNames {
    pub token: &'static str,
    pub position: &'static str,
    pub final_norm: &'static str,
    pub projection: &'static str,
}

pub(in crate::backbone) struct BlockNames {
    pub norm1: String,
    pub norm2: String,
    pub attention: String,
    pub fc1: String,
    pub fc2: String,
}

/// The names of tensors:
///
/// | Part | Hugging Face | open_clip |
/// | --- | --- | --- |
/// | image blocks | `vision_model.encoder.layers.N` | `visual.transformer.resblocks.N` |
/// | text blocks | `text_model.encoder.layers.N` | `transformer.resblocks.N` |
/// | attention | `self_attn.{q,k,v,out}_proj` | `attn.in_proj_weight`, `attn.out_proj` |
/// | projections | `[out, in]` | `[in, out]` |
impl CheckpointLayout {
    pub(in crate::backbone) fn vision(self) -> VisionNames {
        match self {
            Self::HuggingFace => VisionNames {
                patch: "vision_model.embeddings.patch_embedding.weight",
                class: "vision_model.embeddings.class_embedding",
                position: "vision_model.embeddings.position_embedding.weight",
                pre_norm: "vision_model.pre_layrnorm", // sic
                post_norm: "vision_model.post_layernorm",
                projection: "visual_projection.weight",
            },
            Self::OpenClip => VisionNames {
                patch: "visual.conv1.weight",
                class: "visual.class_embedding",
                position: "visual.positional_embedding",
                pre_norm: "visual.ln_pre",
                post_norm: "visual.ln_post",
                projection: "visual.proj",
            },
        }
    }

    pub(in crate::backbone) fn text(self) -> TextNames {
        match self {
            Self::HuggingFace => TextNames {
                token: "text_model.embeddings.token_embedding.weight",
                position: "text_model.embeddings.position_embedding.weight",
                final_norm: "text_model.final_layer_norm",
                projection: "text_projection.weight",
            },
            Self::OpenClip => TextNames {
                token: "token_embedding.weight",
                position: "positional_embedding",
                final_norm: "ln_final",
                projection: "text_projection",
            },
        }
    }

    pub(in crate::backbone) fn vision_block(self, index: usize) -> BlockNames {
        match self {
            Self::HuggingFace => self.block(format!("vision_model.encoder.layers.{index}")),
            Self::OpenClip => self.block(format!("visual.transformer.resblocks.{index}")),
        }
    }

    pub(in crate::backbone) fn text_block(self, index: usize) -> BlockNames {
        match self {
            Self::HuggingFace => self.block(format!("text_model.encoder.layers.{index}")),
            Self::OpenClip => self.block(format!("transformer.resblocks.{index}")),
        }
    }

    fn block(self, prefix: String) -> BlockNames {
        let [norm1, norm2, attention, fc1, fc2] = match self {
            Self::HuggingFace => ["layer_norm1", "layer_norm2", "self_attn", "mlp.fc1", "mlp.fc2"],
            Self::OpenClip => ["ln_1", "ln_2", "attn", "mlp.c_fc", "mlp.c_proj"],
        }
        .map(|name| format!("{prefix}.{name}"));
        BlockNames { norm1, norm2, attention, fc1, fc2 }
    }

    /// Tensors that carry no weight: buffers that some writers save along.
    pub(super) fn is_ignored(name: &str) -> bool {
        ["position_ids", "num_batches_tracked", "attn_mask"].iter().any(|buffer| name.ends_with(buffer))
    }
}
