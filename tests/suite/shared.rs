//! What not everyone has: real CLIP features, which are not part of the crate, in a folder named by
//! `CLIP_ADAPTER_SHARED`, or `../shared`; and the larger files of the repository.

use std::{env, io::Write, path::PathBuf};

use clip_adapter::FeatureFile;

/// A line on the terminal that the test runner cannot swallow.
pub fn say_skipped(test: &str, why: &str) {
    let _ = std::io::stderr().write_all(format!("SKIPPED {test}: {why}\n").as_bytes());
}

/// The folder of real features, or `None` with such a line.
pub fn folder(test: &str) -> Option<PathBuf> {
    let folder = env::var_os("CLIP_ADAPTER_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    if folder.join("data").is_dir() {
        return Some(folder);
    }
    say_skipped(test, &format!("no real features in {}; set CLIP_ADAPTER_SHARED", folder.display()));
    None
}

pub const DATASETS: [&str; 4] = ["whurs19_vitb32", "whurs19_rn50", "pets25_vitb32", "caltech36_vitb32"];

pub fn features(test: &str, dataset: &str) -> Option<FeatureFile> {
    let path = folder(test)?.join("data").join(format!("{dataset}.safetensors"));
    Some(FeatureFile::read(path).expect("a feature file"))
}
