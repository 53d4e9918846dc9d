//! What the items look like: a feature file, or a folder of images that are encoded.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use clip_adapter::{
    ClipBackbone, Error, FeatureFile, Result,
    burn::tensor::Device,
    input::{ImageList, readable},
    tasks::recommendation::{Catalogue, Concepts},
};

/// A catalogue, and the file of each item where there is one.
pub struct Items {
    pub catalogue: Catalogue,
    pub files: HashMap<String, PathBuf>,
    /// The classes of a feature file that has texts, as words for what items have in common.
    pub concepts: Option<Concepts>,
}

impl Items {
    pub fn open(path: &Path, backbone: Option<&Path>, device: &Device) -> Result<Self> {
        if !path.is_dir() {
            let catalogue = Catalogue::read(path)?;
            let concepts = match FeatureFile::read(path) {
                Ok(file) => Some(Concepts::new(&catalogue, file.classifier())?),
                Err(_) => None, // a catalogue needs no texts
            };
            return Ok(Self { catalogue, files: HashMap::new(), concepts });
        }
        let Some(backbone) = backbone else {
            return Err(Error::setting("backbone", "a CLIP for a folder of images", "none"));
        };
        let clip = ClipBackbone::from_pretrained(backbone, device)?;
        let list = ImageList::of_folder(path)?;
        let (rows, read) = clip.encode_each(list.files())?;
        let mut files = HashMap::new();
        let mut names = Vec::new();
        for (file, read) in list.files().iter().zip(read) {
            match read {
                Ok(()) => {
                    let name = readable(file.strip_prefix(path).unwrap_or(file));
                    files.insert(name.clone(), file.clone());
                    names.push(name);
                }
                Err(error) => eprintln!("left out: {error}"),
            }
        }
        Ok(Self { catalogue: Catalogue::new(names, &rows, clip.identity())?, files, concepts: None })
    }
}
