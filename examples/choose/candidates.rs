//! The pictures, encoded, and what they are scored by.

use std::path::PathBuf;

use clip_adapter::{
    Classifier, ClipBackbone, Error, FeatureSet, Method, Result, Support, ZeroShot,
    burn::tensor::Device,
    features::Embeddings,
    input::{ImageList, read_texts, readable},
    tasks::{
        Predictor,
        generation::{Chooser, DISTRACTORS, classifier},
    },
};

use crate::{Arguments, cli::pocket};

pub struct Candidates {
    pub clip: ClipBackbone,
    pub backbone: PathBuf,
    pub model: Box<dyn Classifier>,
    pub class: usize,
    pub files: Vec<PathBuf>,
    pub names: Vec<String>,
    pub rows: Embeddings,
    /// Pictures that cannot be read, and why.
    pub left_out: Vec<String>,
}

impl Candidates {
    pub fn open(arguments: &Arguments, device: &Device) -> Result<Self> {
        let backbone = arguments.backbone.clone().unwrap_or_else(|| pocket::path("model"));
        let folder = arguments.images.clone().unwrap_or_else(|| pocket::path("images/icon-colour"));
        let list = ImageList::of_folder(&folder)?;
        let fitted = match &arguments.adapter {
            Some(adapter) => Some(Predictor::open(&backbone, adapter, device)?),
            None => None,
        };
        let clip = match &fitted {
            Some(predictor) => predictor.clip().clone(),
            None => ClipBackbone::from_pretrained(&backbone, device)?,
        };
        let (rows, read) = clip.encode_each(list.files())?;
        let (mut files, mut names, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
        for (file, read) in list.files().iter().zip(read) {
            match read {
                Ok(()) => {
                    names.push(readable(file.strip_prefix(&folder).unwrap_or(file)));
                    files.push(file.clone());
                }
                Err(error) => {
                    eprintln!("left out: {error}");
                    left_out.push(error.to_string());
                }
            }
        }
        if names.is_empty() {
            return Err(Error::data(readable(&folder), "at least one picture that can be read", "none"));
        }
        let (model, class) = match fitted {
            Some(predictor) => {
                let names = predictor.class_names();
                let class = names.iter().position(|name| *name == arguments.prompt).ok_or_else(|| {
                    let expected = format!("one of the adapter's classes, `{}`", names.join("`, `"));
                    Error::setting("prompt", expected, format!("`{}`", arguments.prompt))
                })?;
                (predictor.model().to_device(device)?, class)
            }
            None => (by_texts(arguments, &clip, &rows, device)?, 0),
        };
        Ok(Self { clip, backbone, model, class, files, names, rows, left_out })
    }

    pub fn chooser(&self) -> Result<Chooser<'_>> {
        Chooser::new(&*self.model, self.class)
    }

    /// What a picture might show instead.
    pub fn distractors(&self) -> Vec<&String> {
        let names = self.model.classes().class_names().iter().enumerate();
        names.filter(|(class, _)| *class != self.class).map(|(_, name)| name).collect()
    }
}

/// The prompt and its distractors as a classifier.
fn by_texts(
    arguments: &Arguments,
    clip: &ClipBackbone,
    rows: &Embeddings,
    device: &Device,
) -> Result<Box<dyn Classifier>> {
    let distractors: Vec<String> = match &arguments.distractors {
        Some(path) => read_texts(path)?.into_iter().filter(|text| !text.trim().is_empty()).collect(),
        None => DISTRACTORS.iter().map(|&text| text.to_owned()).collect(),
    };
    let sentences = [&[arguments.prompt.clone()][..], &distractors].concat();
    let texts = clip.encode_texts(&sentences)?;
    let classes = classifier(&arguments.prompt, &distractors, &texts, clip.logit_scale(), clip.identity())?;
    // Zero-shot looks at no picture, but a fit asks for one.
    let one = FeatureSet::new(rows.select(&[0]), vec![0], classes.class_names().to_vec())?;
    Ok(Box::new(ZeroShot::default().fit(&Support::new(one)?, &classes, device)?))
}
