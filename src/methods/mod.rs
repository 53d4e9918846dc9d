//! The ways to find the part that learns, one file each, behind one trait.

mod ape;
mod auto;
mod choice;
mod clap;
mod clip_adapter;
mod cross_modal;
mod dense;
mod ensemble;
mod extension;
mod fitted_kernel;
mod fitted_linear;
mod gda;
mod guard;
mod kernel_head;
mod lbfgs;
mod linear_head;
mod linear_probe;
mod lp_plus_plus;
mod matrix;
mod monitor;
mod optimiser;
mod proker;
mod prolip;
mod proposal;
mod range;
mod registry;
mod rla;
mod run;
mod schedule;
mod session;
mod ss_text;
mod task_res;
mod tip_adapter;
mod tip_adapter_f;
mod tip_grid;
mod trainer;
mod transductive;
mod zero_shot;

pub use self::clap::{Clap, FittedClap}; // `clap` alone could be the crate that the examples use
pub use ape::{Ape, FittedApe};
pub use auto::{AutoAdapter, FittedAutoAdapter};
pub use clip_adapter::{Branches, ClipAdapter, FittedClipAdapter, Ratio};
pub use cross_modal::{CrossModal, FittedCrossModal};
pub use ensemble::{Ensemble, FittedEnsemble};
pub use fitted_kernel::FittedKernel;
pub use fitted_linear::FittedLinear;
pub use gda::{FittedGda, Gda};
pub use guard::{FittedGuard, Guard};
pub use linear_probe::{FittedLinearProbe, LinearProbe};
pub use lp_plus_plus::{FittedLpPlusPlus, LpPlusPlus};
pub use proker::{FittedProKeR, ProKeR};
pub use prolip::{FittedProLip, ProLip};
pub use registry::{AnyMethod, NAMES, by_name, load};
pub use rla::{FittedRla, Rla};
pub use run::{Progress, Run};
pub use ss_text::{FittedSsText, SsText};
pub use task_res::{FittedTaskRes, TaskRes};
pub use tip_adapter::{FittedTipAdapter, TipAdapter};
pub use tip_adapter_f::{FittedTipAdapterF, TipAdapterF};
pub use transductive::{Tda, TdaStream, TransClip, pseudo_labels};
pub use zero_shot::{FittedZeroShot, ZeroShot};

use std::path::Path;

use burn::tensor::{Device, Tensor};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Error, Report, Result, Support, TestSet, TextClassifier,
    evaluate::{Logits, Scores},
    features::Embeddings,
};

/// A way to adapt CLIP: a plain struct of settings whose defaults need no tuning, and one `fit`.
///
/// What is learned from is a [`Support`]: few-shot training images and, if settings are to be chosen, few-shot
/// validation images. A [`TestSet`] does not fit in. A method sees features, never pixels; one that needs the
/// backbone's weights takes the backbone when it is built.
///
/// Closed-form methods ignore the run's callback; trained ones report every epoch through it. See [`Run`].
///
/// # Examples
/// ```
/// use burn::tensor::Device;
/// use clip_adapter::{ClipAdapter, FeatureFile, Fitted, Method, ZeroShot};
///
/// let file = FeatureFile::synthetic(0)?;
/// let (support, test) = (file.support(4, 1)?, file.test_set("test")?);
/// let device = Device::flex();
/// let before = ZeroShot::default().fit(&support, file.classifier(), &device)?.evaluate(&test)?;
/// let after = ClipAdapter::default().fit(&support, file.classifier(), &device)?.evaluate(&test)?;
/// assert!(after.accuracy > before.accuracy);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
pub trait Method: Serialize + DeserializeOwned + Default + Send + Sync + 'static {
    /// The method's name on a command line and in reports.
    const NAME: &'static str;

    /// What fitting gives.
    type Fitted: Fitted + 'static;

    /// Learns from the support set.
    ///
    /// # Errors
    /// [`Error::Data`] or [`Error::Dim`] if support and classes do not fit together, [`Error::Setting`] for a
    /// setting out of range, [`Error::Cancelled`] if the callback stops it, [`Error::Diverged`] if the loss is no
    /// longer finite, [`Error::Execution`] if the device fails.
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

/// A fitted method: a classifier of image features.
pub trait Fitted: Send {
    /// The zero-shot classifier it started from.
    fn classes(&self) -> &TextClassifier;

    /// The device it computes on.
    fn device(&self) -> &Device;

    /// The width of the features it takes: the classifier's, unless it takes them before the last projection.
    fn dim(&self) -> usize {
        self.classes().dim()
    }

    /// Logits of a batch of images.
    ///
    /// # Shapes
    /// - `images`: `[batch, dim]` on [`device`](Self::device), of any length
    /// - returns: `[batch, classes]`
    ///
    /// # Panics
    /// If the width of `images` is not [`dim`](Self::dim).
    fn logits(&self, images: Tensor<2>) -> Tensor<2>;

    /// What fitting chose or learned that the settings do not say, such as a learned ratio.
    fn chosen(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// Writes everything needed to use it later, whole or not at all.
    ///
    /// # Errors
    /// [`Error::Write`] if the file cannot be written.
    fn save(&self, path: &Path) -> Result<()>;

    /// Logits of any number of images, on the host.
    ///
    /// # Errors
    /// [`Error::Dim`] if the width is not [`dim`](Self::dim); [`Error::Execution`] if the device fails.
    fn score(&self, images: &Embeddings) -> Result<Logits> {
        if images.dim() != self.dim() {
            let (expected, found) = (self.dim(), images.dim());
            return Err(Error::Dim { what: "image features".to_owned(), expected, found });
        }
        // One tensor of 10,000 x 1,000 logits is 40 MB: blocks keep a large test set within the cache.
        const BLOCK: usize = 1024;
        let mut values = Vec::with_capacity(images.rows() * self.classes().class_names().len());
        for start in (0..images.rows()).step_by(BLOCK) {
            let block = images.tensor_of(start..(start + BLOCK).min(images.rows()), self.device());
            let logits = self.logits(block).try_into_vec_as::<f32>();
            values.extend(logits.map_err(|error| Error::execution("scoring images", error))?);
        }
        Logits::new(values, self.classes().class_names().len())
    }

    /// Scores a test set.
    ///
    /// # Errors
    /// As [`score`](Self::score); [`Error::Data`] if the test set is empty or its classes are others.
    fn evaluate(&self, test: &TestSet) -> Result<Report> {
        let set = test.set();
        if set.class_names() != self.classes().class_names() {
            return Err(Error::data(
                "test classes",
                format!("{:?}", self.classes().class_names()),
                format!("{:?}", set.class_names()),
            ));
        }
        let scores = Scores::new(&self.score(set.embeddings())?, set.labels())?;
        Ok(Report::new(scores, set.class_names()))
    }
}

/// Support and classifier have the same classes and width.
pub(crate) fn check_fit(support: &Support, classes: &TextClassifier) -> Result<()> {
    classes.weights().check_dim("support features", support.set().embeddings().dim())?;
    check_classes(support, classes)
}

/// Support and classifier have the same classes.
pub(crate) fn check_classes(support: &Support, classes: &TextClassifier) -> Result<()> {
    if support.set().class_names() == classes.class_names() {
        return Ok(());
    }
    Err(Error::data(
        "support classes",
        format!("{:?}", classes.class_names()),
        format!("{:?}", support.set().class_names()),
    ))
}
