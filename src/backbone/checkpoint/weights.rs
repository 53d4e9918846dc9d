//! Tensors of a checkpoint, one at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use burn::{
    module::Param,
    nn::Linear,
    tensor::{Device, Tensor, TensorData},
};
use safetensors::Dtype;
use sha2::{Digest, Sha256};

use super::{CheckpointLayout, Initial, quantised::ORIGIN};
use crate::archive::{Archive, decode_floats};
use crate::error::{Error, Result};
use crate::fingerprint::short_hex;
use crate::numerics::transposed;

/// Behind the name of a tensor of eight bits: its scales, one for each row.
pub(super) const LEVEL_SCALES: &str = ".scales";

/// The tensors of one checkpoint, or of none: then they are drawn. What is missing or misshapen is noted, and the tower
/// built all the same, of nothing: [`finish`](Self::finish) then names all of it at once, and the tower is dropped.
pub(in crate::backbone) struct Weights {
    files: Vec<Archive>,
    places: BTreeMap<String, usize>, // the file of each tensor
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
            let file = Archive::open(path)?;
            for name in file.names() {
                if let Some(other) = weights.places.insert(name.to_owned(), weights.files.len()) {
                    let other = weights.files[other].path().display();
                    return Err(file.malformed(name, "to be in one file", format!("it in {other} too")));
                }
            }
            weights.files.push(file);
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
            places: BTreeMap::new(),
            used: BTreeSet::new(),
            missing: Vec::new(),
            misshapen: Vec::new(),
            failure: None,
            digest: Sha256::new(),
            initial,
            device: device.clone(),
        }
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    pub fn contains(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
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

    /// A projection `[width, dim]`, which the layouts lay out differently.
    pub fn projection(
        &mut self,
        layout: CheckpointLayout,
        name: &str,
        width: usize,
        dim: usize,
    ) -> Tensor<2> {
        match layout {
            CheckpointLayout::HuggingFace => self.transposed(name, dim, width),
            CheckpointLayout::OpenClip => self.tensor(name, [width, dim]),
        }
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

    /// The one value of a tensor without dimensions, or of one of a single element.
    pub fn scalar(&mut self, name: &str) -> f32 {
        let file = self.places.get(name).map(|&file| &self.files[file]);
        let place = file.and_then(|file| file.place(name));
        let shape: &[usize] = if place.is_some_and(|place| place.shape == [1]) { &[1] } else { &[] };
        self.values(name, shape).and_then(|values| values.first().copied()).unwrap_or_default()
    }

    /// Whether nothing was missing or misshapen so far.
    pub fn is_sound(&self) -> bool {
        self.missing.is_empty() && self.misshapen.is_empty() && self.failure.is_none()
    }

    fn values(&mut self, name: &str, shape: &[usize]) -> Option<Vec<f32>> {
        if let Some(initial) = &mut self.initial {
            return Some(initial.values(name, shape));
        }
        let file = self.places.get(name).map(|&file| &self.files[file]);
        let Some((file, place)) = file.and_then(|file| Some((file, file.place(name)?))) else {
            self.missing.push(name.to_owned());
            return None;
        };
        let (dtype, scales) = (place.dtype, format!("{name}{LEVEL_SCALES}"));
        self.used.insert(name.to_owned());
        if dtype == Dtype::I8 && self.places.contains_key(&scales) {
            self.used.insert(scales.clone());
        }
        if place.shape != shape {
            self.misshapen.push(format!("{name}: expected {shape:?}, found {:?}", place.shape));
            return None;
        }
        if !(self.missing.is_empty() && self.misshapen.is_empty() && self.failure.is_none()) {
            return None; // the report is all that is still wanted
        }
        let bytes = match file.read(place) {
            Ok(bytes) => bytes,
            Err(failure) => {
                self.failure = Some(failure);
                return None;
            }
        };
        self.digest.update(name);
        self.digest.update(&bytes);
        let decoded = match dtype {
            Dtype::I8 if self.places.contains_key(&scales) => {
                let rows = shape.first().copied().unwrap_or(1);
                let scales = self.values(&scales, &[rows])?;
                Some(levels_of_rows(&bytes, &scales))
            }
            _ => decode_floats(dtype, &bytes),
        };
        let wrong = match decoded {
            None => format!("f32, f16 or bf16, found {dtype:?}"),
            Some(values) => match values.iter().find(|value| !value.is_finite()) {
                None => return Some(values),
                Some(value) => format!("finite values, found {value}"), // a fine-tuning that overflowed
            },
        };
        self.misshapen.push(format!("{name}: expected {wrong}"));
        None
    }

    /// A digest of every tensor read, of those that they were before they had eight bits, or what is wrong with the
    /// checkpoint.
    pub fn finish(self, folder: &Path) -> Result<String> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let unused =
            self.names().filter(|name| !self.used.contains(*name) && !CheckpointLayout::is_ignored(name));
        let unused: Vec<String> = unused.map(str::to_owned).collect();
        if self.missing.is_empty() && self.misshapen.is_empty() && unused.is_empty() {
            let origin = self.files.iter().find_map(|file| file.metadata().get(ORIGIN));
            return Ok(origin.map_or_else(|| short_hex(self.digest), Clone::clone));
        }
        Err(Error::Weights { path: folder.into(), missing: self.missing, misshapen: self.misshapen, unused })
    }
}

/// The numbers that levels stand for, with a scale for each row.
fn levels_of_rows(levels: &[u8], scales: &[f32]) -> Vec<f32> {
    let rows = levels.chunks_exact((levels.len() / scales.len().max(1)).max(1)).zip(scales);
    rows.flat_map(|(row, scale)| row.iter().map(move |&level| f32::from(level.cast_signed()) * scale))
        .collect()
}
