//! What is looked at: features of a file, or a folder of images.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use clip_adapter::{
    ClipBackbone, Error, FeatureFile, FeatureSet, Prompts, Result, Support, TextClassifier,
    explain::Concepts,
    features::Embeddings,
    input::{read_texts, readable},
};

use crate::{
    Arguments,
    cli::{folders, pocket},
};

pub struct Data {
    /// What it is called.
    pub name: String,
    pub classes: TextClassifier,
    pub support: Support,
    /// What is asked about.
    pub asked: FeatureSet,
    pub concepts: Concepts,
    /// Where there are files, those of the shots and of what is asked about.
    pub files: Option<Files>,
}

pub struct Files {
    pub shots: Vec<PathBuf>,
    pub asked: Vec<PathBuf>,
    pub clip: ClipBackbone,
}

pub fn open(arguments: &Arguments, device: &Device) -> Result<Data> {
    match &arguments.images {
        Some(images) => of_folder(arguments, images, device),
        None => of_file(arguments),
    }
}

fn of_file(arguments: &Arguments) -> Result<Data> {
    let file = match &arguments.features {
        Some(path) => FeatureFile::read(path)?,
        None => FeatureFile::synthetic(0)?,
    };
    let classes = file.classifier().clone();
    // For the mean of images no label is needed, but images that are asked about stay out of everything.
    let unlabelled = file.split("train")?.embeddings();
    let words = match &arguments.concepts {
        None => None,
        Some(path) => {
            let words = FeatureFile::read(path)?;
            let words = words.classifier();
            if words.backbone() != classes.backbone() {
                let what = format!("backbone of `{}`", readable(path));
                return Err(Error::data(what, classes.backbone(), words.backbone()));
            }
            Some((words.class_names().to_vec(), words.weights().clone()))
        }
    };
    Ok(Data {
        name: file.dataset().to_owned(),
        concepts: concepts(&classes, words, unlabelled)?,
        support: file.support(arguments.shots, arguments.seed)?,
        asked: file.split(&arguments.test_split)?.clone(),
        classes,
        files: None,
    })
}

fn of_folder(arguments: &Arguments, images: &Path, device: &Device) -> Result<Data> {
    let folder = folders::open(images)?;
    folders::check_classes(folder.class_names())?;
    let prompts = match (&arguments.prompts, &arguments.backbone) {
        (Some(prompts), _) => Prompts::find(prompts)?,
        (None, None) => Prompts::read(pocket::path("prompts.txt"))?,
        (None, Some(_)) => Prompts::default(),
    };
    let backbone = arguments.backbone.clone().unwrap_or_else(|| pocket::path("model"));
    let clip = ClipBackbone::from_pretrained(backbone, device)?;
    let classes = clip.text_classifier(folder.class_names(), &prompts)?;
    let words = match &arguments.concepts {
        None => None,
        Some(path) => {
            let words = read_texts(path)?;
            let texts = clip.text_classifier(&words, &Prompts::new(["{}"])?)?;
            Some((words, texts.weights().clone()))
        }
    };
    let extracted = clip.extract().run(&folder)?;
    let all = extracted.labelled()?;
    let drawn = all.shot_rows(arguments.shots, arguments.seed)?;
    let mut left = vec![true; all.len()];
    drawn.iter().for_each(|&row| left[row] = false);
    let rest: Vec<usize> = (0..all.len()).filter(|&row| left[row]).collect();
    if rest.is_empty() {
        let expected = format!("more than {} of a class", arguments.shots);
        return Err(Error::data("images to ask about", expected, "none"));
    }
    let support = Support::new(all.select(&drawn))?;
    let files = |rows: &[usize]| rows.iter().map(|&row| extracted.keys[row].clone()).collect();
    Ok(Data {
        name: images.file_name().map_or_else(|| readable(images), readable),
        concepts: concepts(&classes, words, support.set().embeddings())?,
        asked: all.select(&rest),
        files: Some(Files { shots: files(&drawn), asked: files(&rest), clip }),
        support,
        classes,
    })
}

/// The names of the classes, and what other words were given.
fn concepts(
    classes: &TextClassifier,
    words: Option<(Vec<String>, Embeddings)>,
    images: &Embeddings,
) -> Result<Concepts> {
    let mut names = classes.class_names().to_vec();
    let mut texts = classes.weights().values().to_vec();
    if let Some((words, embeddings)) = words {
        let embeddings = embeddings.normalised();
        for (row, word) in words.into_iter().enumerate() {
            if !names.contains(&word) {
                texts.extend(embeddings.row(row));
                names.push(word);
            }
        }
    }
    Concepts::new(&names, &Embeddings::new(texts, classes.dim())?, images)
}
