use super::rounds::{SelfTraining, Trained};
use super::{DomainAdapter, FittedDomainAdapter, Known, check_images, zero_shot};
use crate::error::Result;
use crate::evaluate::Logits;
use crate::features::{Embeddings, Support};
use crate::methods::Moments;
use crate::model::Classifier;
use crate::tasks::unlabelled::balance::Sum;

/// A [`DomainAdapter`] whose images come in batches, and go.
///
/// After every batch the model is fitted anew to the images that are kept: of each class the [`keep`](DomainAdapter::keep)
/// surest, and of equally sure ones the earliest. Of the others there remain their number and, for the
/// [balance](super::Balance), the sum of their zero-shot probabilities, so that memory depends on the classes and the size of
/// a batch and not on how many images came. Labelled images of the source are kept as their moments.
///
/// As long as no class has more than `keep` images, it is what [`DomainAdapter::fit`] makes of all that came.
///
/// # Examples
/// ```
/// use clip_adapter::{prelude::*, tasks::unlabelled::DomainAdapter};
///
/// let (file, device) = (FeatureFile::synthetic(0)?, Device::flex());
/// let images = file.split("test")?.embeddings();
/// let settings = DomainAdapter { keep: 8, ..Default::default() };
/// let mut stream = settings.stream(file.classifier(), None, &mut Run::new(&device))?;
/// for start in (0..images.rows()).step_by(40) {
///     let batch = images.select(&(start..start + 40).collect::<Vec<_>>());
///     let logits = stream.push(&batch)?; // of the model that has seen this batch too
///     assert_eq!(logits.images(), 40);
/// }
/// assert!(stream.kept() <= 8 * 8);
/// assert_eq!(stream.model().unwrap().report().images, images.rows());
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug)]
pub struct DomainStream {
    settings: DomainAdapter,
    teacher: Box<dyn Classifier>,
    source: Option<Moments>,
    known: Known,
    zero_shot: Sum,
    kept: Vec<f32>, // [kept images, dim]
    gone: Vec<usize>,
    model: Option<FittedDomainAdapter>,
}

impl DomainStream {
    pub(super) fn new(
        settings: DomainAdapter,
        teacher: Box<dyn Classifier>,
        source: Option<&Support>,
        known: Known,
    ) -> Self {
        let classes = teacher.classes().class_names().len();
        Self {
            source: source.map(|source| Moments::of(source.set())),
            known,
            zero_shot: Sum::new(classes),
            kept: Vec::new(),
            gone: vec![0; classes],
            model: None,
            settings,
            teacher,
        }
    }

    /// Takes a batch, fits the model anew, and gives its logits of the batch.
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data) if there is no image, [`Error::Dim`](crate::Error::Dim) if the width is
    /// another, [`Error::Execution`](crate::Error::Execution) if the device fails. The stream is then as before.
    pub fn push(&mut self, batch: &Embeddings) -> Result<Logits> {
        let classes = self.teacher.classes();
        check_images(batch, classes)?;
        let mut seen = self.zero_shot.clone();
        seen.merge(&zero_shot(classes, batch));
        let known = self.known.with(seen.balance());
        let images = Embeddings::new([&self.kept, batch.values()].concat(), batch.dim())?;
        let trained = SelfTraining {
            settings: &self.settings,
            mode: self.settings.mode_for(&known).0,
            known: &known,
            classes,
            source: self.source.as_ref(),
            images: &images,
            gone: Some(&self.gone),
        }
        .run(&*self.teacher)?;

        let (kept, gone) = self.stay(&trained);
        let counts: Vec<usize> =
            trained.look.counts().iter().zip(&self.gone).map(|(own, gone)| own + gone).collect();
        let (settings, device) = (&self.settings, self.teacher.device());
        let model = settings.fitted(classes, &known, &trained, &counts, device);
        let logits = model.score(batch)?;
        self.kept = images.select(&kept).into_values();
        self.gone.iter_mut().zip(gone).for_each(|(all, gone)| *all += gone);
        (self.zero_shot, self.model) = (seen, Some(model));
        Ok(logits)
    }

    /// The rows that stay, in their order, and how many of each class do not.
    fn stay(&self, trained: &Trained) -> (Vec<usize>, Vec<usize>) {
        let (mut kept, mut gone) = (Vec::new(), Vec::new());
        for mut rows in trained.look.of_class() {
            trained.look.sort(&mut rows);
            gone.push(rows.len().saturating_sub(self.settings.keep));
            kept.extend(rows.into_iter().take(self.settings.keep));
        }
        kept.sort_unstable();
        (kept, gone)
    }

    /// The images that are kept.
    pub fn kept(&self) -> usize {
        self.kept.len() / self.teacher.dim()
    }

    /// The model after the last batch; none before the first. Its report counts all images that came.
    pub fn model(&self) -> Option<&FittedDomainAdapter> {
        self.model.as_ref()
    }
}
