use std::fmt;

use burn::tensor::Device;
use serde_json::Value;

use super::Run;
use crate::error::Result;
use crate::features::{Support, TextClassifier};
use crate::model::{Classifier, Open, Settings};

/// A way to adapt CLIP: a plain struct of settings whose defaults need no tuning, and one `fit`.
///
/// What is learned from is a [`Support`]: few-shot training images and, if settings are to be chosen, few-shot
/// validation images. A [`TestSet`](crate::TestSet) does not fit in. A method sees features, never pixels; one that
/// needs the backbone's weights takes the backbone when it is built.
///
/// Closed-form methods ignore the run's callback; trained ones report every epoch through it. See [`Run`], and the
/// guide for a method of your own.
///
/// # Examples
/// ```
/// use clip_adapter::prelude::*;
///
/// let file = FeatureFile::synthetic(0)?;
/// let (support, test) = (file.support(4, 1)?, file.test_set("test")?);
/// let device = Device::flex();
/// let before = ZeroShot::default().fit(&support, file.classifier(), &device)?.evaluate(&test)?;
/// let after = ClipAdapter::default().fit(&support, file.classifier(), &device)?.evaluate(&test)?;
/// assert!(after.accuracy > before.accuracy);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
pub trait Method: Settings + Default {
    /// What fitting gives.
    type Fitted: Classifier + Open;

    /// Learns from the support set.
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data) or [`Error::Dim`](crate::Error::Dim) if support and classes do not fit
    /// together, [`Error::Setting`](crate::Error::Setting) for a setting out of range,
    /// [`Error::Cancelled`](crate::Error::Cancelled) if the callback stops it,
    /// [`Error::Diverged`](crate::Error::Diverged) if the loss is no longer finite,
    /// [`Error::Execution`](crate::Error::Execution) if the device fails.
    fn fit_with(
        &self,
        support: &Support,
        classes: &TextClassifier,
        run: &mut Run<'_>,
    ) -> Result<Self::Fitted>;

    /// Learns from the support set, silently.
    ///
    /// # Errors
    /// As [`fit_with`](Self::fit_with).
    fn fit(&self, support: &Support, classes: &TextClassifier, device: &Device) -> Result<Self::Fitted> {
        self.fit_with(support, classes, &mut Run::new(device))
    }
}

/// A method whose kind is known only at run time: every [`Method`] is one.
pub trait AnyMethod: fmt::Debug + Send + Sync {
    /// The method's name.
    fn name(&self) -> &'static str;

    /// All its settings as a JSON object.
    fn settings(&self) -> Value;

    /// [`Method::fit_with`].
    ///
    /// # Errors
    /// As [`Method::fit_with`].
    fn fit_any(
        &self,
        support: &Support,
        classes: &TextClassifier,
        run: &mut Run<'_>,
    ) -> Result<Box<dyn Classifier>>;
}

impl<M: Method> AnyMethod for M {
    fn name(&self) -> &'static str {
        M::NAME
    }

    fn settings(&self) -> Value {
        serde_json::json!(self)
    }

    fn fit_any(
        &self,
        support: &Support,
        classes: &TextClassifier,
        run: &mut Run<'_>,
    ) -> Result<Box<dyn Classifier>> {
        Ok(Box::new(self.fit_with(support, classes, run)?))
    }
}
