//! From a folder of images, with an adapter of another domain or class names alone.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use clip_adapter::{
    Classifier, ClipBackbone, Error, FeatureSet, Prompts, Result,
    input::{ImageList, read_texts, readable},
    methods::FittedZeroShot,
    model::Save,
    tasks::{Predictor, unlabelled::DomainAdapter},
};

use crate::{
    Arguments,
    cli::folders,
    outcome::{Images, Outcome},
};

pub fn adapt(arguments: &Arguments, settings: &DomainAdapter, backbone: &Path) -> Result<Outcome> {
    let (Some(images), Some(out)) = (&arguments.images, &arguments.out) else {
        return Err(Error::setting("backbone", "--images and --out beside it", "none"));
    };
    let device = arguments.device.open()?;
    let list = ImageList::open(images)?;
    let predictor = match (&arguments.adapter, &arguments.classes) {
        (Some(adapter), _) => Predictor::open(backbone, adapter, &device)?,
        (None, Some(classes)) => {
            let (names, prompts) = (names(classes)?, Prompts::find(&arguments.prompts)?);
            let clip = ClipBackbone::from_pretrained(backbone, &device)?;
            let classes = clip.text_classifier(&names, &prompts)?;
            Predictor::new(clip, Box::new(FittedZeroShot::new(&classes, &device)))?
        }
        (None, None) => {
            return Err(Error::setting("backbone", "--adapter or --classes beside it", "neither"));
        }
    };
    let extracted = predictor.clip().extract().run(&list)?;
    let (teacher, embeddings) = (predictor.model(), &extracted.embeddings);

    let start = Instant::now();
    let model = settings.fit_from(teacher, embeddings, None)?;
    let fit_seconds = start.elapsed().as_secs_f64();
    model.save(out)?;
    println!("saved {}", out.display());

    let scored = match labels(&extracted.keys, images, predictor.class_names()) {
        None => None,
        Some(labels) => {
            let test = FeatureSet::new(embeddings.clone(), labels, predictor.class_names().to_vec())?
                .into_test_set();
            let zero_shot = FittedZeroShot::new(teacher.classes(), &device);
            Some((zero_shot.evaluate(&test)?, model.evaluate(&test)?))
        }
    };
    let top = model.top(embeddings, 1)?.into_iter().map(|mut top| top.swap_remove(0));
    let files = extracted.keys.iter().cloned().zip(top).collect();
    Ok(Outcome {
        what: readable(images),
        backbone: readable(backbone),
        device: arguments.device.to_string(),
        settings: settings.clone(),
        scored,
        report: model.report().clone(),
        baselines: Vec::new(),
        fit_seconds,
        images: Images::Files { files, preprocess: predictor.clip().preprocess().clone() },
    })
}

/// The classes of all images by the names of their folders, if each is one.
fn labels(keys: &[PathBuf], root: &Path, classes: &[String]) -> Option<Vec<usize>> {
    let label = |file: &PathBuf| {
        let folder = file.strip_prefix(root).ok()?.iter().next()?.to_str()?.replace('_', " ");
        classes.iter().position(|class| *class == folder)
    };
    keys.iter().map(label).collect()
}

fn names(text: &str) -> Result<Vec<String>> {
    let names = match Path::new(text).is_file() {
        true => read_texts(text)?,
        false => text.split(',').map(String::from).collect(),
    };
    let names: Vec<String> =
        names.iter().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect();
    folders::check_classes(&names)?;
    Ok(names)
}
