//! Tensors of a checkpoint, one at a time, and the names they have in each public layout.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use burn::{
    module::Param,
    nn::Linear,
    tensor::{Device, Tensor, TensorData},
};
use safetensors::{Dtype, tensor::Metadata};
use sha2::{Digest, Sha256};

use super::initial::Initial;
use crate::{
    Error, Result,
    archive::{decode_floats, transposed},
    fingerprint::short_hex,
};

/// The largest header a file may declare: ten times that of the largest public CLIP.
const MAX_HEADER: u64 = 10_000_000;

/// Who wrote a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// Hugging Face transformers: `config.json`, `model.safetensors` or an index of shards.
    HuggingFace,
    /// OpenAI, open_clip and timm: `open_clip_config.json`, `open_clip_model.safetensors`.
    OpenClip,
}

pub(super) struct VisionNames {
    pub patch: &'static str,
    pub class: &'static str,
    pub position: &'static str,
    pub pre_norm: &'static str,
    pub post_norm: &'static str,
}

pub(super) struct TextNames {
    pub token: &'static str,
    pub position: &'static str,
    pub final_norm: &'static str,
}

pub(super) struct BlockNames {
    pub norm1: String,
    pub norm2: String,
    pub attention: String,
    pub fc1: String,
    pub fc2: String,
}

/// | Part | Hugging Face | open_clip |
/// | --- | --- | --- |
/// | image blocks | `vision_model.encoder.layers.N` | `visual.transformer.resblocks.N` |
/// | text blocks | `text_model.encoder.layers.N` | `transformer.resblocks.N` |
/// | attention | `self_attn.{q,k,v,out}_proj` | `attn.in_proj_weight`, `attn.out_proj` |
/// | projections | `[out, in]` | `[in, out]` |
impl Layout {
    pub fn vision(self) -> VisionNames {
        match self {
            Self::HuggingFace => VisionNames {
                patch: "vision_model.embeddings.patch_embedding.weight",
                class: "vision_model.embeddings.class_embedding",
                position: "vision_model.embeddings.position_embedding.weight",
                pre_norm: "vision_model.pre_layrnorm", // sic
                post_norm: "vision_model.post_layernorm",
            },
            Self::OpenClip => VisionNames {
                patch: "visual.conv1.weight",
                class: "visual.class_embedding",
                position: "visual.positional_embedding",
                pre_norm: "visual.ln_pre",
                post_norm: "visual.ln_post",
            },
        }
    }

    pub fn text(self) -> TextNames {
        match self {
            Self::HuggingFace => TextNames {
                token: "text_model.embeddings.token_embedding.weight",
                position: "text_model.embeddings.position_embedding.weight",
                final_norm: "text_model.final_layer_norm",
            },
            Self::OpenClip => TextNames {
                token: "token_embedding.weight",
                position: "positional_embedding",
                final_norm: "ln_final",
            },
        }
    }

    pub fn vision_block(self, index: usize) -> BlockNames {
        match self {
            Self::HuggingFace => self.block(format!("vision_model.encoder.layers.{index}")),
            Self::OpenClip => self.block(format!("visual.transformer.resblocks.{index}")),
        }
    }

    pub fn text_block(self, index: usize) -> BlockNames {
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
    fn is_ignored(name: &str) -> bool {
        ["position_ids", "num_batches_tracked", "attn_mask"].iter().any(|buffer| name.ends_with(buffer))
    }
}

struct Entry {
    file: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    start: u64,
    bytes: usize,
}

/// The tensors of one checkpoint, or of none: then they are drawn. What is missing or misshapen is noted, and the tower built all the same, of
/// nothing: [`finish`](Self::finish) then names all of it at once, and the tower is dropped.
pub(super) struct Weights {
    files: Vec<(PathBuf, File)>,
    entries: BTreeMap<String, Entry>,
    used: BTreeSet<String>,
    missing: Vec<String>,
    misshapen: Vec<String>,
    failure: Option<Error>,
    digest: Sha256,
    initial: Option<Initial>,
    device: Device,
}

impl Weights {
    /// Reads the headers of all files, which together are one checkpoint.
    pub fn open(paths: &[PathBuf], device: &Device) -> Result<Self> {
        let mut weights = Self::of(None, device);
        for path in paths {
            weights.add(path)?;
        }
        Ok(weights)
    }

    /// No files: every tensor is drawn when a tower asks for it.
    pub fn random(initial: Initial, device: &Device) -> Self {
        Self::of(Some(initial), device)
    }

    fn of(initial: Option<Initial>, device: &Device) -> Self {
        Self {
            files: Vec::new(),
            entries: BTreeMap::new(),
            used: BTreeSet::new(),
            missing: Vec::new(),
            misshapen: Vec::new(),
            failure: None,
            digest: Sha256::new(),
            initial,
            device: device.clone(),
        }
    }

    fn add(&mut self, path: &Path) -> Result<()> {
        let read = |source| Error::Read { path: path.into(), source };
        let malformed = |expected: &str, found: String| Error::Malformed {
            path: path.into(),
            part: "header".into(),
            expected: expected.into(),
            found,
        };
        let mut file = File::open(path).map_err(read)?;
        let size = file.metadata().map_err(read)?.len();
        let mut length = [0; 8];
        file.read_exact(&mut length)
            .map_err(|_| malformed("a whole safetensors file", format!("{size} bytes")))?;
        let length = u64::from_le_bytes(length);
        if length > MAX_HEADER || length + 8 > size {
            return Err(malformed("one that fits into the file", format!("a length of {length} bytes")));
        }
        let mut header = vec![0; length as usize];
        file.read_exact(&mut header).map_err(read)?;
        let header: Metadata =
            serde_json::from_slice(&header).map_err(|e| malformed("safetensors' JSON", e.to_string()))?;
        let data = header.data_len() as u64;
        if data != size - 8 - length {
            return Err(malformed(&format!("{} bytes of tensors", size - 8 - length), format!("{data}")));
        }
        let index = self.files.len();
        for (name, info) in header.tensors() {
            let (start, end) = info.data_offsets;
            let entry = Entry {
                file: index,
                dtype: info.dtype,
                shape: info.shape.clone(),
                start: 8 + length + start as u64,
                bytes: end - start,
            };
            self.entries.insert(name, entry);
        }
        self.files.push((path.into(), file));
        Ok(())
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    pub fn contains(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// A tensor of this shape, as f32.
    pub fn tensor<const D: usize>(&mut self, name: &str, shape: [usize; D]) -> Tensor<D> {
        match self.values(name, &shape) {
            Some(values) => Tensor::from_data(TensorData::new(values, shape), &self.device),
            // Takes no memory, whatever a configuration claims.
            None => Tensor::<D>::zeros([1; D], &self.device).expand(shape),
        }
    }

    /// A matrix `[rows, columns]` of the file as `[columns, rows]`, laid out so.
    pub fn transposed(&mut self, name: &str, rows: usize, columns: usize) -> Tensor<2> {
        self.turned(name, &[rows, columns])
    }

    /// A kernel `[width, channels, height, width]` of the file as a matrix `[channels height width, width]`.
    pub fn kernel(&mut self, name: &str, shape: [usize; 4]) -> Tensor<2> {
        self.turned(name, &shape)
    }

    fn turned(&mut self, name: &str, shape: &[usize]) -> Tensor<2> {
        let (rows, columns) = (shape[0], shape[1..].iter().product());
        let Some(values) = self.values(name, shape) else {
            return Tensor::<2>::zeros([1; 2], &self.device).expand([columns, rows]);
        };
        let turned = transposed(&values, rows, columns);
        Tensor::from_data(TensorData::new(turned, [columns, rows]), &self.device)
    }

    /// Query, key and value as one layer `[width, 3 width]`, whether the file has them apart or fused.
    pub fn qkv(&mut self, prefix: &str, width: usize) -> Linear {
        let fused = format!("{prefix}.in_proj_weight");
        let (weight, bias) = if self.contains(&fused) {
            (
                self.transposed(&fused, 3 * width, width),
                self.tensor(&format!("{prefix}.in_proj_bias"), [3 * width]),
            )
        } else {
            let names = ["q_proj", "k_proj", "v_proj"].map(|name| format!("{prefix}.{name}"));
            let parts = names.clone().map(|name| self.transposed(&format!("{name}.weight"), width, width));
            let biases = names.map(|name| self.tensor(&format!("{name}.bias"), [width]));
            if !self.is_sound() {
                let nothing = Tensor::<2>::zeros([1; 2], &self.device);
                return Linear { weight: Param::from_tensor(nothing), bias: None };
            }
            (Tensor::cat(parts.into(), 1), Tensor::cat(biases.into(), 0))
        };
        Linear { weight: Param::from_tensor(weight), bias: Some(Param::from_tensor(bias)) }
    }

    /// The one value of a tensor of any shape.
    pub fn scalar(&mut self, name: &str) -> f32 {
        let shape = self.entries.get(name).map(|entry| entry.shape.clone()).unwrap_or_default();
        self.values(name, &shape).and_then(|values| values.first().copied()).unwrap_or_default()
    }

    /// Whether nothing was missing or misshapen so far.
    pub fn is_sound(&self) -> bool {
        self.missing.is_empty() && self.misshapen.is_empty() && self.failure.is_none()
    }

    fn values(&mut self, name: &str, shape: &[usize]) -> Option<Vec<f32>> {
        if let Some(initial) = &mut self.initial {
            return Some(initial.values(name, shape));
        }
        let Some(entry) = self.entries.get(name) else {
            self.missing.push(name.to_owned());
            return None;
        };
        self.used.insert(name.to_owned());
        if entry.shape != shape {
            self.misshapen.push(format!("{name}: expected {shape:?}, found {:?}", entry.shape));
            return None;
        }
        if !self.is_sound() {
            return None; // the report is all that is still wanted
        }
        let entry = &self.entries[name];
        let (path, file) = &mut self.files[entry.file];
        let mut bytes = vec![0; entry.bytes];
        let read: io::Result<()> =
            file.seek(SeekFrom::Start(entry.start)).and_then(|_| file.read_exact(&mut bytes));
        if let Err(source) = read {
            self.failure = Some(Error::Read { path: path.clone(), source });
            return None;
        }
        self.digest.update(name);
        self.digest.update(&bytes);
        let (dtype, values) = (entry.dtype, decode_floats(entry.dtype, &bytes));
        if values.is_none() {
            self.misshapen.push(format!("{name}: expected f32, f16 or bf16, found {dtype:?}"));
        }
        values
    }

    /// A digest of every tensor read, or what is wrong with the checkpoint.
    pub fn finish(self, folder: &Path) -> Result<String> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let unused: Vec<String> = self
            .entries
            .into_keys()
            .filter(|name| !self.used.contains(name) && !Layout::is_ignored(name))
            .collect();
        if self.missing.is_empty() && self.misshapen.is_empty() && unused.is_empty() {
            return Ok(short_hex(self.digest));
        }
        Err(Error::Weights { path: folder.into(), missing: self.missing, misshapen: self.misshapen, unused })
    }
}
