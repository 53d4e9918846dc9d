//! What else can be done without labels of the target.

use burn::tensor::Device;
use clip_adapter::{
    Classifier, ClipAdapter, FeatureFile, FeatureSet, Gda, Method, Report, Result, Support,
    evaluate::{Logits, Scores},
    features::Embeddings,
    methods::{FittedZeroShot, Ratio},
    tasks::unlabelled::{
        Alignment, Balance, DistributionNormalisation, PseudoLabels, TransClip, pseudo_labels_by,
    },
};
use serde::Serialize;

use crate::outcome::macro_f1;

/// A row of the table, in percent.
#[derive(Serialize)]
pub struct Baseline {
    pub name: String,
    pub accuracy: f64,
    pub macro_f1: f64,
    /// What speaks against it here.
    pub warning: Option<String>,
}

/// Whatever can be fitted with this source, or without one.
pub fn all(
    file: &FeatureFile,
    source: Option<&Support>,
    seed: u64,
    device: &Device,
) -> Result<Vec<Baseline>> {
    let (classes, target) = (file.classifier(), file.split("test")?);
    let images = target.embeddings();
    let zero_shot = FittedZeroShot::new(classes, device);
    let before = zero_shot.score(images)?;
    let warning = Balance::of(&before).warning();
    let mut rows = vec![row(
        "distribution normalisation",
        &DistributionNormalisation::default().fit(images, classes, device)?.score(images)?,
        target,
        None,
    )?];

    let mut teacher = before;
    if let Some(source) = source {
        let of = source.set().embeddings();
        teacher = ClipAdapter { ratio: Ratio::Fixed(0.2), seed, ..Default::default() }
            .fit(source, classes, device)?
            .score(images)?;
        rows.push(row("clip-adapter on the source", &teacher, target, None)?);
        let gda = |support: &Support, images: &Embeddings| {
            Gda::default().fit(support, classes, device)?.score(images)
        };
        rows.push(row("gda on the source", &gda(source, images)?, target, None)?);
        let shifted = Alignment::mean_shift(classes, of, images, device)?.embeddings(images)?;
        rows.push(row("gda, mean shift", &gda(source, &shifted)?, target, None)?);
        let recoloured = Alignment::coral(classes, of, images, device)?.support(source)?;
        rows.push(row("gda, CORAL", &gda(&recoloured, images)?, target, None)?);
    }
    let refined = TransClip::default().refine(&teacher, images, source)?;
    rows.push(row("TransCLIP", &refined, target, warning.clone())?);
    for (name, rule, warning) in [
        ("gda, pseudo-labels", PseudoLabels::Answers { shots: 8 }, None),
        ("gda, forced pseudo-labels", PseudoLabels::Forced { shots: 16 }, warning),
        ("gda, proportional pseudo-labels", PseudoLabels::Proportional { share: 0.5 }, None),
    ] {
        let support = pseudo_labels_by(&teacher, images, classes, rule)?;
        let logits = Gda::default().fit(&support, classes, device)?.score(images)?;
        rows.push(row(name, &logits, target, warning)?);
    }
    Ok(rows)
}

fn row(name: &str, logits: &Logits, target: &FeatureSet, warning: Option<String>) -> Result<Baseline> {
    let report = Report::new(Scores::new(logits, target.labels())?, target.class_names());
    Ok(Baseline { name: name.to_owned(), accuracy: report.accuracy, macro_f1: macro_f1(&report), warning })
}
