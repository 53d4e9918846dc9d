mod regression;

use std::mem;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use self::regression::Regression;
use crate::choose::{Choice, Fold, folds};
use crate::error::{Error, Result};
use crate::features::{Support, TextClassifier};
use crate::model::{FittedLinear, LinearHead, Settings};
use crate::numerics::row_major;
use crate::train::{Method, Run};

/// The strengths tried where none is given, weakest pull to zero last.
const GRID: [f64; 6] = [0.1, 1.0, 10.0, 100.0, 1e3, 1e4];

/// The strength where nothing can be held out.
const DEFAULT_C: f64 = 10.0;

/// At most so many times a shot of each class is held out.
const ROTATIONS: usize = 4;

/// Lengths of the gradient at which the final fit and those that choose are done.
const EXACT: f64 = 1e-7;
const ROUGH: f64 = 1e-4;

/// Linear probe: logistic regression on the image features, which knows nothing of the text.
///
/// `logits = f w^T + b` with the minimum of `c sum_i CE(f_i w^T + b, y_i) + ||w||^2 / 2` over unit features `f_i`;
/// the bias is free (Radford et al., 2021, appendix A.3, <https://arxiv.org/abs/2103.00020>). The problem is convex
/// and has one minimum, which L-BFGS reaches in f64 on the host. It is the field's baseline: without the text one
/// shot is far worse than zero-shot, and 16 are often better. A class without shots is never predicted.
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `c` | null | above 0, or null | weight of the images against the pull to zero; null chooses it |
///
/// `None`, null in JSON, chooses among 0.1 to 10,000: on few-shot validation images if there are some, else on the
/// shots, by holding out one of each class in turn, four times at most. Of one shot a class none can be held out:
/// it is then 10, though it hardly matters.
///
/// # Examples
/// ```
/// use burn::tensor::Device;
/// use clip_adapter::{Classifier, FeatureFile, Method, ZeroShot, methods::LinearProbe};
///
/// let (file, device) = (FeatureFile::synthetic(0)?, Device::flex());
/// let (support, test) = (file.support(16, 1)?, file.test_set("test")?);
/// let before = ZeroShot::default().fit(&support, file.classifier(), &device)?.evaluate(&test)?;
/// let after = LinearProbe::default().fit(&support, file.classifier(), &device)?.evaluate(&test)?;
/// assert!(after.accuracy > before.accuracy + 10.0);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinearProbe {
    /// Weight of the images against the pull to zero; `None` chooses it.
    pub c: Option<f64>,
}

impl LinearProbe {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first one outside.
    pub fn validate(&self) -> Result<()> {
        match self.c {
            Some(c) if !(c.is_finite() && c > 0.0) => Err(Error::setting("c", "above 0, or null", c)),
            _ => Ok(()),
        }
    }
}

/// The strength that does best on images that were not fitted. Each fit starts where the one before it ended.
fn choose_c(support: &Support) -> f64 {
    let sweep = |fold: Fold<'_>| -> (Vec<usize>, Vec<Vec<f32>>) {
        let (kept, held_out) = fold();
        let regression = Regression::new(&kept);
        let mut parameters = regression.zeros();
        let mut logits = Vec::with_capacity(GRID.len());
        for c in GRID {
            parameters = regression.fit(c, mem::take(&mut parameters), ROUGH);
            logits.push(regression.logits(&parameters, held_out.embeddings()));
        }
        (held_out.labels().to_vec(), logits)
    };
    let folds: Vec<(Vec<usize>, Vec<Vec<f32>>)> =
        folds(support, ROTATIONS).into_par_iter().map(sweep).collect();
    let labels: Vec<usize> = folds.iter().flat_map(|(labels, _)| labels).copied().collect();
    let mut choice = Choice::new(&labels);
    if !folds.is_empty() {
        for (at, c) in GRID.into_iter().enumerate() {
            let logits = folds.iter().flat_map(|(_, logits)| &logits[at]).copied();
            choice.consider(c, &logits.collect::<Vec<f32>>());
        }
    }
    choice.best().unwrap_or(DEFAULT_C)
}

/// The classifier of a [`LinearProbe`].
pub type FittedLinearProbe = FittedLinear<LinearProbe, LinearProbeFound>;

/// What a fit of [`LinearProbe`] finds beside the classifier.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LinearProbeFound {
    /// The weight of the images against the pull to zero.
    pub c: f64,
}

impl FittedLinearProbe {
    /// The weight of the images against the pull to zero.
    pub fn c(&self) -> f64 {
        self.found.c
    }
}

impl Settings for LinearProbe {
    const NAME: &'static str = "linear-probe";
}

impl Method for LinearProbe {
    type Fitted = FittedLinearProbe;

    fn fit_with(
        &self,
        support: &Support,
        classes: &TextClassifier,
        run: &mut Run<'_>,
    ) -> Result<FittedLinearProbe> {
        support.check(classes)?;
        self.validate()?;
        let c = self.c.unwrap_or_else(|| choose_c(support));
        let regression = Regression::new(support.set());
        let (weight, bias) = regression.head(&regression.fit(c, regression.zeros(), EXACT));
        let bias = bias.into_iter().map(|bias| bias as f32).collect();
        let head = LinearHead::new(classes, row_major(&weight), bias, run.device());
        Ok(FittedLinearProbe::of(*self, LinearProbeFound { c }, head))
    }
}
