//! The data sets that are compared on.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use clip_adapter::{Error, FeatureFile, Result, TestSet};

use crate::summary::MEAN;

/// A feature file, and what is scored on.
pub struct Dataset {
    pub name: String,
    pub path: PathBuf,
    pub file: FeatureFile,
    pub test: TestSet,
}

/// Reads the files given, and those in the folders given that are feature files, sorted; each once.
pub fn read(paths: &[PathBuf], test_split: &str) -> Result<Vec<Dataset>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            for path in safetensors_in(path)? {
                match FeatureFile::read(&path) {
                    Err(error) if is_other_format(&error) => {}
                    file => files.push((path, file?)),
                }
            }
        } else {
            files.push((path.clone(), FeatureFile::read(path)?));
        }
    }
    let mut seen = HashSet::new();
    files.retain(|(path, _)| seen.insert(fs::canonicalize(path).unwrap_or_else(|_| path.clone())));
    if files.is_empty() {
        let found = paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
        return Err(Error::setting("features", "a feature file", found));
    }
    let stems: Vec<String> = files.iter().map(|(path, _)| stem(path)).collect();
    let datasets = files.into_iter().zip(&stems).map(|((path, file), stem)| {
        // Files of one name in two folders are two data sets.
        let shared = stems.iter().filter(|other| *other == stem).count() > 1 || stem == MEAN;
        let name = if shared { path.display().to_string() } else { stem.clone() };
        let test = file.test_set(test_split)?;
        Ok(Dataset { name, path, file, test })
    });
    datasets.collect()
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn safetensors_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(|source| Error::read(folder, source))?;
    let paths = entries.flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "safetensors")).collect();
    paths.sort();
    Ok(paths)
}

/// Other safetensors files may lie beside the features. A broken feature file is not passed over.
fn is_other_format(error: &Error) -> bool {
    matches!(error, Error::Malformed { part, .. } if part == "metadata `format`")
}
