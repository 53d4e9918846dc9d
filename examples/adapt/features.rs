//! From a feature file: a labelled source and a target whose labels only score.

use std::time::Instant;

use clip_adapter::{
    Classifier, FeatureFile, Result, Run, Support, methods::FittedZeroShot, model::Save,
    tasks::unlabelled::DomainAdapter,
};

use crate::{
    Arguments, baselines,
    outcome::{Images, Outcome},
};

pub fn adapt(arguments: &Arguments, settings: &DomainAdapter) -> Result<Outcome> {
    let device = arguments.device.open()?;
    let file = match &arguments.features {
        Some(path) => FeatureFile::read(path)?,
        None => FeatureFile::synthetic(0)?,
    };
    let source = match arguments.shots {
        _ if arguments.no_source => None,
        Some(shots) => Some(file.support(shots, arguments.seed)?),
        None => Some(Support::new(file.split("train")?.clone())?),
    };
    let (classes, target, test) =
        (file.classifier(), file.split("test")?.embeddings(), file.test_set("test")?);
    let before = FittedZeroShot::new(classes, &device).evaluate(&test)?;

    let start = Instant::now();
    let model = settings.fit(target, classes, source.as_ref(), &mut Run::new(&device))?;
    let fit_seconds = start.elapsed().as_secs_f64();
    let after = model.evaluate(&test)?;
    let baselines = match arguments.compare {
        true => baselines::all(&file, source.as_ref(), arguments.seed, &device)?,
        false => Vec::new(),
    };
    if let Some(path) = &arguments.out {
        model.save(path)?;
        println!("saved {}", path.display());
    }
    Ok(Outcome {
        what: file.dataset().to_owned(),
        backbone: classes.backbone().to_owned(),
        device: arguments.device.to_string(),
        settings: settings.clone(),
        scored: Some((before, after)),
        report: model.report().clone(),
        baselines,
        fit_seconds,
        images: Images::Rows,
    })
}
