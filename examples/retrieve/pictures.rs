//! Pairs of pictures with the names of their files.

use std::path::{Path, PathBuf};

use clip_adapter::{
    ClipBackbone, Result,
    burn::tensor::Device,
    features::{PairFile, Pairs},
    input::readable,
};

use crate::cli::{folders, pocket};

/// The pictures of a folder of folders: `tool/bow-and-arrow.png` is called `bow and arrow`.
pub fn by_name(folder: &Path, backbone: Option<&PathBuf>, device: &Device) -> Result<PairFile> {
    let pictures = folders::open(folder)?;
    let clip =
        ClipBackbone::from_pretrained(backbone.cloned().unwrap_or_else(|| pocket::path("model")), device)?;
    let names: Vec<String> = (pictures.files().iter())
        .map(|file| file.file_stem().unwrap_or_default().to_string_lossy().replace(['-', '_'], " "))
        .collect();
    let (images, texts) = (clip.encode_images(pictures.files())?, clip.encode_texts(&names)?);
    let own = (0..names.len()).collect();
    let pairs = Pairs::new(images, texts, own, clip.logit_scale(), clip.identity())?
        .with_image_names(pictures.files().iter().map(readable))?
        .with_captions(names)?;
    Ok(PairFile::new(readable(folder), pairs))
}
