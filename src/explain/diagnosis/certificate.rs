use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::features::{Support, TextClassifier};
use crate::model::Classifier;
use crate::numerics::lower_share;
use crate::train::{AnyMethod, Run};

/// How often a model may at most be wrong, with a guarantee: it never saw the images that it was counted on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Certificate {
    /// Images it was counted on.
    pub images: usize,
    /// Those that it had wrong.
    pub wrong: usize,
    /// The same in percent.
    pub error: f64,
    /// With 95 % confidence the error on images that are drawn like the shots is at most so many percent.
    pub error_at_most: f64,
}

/// Fits a method on half of the shots of each class and counts its errors on the other half.
///
/// The model that is returned is the one that the certificate is of. If the shots are a fair sample, with classes as
/// frequent as among the shots, its error is at most [`error_at_most`](Certificate::error_at_most) in 95 of 100 draws: the
/// 95 % quantile of a beta distribution with `wrong + 1` and `images - wrong`. A fit on all shots is usually better, but has
/// no such guarantee. At 16 shots of 19 to 36 classes it says 4.5 to 13.6 % where 1.9 to 6.6 % are true.
///
/// # Errors
/// As [`Method::fit_with`](crate::Method::fit_with); [`Error::TooFewShots`] names a class with fewer than 4 shots: of so few
/// it says nothing.
///
/// # Examples
/// ```
/// use clip_adapter::{AutoAdapter, explain::certificate, prelude::*};
///
/// let (file, device) = (FeatureFile::synthetic(0)?, Device::flex());
/// let (support, classes) = (file.support(16, 1)?, file.classifier());
/// let (certificate, model) = certificate(&AutoAdapter::default(), &support, classes, &mut Run::new(&device))?;
/// let error = 100.0 - model.evaluate(&file.test_set("test")?)?.accuracy;
/// assert!(error <= certificate.error_at_most);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
pub fn certificate(
    method: &dyn AnyMethod,
    support: &Support,
    classes: &TextClassifier,
    run: &mut Run<'_>,
) -> Result<(Certificate, Box<dyn Classifier>)> {
    const LEAST: usize = 4;
    support.check(classes)?;
    let set = support.set();
    let counts = set.class_counts();
    if let Some(class) = counts.iter().position(|&count| (1..LEAST).contains(&count)) {
        let (name, found) = (set.class_names()[class].clone(), counts[class]);
        return Err(Error::TooFewShots { class: name, expected: LEAST, found });
    }
    let mut seen = vec![0; counts.len()];
    let (counted, fitted): (Vec<usize>, Vec<usize>) = (0..set.len()).partition(|&row| {
        seen[set.labels()[row]] += 1;
        seen[set.labels()[row]] % 2 == 0
    });
    let model = method.fit_any(&Support::new(set.select(&fitted))?, classes, run)?;
    let counted = set.select(&counted);
    let answers = model.score(counted.embeddings())?;
    let wrong =
        answers.predictions().zip(counted.labels()).filter(|(answer, label)| answer != *label).count();
    let images = counted.len();
    let certificate = Certificate {
        images,
        wrong,
        error: 100.0 * wrong as f64 / images as f64,
        error_at_most: 100.0 * (1.0 - lower_share(images - wrong, images, 0.05)),
    };
    Ok((certificate, model))
}
