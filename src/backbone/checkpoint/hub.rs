//! Checkpoints from the Hugging Face hub, through the cache that all its programs share.

use std::{
    collections::BTreeSet,
    env,
    error::Error as _,
    path::{Path, PathBuf},
};

use hf_hub::{HFClient, HFClientSync, HFError, HFRepositorySync, RepoTypeModel, split_id};

use super::describe::{OPEN_CLIP_WEIGHTS, PROCESSOR_FILES};
use super::{CheckpointLayout, Preset, weight_files};
use crate::error::{Error, Result};

/// Attempts after a failed one: enough for a lost packet, few enough to say soon that there is no network.
const RETRIES: usize = 2;

const INDEX: &str = "model.safetensors.index.json";

/// Where checkpoints are downloaded from and to.
///
/// A checkpoint that is whole in the cache is used as it is and nothing is asked; else its files are downloaded,
/// those of one layout and no others. The cache is the one of `huggingface_hub` in Python.
///
/// | Name | Default | Meaning |
/// | --- | --- | --- |
/// | `cache` | `HF_HUB_CACHE`, `HF_HOME/hub` or `~/.cache/huggingface/hub` | folder of the cache |
/// | `offline` | whether `HF_HUB_OFFLINE` is 1, on, yes or true | uses the cache alone |
/// | `revision` | the preset's, else `main` | branch, tag or commit |
/// | `endpoint` | `HF_ENDPOINT`, else `https://huggingface.co` | address of the hub or a mirror |
///
/// # Examples
/// ```no_run
/// use burn::tensor::Device;
/// use clip_adapter::{ClipBackbone, backbone::Hub};
///
/// let hub = Hub { cache: Some("models".into()), ..Hub::default() };
/// let clip = ClipBackbone::from_pretrained(hub.fetch("vit-b-32/openai")?, &Device::flex())?;
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hub {
    /// Folder of the cache; none for the one that the environment names.
    pub cache: Option<PathBuf>,
    /// Whether the cache alone is used.
    pub offline: bool,
    /// Branch, tag or commit; none for the preset's or `main`.
    pub revision: Option<String>,
    /// Address of the hub; none for the one that the environment names.
    pub endpoint: Option<String>,
}

impl Default for Hub {
    fn default() -> Self {
        let offline = env::var("HF_HUB_OFFLINE")
            .is_ok_and(|value| ["1", "on", "yes", "true"].contains(&value.to_ascii_lowercase().as_str()));
        Self { cache: None, offline, revision: None, endpoint: None }
    }
}

impl Hub {
    /// The folder of a checkpoint, `org/name` or the name of a [`Preset`], downloaded if need be.
    ///
    /// # Errors
    /// [`Error::Hub`] if a file is neither in the cache nor to be had: no network, no such repository, or a
    /// repository without safetensors; [`Error::Malformed`] for a damaged index of shards.
    pub fn fetch(&self, name: &str) -> Result<PathBuf> {
        let preset = Preset::find(name);
        let id = preset.map_or(name, |preset| preset.id);
        let revision = self.revision.as_deref().or(preset.map(|preset| preset.revision)).unwrap_or("main");
        let mut builder = HFClient::builder().retry_max_attempts(RETRIES);
        if let Some(cache) = &self.cache {
            builder = builder.cache_dir(cache);
        }
        if let Some(endpoint) = &self.endpoint {
            builder = builder.endpoint(endpoint);
        }
        let client = builder.build().map_err(|error| refused(id, "config.json", Path::new(""), error))?;
        let cache = client.cache_dir().join(format!("models--{}", id.replace('/', "--")));
        let missing = match cached(&cache, revision)? {
            Ok(folder) => return Ok(folder),
            Err(missing) => missing,
        };
        if self.offline {
            let reason = "offline, as HF_HUB_OFFLINE or the caller asks".into();
            return Err(Error::Hub { repository: id.into(), file: missing, cache, reason, source: None });
        }
        let client =
            HFClientSync::from_inner(client).map_err(|error| refused(id, &missing, &cache, error))?;
        let (owner, name) = split_id(id);
        Download { repository: client.model(owner, name), id, cache }.run(revision)
    }
}

/// A repository that is not in the cache, or not as a whole.
struct Download<'a> {
    repository: HFRepositorySync<RepoTypeModel>,
    id: &'a str,
    cache: PathBuf,
}

impl Download<'_> {
    fn run(&self, revision: &str) -> Result<PathBuf> {
        let there = self.list(revision)?;
        let files = checkpoint(|file| there.contains(file)).map_err(|file| Error::Hub {
            repository: self.id.into(),
            file: file.into(),
            cache: self.cache.clone(),
            reason: format!("the repository holds only {}", names(&there)),
            source: None,
        })?;
        // The first file pins the commit, so that all come from one.
        let mut folder = PathBuf::new();
        for (index, file) in files.iter().enumerate() {
            let commit = folder.file_name().map(|name| name.to_string_lossy().into_owned());
            let path = self.file(file, commit.as_deref().unwrap_or(revision))?;
            if index == 0 {
                folder = path.parent().unwrap_or(Path::new("")).into();
            }
        }
        let commit = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for shard in shards(&folder, &files)? {
            self.file(&shard, &commit)?;
        }
        Ok(folder)
    }

    /// The repository's files.
    fn list(&self, revision: &str) -> Result<BTreeSet<String>> {
        let info = self.repository.info().revision(revision).send();
        let info = info.map_err(|error| refused(self.id, "config.json", &self.cache, error))?;
        Ok(info.siblings.unwrap_or_default().into_iter().map(|file| file.rfilename).collect())
    }

    fn file(&self, file: &str, revision: &str) -> Result<PathBuf> {
        let path = self.repository.download_file().filename(file).revision(revision).send();
        path.map_err(|error| refused(self.id, file, &self.cache, error))
    }
}

/// The files that make a checkpoint of those that are there, or the first one lacking.
fn checkpoint(has: impl Fn(&str) -> bool) -> std::result::Result<Vec<&'static str>, &'static str> {
    let open_clip = OPEN_CLIP_WEIGHTS.into_iter().find(|file| has(file));
    let mut files = match open_clip {
        Some(weights) if has("open_clip_config.json") => {
            vec!["open_clip_config.json", "tokenizer.json", weights]
        }
        _ if has("open_clip_config.json") && !has("config.json") => return Err(OPEN_CLIP_WEIGHTS[0]),
        _ => {
            let sharded = has(INDEX) && !has("model.safetensors");
            let weights = if sharded { INDEX } else { "model.safetensors" };
            let newer_alone = has(PROCESSOR_FILES[1]) && !has(PROCESSOR_FILES[0]);
            vec!["config.json", PROCESSOR_FILES[usize::from(newer_alone)], "tokenizer.json", weights]
        }
    };
    if let Some(&missing) = files.iter().find(|file| !has(file)) {
        return Err(missing);
    }
    // Of both processors' files the newer one counts if it holds an image processor, which its name does not say.
    if files.contains(&PROCESSOR_FILES[0]) {
        files.extend(Some(PROCESSOR_FILES[1]).filter(|file| has(file)));
    }
    files.extend(Some("tokenizer_config.json").filter(|file| has(file)));
    Ok(files)
}

/// The names of the shards, if there is an index of them among the files.
fn shards(folder: &Path, files: &[&str]) -> Result<Vec<String>> {
    if !files.contains(&INDEX) {
        return Ok(Vec::new());
    }
    let paths = weight_files(folder, CheckpointLayout::HuggingFace)?;
    Ok(paths.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect())
}

/// The folder of a revision in a repository's cache, or the first file that is lacking.
fn cached(repository: &Path, revision: &str) -> Result<std::result::Result<PathBuf, String>> {
    let named = std::fs::read_to_string(repository.join("refs").join(revision));
    let commit = named.unwrap_or_else(|_| revision.into());
    let folder = repository.join("snapshots").join(commit.trim());
    let files = match checkpoint(|file| folder.join(file).exists()) {
        Ok(files) => files,
        Err(missing) => return Ok(Err(missing.into())),
    };
    let missing = shards(&folder, &files)?.into_iter().find(|shard| !folder.join(shard).exists());
    Ok(missing.map_or(Ok(folder), Err))
}

fn names(files: &BTreeSet<String>) -> String {
    if files.is_empty() { "no file".into() } else { files.iter().cloned().collect::<Vec<_>>().join(", ") }
}

/// What the hub said, down to the cause that names the network's trouble.
fn refused(id: &str, file: &str, cache: &Path, error: HFError) -> Error {
    let mut reason = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        reason = format!("{reason}: {deeper}");
        cause = deeper.source();
    }
    Error::Hub {
        repository: id.into(),
        file: file.into(),
        cache: cache.into(),
        reason,
        source: Some(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// File lists as repositories of the hub have them.
    #[test]
    fn the_layout_with_safetensors_is_taken() {
        let files = |there: &[&str]| checkpoint(|file| there.contains(&file));
        let hugging_face = ["config.json", "preprocessor_config.json", "tokenizer.json"];
        let both = [&hugging_face[..], &["open_clip_config.json", "tokenizer_config.json"]].concat();
        let with = |weights: &[&'static str]| files(&[&both[..], weights].concat());
        assert_eq!(
            with(&["open_clip_model.safetensors", "model.safetensors"]).unwrap()[0],
            "open_clip_config.json"
        );
        assert_eq!(with(&["open_clip_pytorch_model.safetensors"]).unwrap()[2], OPEN_CLIP_WEIGHTS[1]);
        assert_eq!(
            with(&["model.safetensors", INDEX]).unwrap()[3..],
            ["model.safetensors", "tokenizer_config.json"]
        );
        assert_eq!(with(&[INDEX]).unwrap()[3], INDEX);
        assert_eq!(with(&["pytorch_model.bin"]), Err("model.safetensors"));
        assert_eq!(
            files(&["open_clip_config.json", "open_clip_pytorch_model.bin"]),
            Err(OPEN_CLIP_WEIGHTS[0])
        );
        assert_eq!(files(&["config.json", "model.safetensors"]), Err("preprocessor_config.json"));
        let newer = ["config.json", "processor_config.json", "tokenizer.json", "model.safetensors"];
        assert_eq!(files(&newer).unwrap(), newer, "transformers 5 writes no other");
        assert_eq!(
            with(&["model.safetensors", "processor_config.json"]).unwrap(),
            [&hugging_face[..], &["model.safetensors", "processor_config.json", "tokenizer_config.json"]]
                .concat(),
            "what the newer one holds is seen when it is there"
        );
        assert!(
            !with(&["open_clip_model.safetensors", "processor_config.json"]).unwrap().contains(&newer[1])
        );
        assert_eq!(files(&[]), Err("config.json"));
    }
}
