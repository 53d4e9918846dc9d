//! Pictures of one style: files to fine-tune on, features to adapt with, and which of them are tested on.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Instant,
};

use clip_adapter::{ClipBackbone, FeatureSet, Result, TestSet, features::Embeddings};

use crate::cli::folders;

/// A folder of images, encoded once.
pub struct Style {
    pub name: String,
    pub files: Vec<PathBuf>,
    pub features: FeatureSet,
    pub encode_seconds: f64,
}

/// Images of a style that are only scored.
pub struct Test<'a> {
    pub style: &'a str,
    pub files: Vec<PathBuf>,
    pub labels: Vec<usize>,
    pub features: TestSet,
    /// The same images without labels, which a classifier may be moved to.
    pub unlabelled: Embeddings,
}

impl Style {
    pub fn open(clip: &ClipBackbone, folder: &Path) -> Result<Self> {
        let images = folders::open(folder)?;
        let start = Instant::now();
        let extracted = clip.extract().run(&images)?;
        Ok(Self {
            name: folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            features: extracted.labelled()?,
            files: extracted.keys,
            encode_seconds: start.elapsed().as_secs_f64(),
        })
    }

    /// The files and labels of some rows.
    pub fn select(&self, rows: &[usize]) -> (Vec<PathBuf>, Vec<usize>) {
        rows.iter().map(|&row| (self.files[row].clone(), self.features.labels()[row])).unzip()
    }

    /// What shows something else than the images `drawn` of `home`: a picture of the same name in the same class
    /// shows the same, whatever its style.
    pub fn test(&self, home: &Self, drawn: &[usize]) -> Result<Test<'_>> {
        folders::check_same_classes(&self.name, home.features.class_names(), self.features.class_names())?;
        let seen: BTreeSet<(usize, String)> = drawn.iter().map(|&row| home.shown(row)).collect();
        let rows: Vec<usize> =
            (0..self.features.len()).filter(|&row| !seen.contains(&self.shown(row))).collect();
        let (files, labels) = self.select(&rows);
        let features = self.features.select(&rows);
        let unlabelled = features.embeddings().clone();
        Ok(Test { style: &self.name, files, labels, features: features.into_test_set(), unlabelled })
    }

    fn shown(&self, row: usize) -> (usize, String) {
        let name = self.files[row].file_stem().unwrap_or_default().to_string_lossy().into_owned();
        (self.features.labels()[row], name)
    }
}
