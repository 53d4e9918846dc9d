use faer::Mat;
use serde::{Deserialize, Serialize};

use super::fitted_trans_clip::FittedTransClip;
use super::graph::{Edges, both_ways, nearest, nearest_others};
use super::mixture::{Mixture, Sample};
use super::{Balance, check_images};
use crate::error::{Error, Result, not_negative};
use crate::evaluate::Logits;
use crate::features::{Embeddings, Support};
use crate::model::Classifier;
use crate::numerics::{log_normalise, log_softmax};

/// What the mixture's log likelihood is divided by, and how often assignments are passed on between two updates
/// of it: the authors'.
pub(super) const SOFTNESS: f64 = 50.0;
const PASSES: usize = 5;

/// TransCLIP: classifies many images together, so that likeness among them corrects the text.
///
/// The assignments `z_i` of the images maximise a Gaussian mixture's likelihood, agreement with their nearest
/// neighbours and agreement with the predictions `y_i` of any method (Zanella et al., 2024, section 3,
/// <https://arxiv.org/abs/2406.01837>). Ten block updates do:
///
/// `z_i ~ y_i^lambda exp(log p_i / 50 + sum_j (w_ij + w_ji) z_j / 2k)`, five times, with the cosine `w_ij` if
/// `j` is among the `k` images nearest to `i`, else 0; then the means `mu_c` of the classes, normalised, and
/// the diagonal covariance they share, from the images by `z` and from the shots by their labels. A shot holds
/// its label, and has edges to the images nearest to it.
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `lambda` | 1 | 0 or more | weight of the predictions it starts from |
/// | `shot_weight` | 0.125 | 0 or more | what one shot weighs in the mixture, as a part of the images a class has on the mean |
/// | `neighbours` | 3 | 0 or more | edges of each image and of each shot |
/// | `iterations` | 10 | 0 or more | block updates |
/// | `require_balance` | false | | refuses images whose [balance](Balance) says that classes are missing |
///
/// Every class takes its part of the images, also one of which there is none: where classes are missing or rare, this can
/// fall far below the predictions it starts from. What is fitted knows by [`FittedTransClip::balance`] whether they seem to
/// be, and `require_balance` makes that an error; for such images there is [`DomainAdapter`](super::DomainAdapter).
///
/// With zero-shot logits and no shots this is the authors' method and setting. With shots they choose the
/// weight `gamma = shot_weight K / 50` among 0.002 to 0.2 on validation images, start from the shots and set
/// `lambda` to 0.5. The constant and the start here need no choice: on the validation splits of four data sets
/// they do as well with 4 and 16 shots as the best of those, and better with one. All is computed on the host
/// in f64.
///
/// # Examples
/// ```
/// use burn::tensor::Device;
/// use clip_adapter::{Classifier, FeatureFile, Method, ZeroShot, evaluate::Scores, tasks::unlabelled::TransClip};
///
/// let file = FeatureFile::synthetic(0)?;
/// let images = file.split("test")?; // their labels are used to score, and for nothing else
/// let zero_shot = ZeroShot::default().fit(&file.support(1, 1)?, file.classifier(), &Device::flex())?;
/// let before = zero_shot.score(images.embeddings())?;
/// // the made-up text is far surer than it is right
/// let after = TransClip { lambda: 0.1, ..Default::default() }.refine(&before, images.embeddings(), None)?;
/// let accuracy = |logits| Ok::<f64, clip_adapter::Error>(Scores::new(logits, images.labels())?.accuracy());
/// assert!(accuracy(&after)? > accuracy(&before)? + 2.0);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TransClip {
    /// Weight of the predictions it starts from.
    pub lambda: f64,
    /// What one shot weighs in the mixture, as a part of the images a class has on the mean.
    pub shot_weight: f64,
    /// Edges of each image and of each shot.
    pub neighbours: usize,
    /// Block updates.
    pub iterations: usize,
    /// Refuses images of which classes seem to be missing.
    pub require_balance: bool,
}

impl Default for TransClip {
    fn default() -> Self {
        Self { lambda: 1.0, shot_weight: 0.125, neighbours: 3, iterations: 10, require_balance: false }
    }
}

impl TransClip {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first one outside.
    pub fn validate(&self) -> Result<()> {
        for (name, value) in [("lambda", self.lambda), ("shot_weight", self.shot_weight)] {
            not_negative(name, value)?;
        }
        Ok(())
    }

    /// Better logits of `images`, from the logits that a method gave them and perhaps its shots: the
    /// logarithms of the assignments. They tell classes apart and are not calibrated.
    ///
    /// # Shapes
    /// - `logits`: one row an image
    /// - `images`: one row an image, of any length; the more of them the better, and all that are to be classified
    /// - returns: as `logits`
    ///
    /// # Errors
    /// [`Error::Data`] if there is no image, not one row of logits an image, or the support has another number
    /// of classes, or `require_balance` is set and they are not balanced; [`Error::Dim`] if it has another width;
    /// [`Error::Setting`] for a setting out of range.
    pub fn refine(&self, logits: &Logits, images: &Embeddings, support: Option<&Support>) -> Result<Logits> {
        Ok(self.solve(logits, images, support)?.0)
    }

    /// A classifier of further images, from what `model` says of these and perhaps its shots:
    /// `lambda log_softmax(model)_c + log p(f | c) / 50` by the mixture that was found, without neighbours. An image has
    /// its logits at once, whoever else comes, and the whole can be saved.
    ///
    /// # Errors
    /// As [`refine`](Self::refine) and [`Classifier::score`].
    ///
    /// # Examples
    /// ```
    /// use clip_adapter::{prelude::*, tasks::{self, unlabelled::TransClip}};
    ///
    /// let (file, device) = (FeatureFile::synthetic(0)?, Device::flex());
    /// let unlabelled = file.split("train")?.embeddings();
    /// let zero_shot = ZeroShot::default().fit(&file.support(1, 1)?, file.classifier(), &device)?;
    /// let test = file.test_set("test")?;
    /// let before = zero_shot.evaluate(&test)?;
    /// let model = TransClip { lambda: 0.1, ..Default::default() }.fit(Box::new(zero_shot), unlabelled, None)?;
    /// assert!(model.evaluate(&test)?.accuracy > before.accuracy + 2.0);
    ///
    /// let folder = tempfile::tempdir().unwrap();
    /// let path = folder.path().join("minerals.adapter.safetensors");
    /// model.save(&path)?;
    /// let same = tasks::load(&path, &file.classifier().fingerprint(), &device)?;
    /// assert_eq!(same.evaluate(&test)?, model.evaluate(&test)?);
    /// # Ok::<(), clip_adapter::Error>(())
    /// ```
    pub fn fit(
        &self,
        model: Box<dyn Classifier>,
        images: &Embeddings,
        support: Option<&Support>,
    ) -> Result<FittedTransClip> {
        let logits = model.score(images)?;
        let (_, mixture) = self.solve(&logits, images, support)?;
        FittedTransClip::new(*self, model, &mixture, Balance::of(&logits))
    }

    /// The logits, and the mixture at the end.
    fn solve(
        &self,
        logits: &Logits,
        images: &Embeddings,
        support: Option<&Support>,
    ) -> Result<(Logits, Mixture)> {
        self.validate()?;
        check_images(logits, images)?;
        if self.require_balance {
            Balance::of(logits).require()?;
        }
        let (classes, count) = (logits.classes(), logits.images());
        let log_y: Vec<f64> = logits.rows().flat_map(log_softmax).collect();
        let log_y = Mat::from_fn(classes, count, |class, image| log_y[image * classes + class]);

        let mut sample = Sample::new(images.unit_rows(), classes);
        let mut fixed = Mat::from_fn(classes, count, |class, image| self.lambda * log_y[(class, image)]);
        if let Some(support) = support {
            check_support(support, logits, images)?;
            sample.add(support.set(), self.shot_weight * count as f64 / classes as f64);
            let edges = nearest(&support.set().embeddings().unit_rows(), &sample.images, self.neighbours);
            for (edges, &label) in edges.iter().zip(support.set().labels()) {
                for (image, weight) in self.scaled(edges) {
                    fixed[(label, image)] += weight;
                }
            }
        }
        let edges = both_ways(&nearest_others(&sample.images, self.neighbours));
        let edges: Edges = edges.iter().map(|edges| self.scaled(edges).collect()).collect();

        let mut mixture = Mixture::start(&sample, &log_y);
        let mut log_z = log_y;
        for iteration in 0..=self.iterations {
            let likelihood = mixture.log_likelihood(&sample);
            let own = Mat::from_fn(classes, count, |class, image| {
                fixed[(class, image)] + likelihood[(class, image)] / SOFTNESS
            });
            for _ in 0..PASSES {
                log_z = assign(&own, &edges, &probabilities(&log_z));
            }
            if iteration < self.iterations {
                mixture.update(&sample, &probabilities(&log_z));
            }
        }
        let values = (0..count).flat_map(|image| log_z.col_as_slice(image)).map(|&value| value as f32);
        Ok((Logits::new(values.collect(), classes)?, mixture))
    }

    /// Edges with their share in the sum.
    fn scaled(&self, edges: &[(usize, f64)]) -> impl Iterator<Item = (usize, f64)> {
        let share = 1.0 / (2 * self.neighbours.max(1)) as f64;
        edges.iter().map(move |&(to, weight)| (to, weight * share))
    }
}

/// The logarithms of the assignments that `own` terms and the neighbours' assignments give: `[classes,
/// images]`.
fn assign(own: &Mat<f64>, edges: &Edges, z: &Mat<f64>) -> Mat<f64> {
    let mut next = own.clone();
    for (image, edges) in edges.iter().enumerate() {
        let column = next.col_as_slice_mut(image);
        for &(other, weight) in edges {
            for (value, z) in column.iter_mut().zip(z.col_as_slice(other)) {
                *value += weight * z;
            }
        }
        log_normalise(column);
    }
    next
}

fn probabilities(log_z: &Mat<f64>) -> Mat<f64> {
    Mat::from_fn(log_z.nrows(), log_z.ncols(), |class, image| log_z[(class, image)].exp())
}

fn check_support(support: &Support, logits: &Logits, images: &Embeddings) -> Result<()> {
    images.check_dim("support features", support.set().embeddings().dim())?;
    let found = support.set().class_names().len();
    if found == logits.classes() {
        return Ok(());
    }
    Err(Error::data("classes of the support set", logits.classes(), found))
}
