//! Real CLIP features that are not part of the crate: a folder named by `CLIP_ADAPTER_SHARED`, or `../shared`.

use std::{env, io::Write, path::PathBuf};

use clip_adapter::FeatureFile;

/// The folder, or `None` with a line on the terminal that the test runner cannot swallow.
pub fn folder(test: &str) -> Option<PathBuf> {
    let folder = env::var_os("CLIP_ADAPTER_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    if folder.join("data").is_dir() {
        return Some(folder);
    }
    let line = format!("SKIPPED {test}: no real features in {}; set CLIP_ADAPTER_SHARED\n", folder.display());
    let _ = std::io::stderr().write_all(line.as_bytes());
    None
}

pub const DATASETS: [&str; 4] = ["whurs19_vitb32", "whurs19_rn50", "pets25_vitb32", "caltech36_vitb32"];

pub fn features(test: &str, dataset: &str) -> Option<FeatureFile> {
    let path = folder(test)?.join("data").join(format!("{dataset}.safetensors"));
    Some(FeatureFile::read(path).expect("a feature file"))
}
