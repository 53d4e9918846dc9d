//! From what a user names, a folder or a repository of the hub, to the folder that is loaded.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::{CheckpointLayout, describe::OPEN_CLIP_WEIGHTS};
use crate::archive::stand_in;
use crate::error::{Error, Result};

/// The folder of a checkpoint. What is neither there nor named as on the hub comes back as it is: the first file
/// that is read reports it.
pub(in crate::backbone) fn locate(named: &Path) -> Result<PathBuf> {
    match named.to_str() {
        Some(repository) if !named.exists() && is_repository(repository) => fetch(repository),
        _ => Ok(named.into()),
    }
}

#[cfg(feature = "hub")]
fn fetch(repository: &str) -> Result<PathBuf> {
    super::Hub::default().fetch(repository)
}

#[cfg(not(feature = "hub"))]
fn fetch(repository: &str) -> Result<PathBuf> {
    Err(Error::HubDisabled { repository: repository.into() })
}

/// `org/name`, in the letters that the hub allows.
fn is_repository(text: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter))
    };
    text.split_once('/').is_some_and(|(owner, name)| is_part(owner) && is_part(name))
}

/// One file, or the shards that an index names.
pub(in crate::backbone) fn weight_files(folder: &Path, layout: CheckpointLayout) -> Result<Vec<PathBuf>> {
    let single = match layout {
        CheckpointLayout::HuggingFace => folder.join("model.safetensors"),
        CheckpointLayout::OpenClip => {
            let [usual, converted] = OPEN_CLIP_WEIGHTS.map(|file| folder.join(file));
            if converted.exists() && !usual.exists() { converted } else { usual }
        }
    };
    let index = folder.join("model.safetensors.index.json");
    if single.exists() || !index.exists() {
        return Ok(vec![single]);
    }
    let malformed =
        |found: String| Error::malformed(&index, "weight_map", "names of files in the same folder", found);
    let text = fs::read_to_string(&index).map_err(|source| Error::read(&index, source))?;
    let json: serde_json::Value = serde_json::from_str(&text).map_err(|error| {
        malformed(stand_in(text.as_bytes()).map_or(error.to_string(), Into::into)).because(error)
    })?;
    let map = json["weight_map"].as_object().ok_or_else(|| malformed("none".into()))?;
    let mut shards = BTreeSet::new();
    for shard in map.values() {
        match shard.as_str() {
            // A file name and nothing else: an index does not reach out of its folder.
            Some(name) if Path::new(name).file_name() == Some(name.as_ref()) => {
                shards.insert(folder.join(name))
            }
            _ => return Err(malformed(shard.to_string())),
        };
    }
    Ok(shards.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_owner_and_a_name_are_a_repository() {
        for text in ["openai/clip-vit-base-patch32", "timm/resnet50_clip.openai", "laion/CLIP-ViT-B-32"] {
            assert!(is_repository(text), "{text}");
        }
        for text in ["clip", "a/b/c", "./clip", "../clip", "/clip", "clip/", "my models/clip", "C:/clip", ""]
        {
            assert!(!is_repository(text), "{text}");
        }
    }
}
