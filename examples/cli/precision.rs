//! What the towers compute in, as a flag.

use std::path::Path;

use clap::Args;
use clip_adapter::{ClipBackbone, Result, backbone::Precision, burn::tensor::Device};

#[derive(Args)]
pub struct InPrecision {
    /// What the towers compute in: f32, f16, bf16 or int8; without it as the checkpoint is
    #[arg(long, value_name = "NAME")]
    precision: Option<Precision>,
}

impl InPrecision {
    pub fn open(&self, backbone: impl AsRef<Path>, device: &Device) -> Result<ClipBackbone> {
        match self.precision {
            Some(precision) => ClipBackbone::from_pretrained_in(backbone, precision, device),
            None => ClipBackbone::from_pretrained(backbone, device),
        }
    }
}
