//! A classifier for a domain of which nothing is labelled.

mod look;
mod report;
mod rounds;
mod source;
mod stream;

pub use report::{DomainClass, DomainReport, DomainRound, DoubtfulImage};
pub use source::SourceCheck;
pub use stream::DomainStream;

use burn::tensor::Device;
use faer::Mat;
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use serde::{Deserialize, Serialize};

use self::rounds::{SelfTraining, Trained};
use super::Balance;
use super::balance::Sum;
use crate::error::{Error, Result, part, positive};
use crate::features::{Embeddings, Support, TextClassifier};
use crate::methods::{ClipAdapter, FittedZeroShot, Gaussians, Moments, Ratio};
use crate::model::{Classifier, FittedLinear, LinearHead, Settings};
use crate::numerics::{row_major, softmax_rows};
use crate::train::{Method, Run};

/// Images whose zero-shot probabilities are taken at once.
const BLOCK: usize = 1024;

/// Which images of the new domain serve as shots of a class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Balanced or proportional, by the [balance](Balance) of the images; the source where its own images
    /// [speak against](SourceCheck::objection) learning from answers.
    #[default]
    Auto,
    /// Of every class the images that are likeliest to be of it, also if they are likelier to be of another; all classes
    /// equally frequent.
    Balanced,
    /// Of every class a share of the images that it is the answer for; classes as frequent as answers.
    Proportional,
    /// None: zero-shot CLIP, or Gaussians of the labelled source alone where these name 5 % more of its own images, held out.
    Source,
}

/// Moves a classifier to images of another domain of which none is labelled, with or without labelled images of the first.
///
/// A teacher, which is zero-shot CLIP or, where there is a source, a CLIP-Adapter fitted on it, says what each image is. In
/// each round the surest images of each class become its shots beside those of the source, and Gaussians with a common
/// covariance (GDA, <https://arxiv.org/abs/2402.04087>, as [`Gda`](crate::methods::Gda) has them) are fitted to both in
/// closed form and asked again:
/// `l_c = f . P mu_c - mu_c^T P mu_c / 2 + ln pi_c`, `P = D ((N - 1) S + tr(S) I)^-1`.
///
/// No image has a say in its own answer: in all rounds but the last, the images of each of ten folds are scored by Gaussians
/// of the source and of the other nine (cross-fitting). An image that learned itself would stay what it was once taken for,
/// and a class of which there is none would keep its images. Every text counts as one more shot of its class, at
/// `t_c` plus what the means of the others are apart from their texts, as in [`Gda`](crate::methods::Gda), but also where the
/// class has no other.
///
/// Which images serve depends on their [balance](Balance). *Balanced*: the `images` likeliest of each class, as in UPL
/// (<https://arxiv.org/abs/2204.03649>) but also where no image's answer is that class, and `pi` is uniform.
/// *Proportional*: a `share` of those that the class is the answer for, rounded up, three or more where there are so many, and
/// `pi_c = (n_c + 1) / (N + C)` by the `n_c` of `N` images that it was the answer for. Images that are as sure as f32 can say
/// are taken all, where they are more than that.
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `mode` | auto | `auto`, `balanced`, `proportional`, `source` | which images serve; auto asks the source, then the balance |
/// | `rounds` | 3 | 1 or more | rounds of self-training |
/// | `images` | 16 | 1 or more | images of each class that serve where they are balanced; no more than a class has on the mean |
/// | `share` | 0.5 | above 0, at most 1 | the part of a class's images that serves where they are not |
/// | `absent_classes` | false | | drops classes that are the answer for less than half of `N / C` images; with a source and proportional only |
/// | `teacher_ratio` | 0.2 | 0..=1 | [`ClipAdapter::ratio`] of the teacher that a source gives |
/// | `teacher_epochs` | 50 | 1 or more | its epochs: fewer than the method's own, since far from the source it is wrong the more the longer it trained |
/// | `keep` | 64 | 1 or more | images of each class that a [`DomainStream`] keeps |
/// | `seed` | 0 | | fixes the teacher |
///
/// All but the teacher is computed on the host in f64.
///
/// # Examples
/// ```
/// use clip_adapter::{prelude::*, tasks::{self, unlabelled::DomainAdapter}};
///
/// let (file, device) = (FeatureFile::synthetic(0)?, Device::flex());
/// let unlabelled = file.split("train")?.embeddings(); // their labels are not used
/// let model = DomainAdapter::default().fit(unlabelled, file.classifier(), None, &mut Run::new(&device))?;
/// assert!(model.report().balance > 0.5 && model.report().rounds.len() == 3);
///
/// let test = file.test_set("test")?;
/// let before = ZeroShot::default().fit(&file.support(1, 1)?, file.classifier(), &device)?.evaluate(&test)?;
/// assert!(model.evaluate(&test)?.accuracy > before.accuracy + 10.0);
///
/// let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("minerals.adapter.safetensors");
/// model.save(&path)?;
/// let same = tasks::load(&path, &file.classifier().fingerprint(), &device)?;
/// assert_eq!(same.evaluate(&test)?, model.evaluate(&test)?);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DomainAdapter {
    /// Which images serve as shots.
    pub mode: Mode,
    /// Rounds of self-training.
    pub rounds: usize,
    /// Images of each class that serve where they are balanced.
    pub images: usize,
    /// The part of a class's images that serves where they are not.
    pub share: f64,
    /// Drops classes that hardly any image seems to be of.
    pub absent_classes: bool,
    /// Weight of the adapted branch of the teacher.
    pub teacher_ratio: f64,
    /// Epochs of the teacher.
    pub teacher_epochs: usize,
    /// Images of each class that a stream keeps.
    pub keep: usize,
    /// Fixes the teacher.
    pub seed: u64,
}

impl Default for DomainAdapter {
    fn default() -> Self {
        Self {
            mode: Mode::Auto,
            rounds: 3,
            images: 16,
            share: 0.5,
            absent_classes: false,
            teacher_ratio: 0.2,
            teacher_epochs: 50,
            keep: 64,
            seed: 0,
        }
    }
}

impl Settings for DomainAdapter {
    const NAME: &'static str = "domain-adapter";
}

/// The Gaussians of a [`DomainAdapter`]: a linear classifier, for any further image of the domain.
pub type FittedDomainAdapter = FittedLinear<DomainAdapter, DomainReport>;

impl FittedDomainAdapter {
    /// What was done, and how far it is to be trusted.
    pub fn report(&self) -> &DomainReport {
        &self.found
    }
}

impl DomainAdapter {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first one outside.
    pub fn validate(&self) -> Result<()> {
        for (name, value) in [
            ("rounds", self.rounds),
            ("images", self.images),
            ("teacher_epochs", self.teacher_epochs),
            ("keep", self.keep),
        ] {
            if value == 0 {
                return Err(Error::setting(name, "1 or more", value));
            }
        }
        part("share", self.share).and_then(|()| positive("share", self.share))?;
        part("teacher_ratio", self.teacher_ratio)
    }

    /// Adapts to `images`, of the new domain, whose teacher is zero-shot CLIP or a CLIP-Adapter fitted on `source`.
    ///
    /// # Errors
    /// As [`fit_from`](Self::fit_from), and as [`Method::fit_with`] of the teacher.
    pub fn fit(
        &self,
        images: &Embeddings,
        classes: &TextClassifier,
        source: Option<&Support>,
        run: &mut Run<'_>,
    ) -> Result<FittedDomainAdapter> {
        self.check(images, classes, source)?;
        let teacher = self.teacher(classes, source, run)?;
        self.fit_from(&*teacher, images, source)
    }

    /// The same with a teacher of one's own, such as an adapter that was saved where its source is no longer at hand.
    ///
    /// # Errors
    /// [`Error::Data`] if there is no image or the source has other classes; [`Error::Dim`] if widths differ;
    /// [`Error::Setting`] for a setting out of range, or `absent_classes` without a source.
    pub fn fit_from(
        &self,
        teacher: &dyn Classifier,
        images: &Embeddings,
        source: Option<&Support>,
    ) -> Result<FittedDomainAdapter> {
        let classes = teacher.classes();
        self.check(images, classes, source)?;
        classes.weights().check_dim("features that the teacher takes", teacher.dim())?;
        let known = Known::of(source, classes)?.with(zero_shot(classes, images).balance());
        let moments = source.map(|source| Moments::of(source.set()));
        let trained = SelfTraining {
            settings: self,
            mode: self.mode_for(&known).0,
            known: &known,
            classes,
            source: moments.as_ref(),
            images,
            gone: None,
        }
        .run(teacher)?;
        let counts = trained.look.counts();
        Ok(self.fitted(classes, &known, &trained, &counts, teacher.device()))
    }

    /// Takes images of the new domain batch by batch; the teacher is that of [`fit`](Self::fit).
    ///
    /// # Errors
    /// As [`fit`](Self::fit), but for what concerns the images.
    pub fn stream(
        &self,
        classes: &TextClassifier,
        source: Option<&Support>,
        run: &mut Run<'_>,
    ) -> Result<DomainStream> {
        self.check_source(classes, source)?;
        let known = Known::of(source, classes)?;
        let teacher = self.teacher(classes, source, run)?;
        Ok(DomainStream::new(self.clone(), teacher, source, known))
    }

    fn check(&self, images: &Embeddings, classes: &TextClassifier, source: Option<&Support>) -> Result<()> {
        self.check_source(classes, source)?;
        check_images(images, classes)
    }

    fn check_source(&self, classes: &TextClassifier, source: Option<&Support>) -> Result<()> {
        self.validate()?;
        match source {
            Some(source) => source.check(classes),
            None if self.absent_classes => {
                let expected =
                    "labelled images of the source beside it: a class that CLIP never names may yet be there";
                Err(Error::setting("absent_classes", expected, "none"))
            }
            None if self.mode == Mode::Source => {
                Err(Error::setting("mode", "labelled images of the source beside `source`", "none"))
            }
            None => Ok(()),
        }
    }

    fn teacher(
        &self,
        classes: &TextClassifier,
        source: Option<&Support>,
        run: &mut Run<'_>,
    ) -> Result<Box<dyn Classifier>> {
        let Some(source) = source else { return Ok(Box::new(FittedZeroShot::new(classes, run.device()))) };
        let method = ClipAdapter {
            ratio: Ratio::Fixed(self.teacher_ratio),
            epochs: Some(self.teacher_epochs),
            seed: self.seed,
            ..Default::default()
        };
        Ok(Box::new(method.fit_with(source, classes, run)?))
    }

    /// The rule by what is known, and why.
    fn mode_for(&self, known: &Known) -> (Mode, String) {
        let (even, effective) = (Balance::EVEN, known.balance.effective);
        match (self.mode, known.check.and_then(|check| check.objection())) {
            (Mode::Auto, Some(objection)) => (Mode::Source, objection),
            (Mode::Auto, None) if known.balance.is_even() => (
                Mode::Balanced,
                format!("every class seems to be there: balance {effective:.2}, {even} or more"),
            ),
            (Mode::Auto, None) => (
                Mode::Proportional,
                format!("classes seem to be missing or rare: balance {effective:.2}, below {even}"),
            ),
            (given, _) => (given, "it was asked for".to_owned()),
        }
    }

    fn fitted(
        &self,
        classes: &TextClassifier,
        known: &Known,
        trained: &Trained,
        counts: &[usize],
        device: &Device,
    ) -> FittedDomainAdapter {
        let report = DomainReport::new(self, known, trained, counts, classes.class_names());
        let Gaussians { weights, bias } = &trained.gaussians; // [dim, classes]
        let rows = Mat::from_fn(weights.ncols(), weights.nrows(), |class, column| weights[(column, class)]);
        let bias = bias.iter().map(|&bias| bias as f32).collect();
        FittedLinear::of(self.clone(), report, LinearHead::new(classes, row_major(&rows), bias, device))
    }
}

/// What is known before anything is learned.
#[derive(Debug, Clone)]
struct Known {
    /// Labelled images of the source.
    source_images: usize,
    check: Option<SourceCheck>,
    balance: Balance,
}

impl Known {
    /// Of the source; no image of the new domain has come yet.
    fn of(source: Option<&Support>, classes: &TextClassifier) -> Result<Self> {
        let check = source.map(|source| SourceCheck::of(source, classes)).transpose()?.flatten();
        let source_images = source.map_or(0, |source| source.set().len());
        Ok(Self { source_images, check, balance: Balance { effective: 1.0 } })
    }

    fn with(&self, balance: Balance) -> Self {
        Self { balance, ..self.clone() }
    }
}

/// There are images, as wide as the classifier.
pub(super) fn check_images(images: &Embeddings, classes: &TextClassifier) -> Result<()> {
    classes.weights().check_dim("image features", images.dim())?;
    match images.rows() {
        0 => Err(Error::data("unlabelled images", "at least one", "none")),
        _ => Ok(()),
    }
}

/// The zero-shot probabilities of all images.
fn zero_shot(classes: &TextClassifier, images: &Embeddings) -> Sum {
    let starts: Vec<usize> = (0..images.rows()).step_by(BLOCK).collect();
    let block = |start: usize| {
        let rows: Vec<usize> = (start..images.rows().min(start + BLOCK)).collect();
        let mut logits = classes.logits_on_host(&images.select(&rows));
        softmax_rows(&mut logits);
        let mut sum = Sum::new(logits.ncols());
        for row in 0..logits.nrows() {
            sum.add((0..logits.ncols()).map(|class| logits[(row, class)]));
        }
        sum
    };
    let blocks: Vec<Sum> = starts.into_par_iter().map(block).collect();
    let mut all = Sum::new(classes.class_names().len());
    blocks.iter().for_each(|block| all.merge(block));
    all
}
