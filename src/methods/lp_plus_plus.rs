use burn::tensor::{Device, Tensor, activation};
use faer::Side;
use serde::{Deserialize, Serialize};

use crate::choose::Choice;
use crate::error::{Error, Result};
use crate::features::{FeatureSet, Support, TextClassifier, normalise};
use crate::model::{FittedLinear, LinearHead, Settings};
use crate::train::{Method, Progress, Run, scalar};

/// What the initial weight of the text is, in units of the mean cosine of a class's images with its text.
const INITIAL_ALPHA: f64 = 250.0;

/// LP++: a linear probe in which every class blends its own image weight with its text.
///
/// `logits_k = f (w_k + alpha_k t_k)`, without CLIP's scale, trained with cross-entropy by gradient descent on all
/// shots at once. `w_k` starts as the sum of its class's unit features and every `alpha_k` as 250 times the mean
/// cosine of a class's images with its text. The step sizes follow from bounds of the curvature, so that there is
/// none to tune: `4 N / lambda_max(F^T F)` for `w` with momentum at every iteration, and `N / (4 max_k sum_i (f_i
/// t_k)^2)` for `alpha` without momentum at every tenth (Huang et al., 2024, sections 3 and 4,
/// <https://arxiv.org/abs/2404.02285>). With few-shot validation images the best iterate is kept, else the last.
///
/// The authors' code differs in one thing: it never clears the gradient of `alpha`, which adds up over the fit.
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `iterations` | 300 | 1 or more | steps of `w` |
/// | `momentum` | 0.9 | 0..1 | of `w` |
/// | `alpha_every` | 10 | 1 or more | steps of `w` for one of `alpha` |
///
/// The callback is called at every iteration. A fit takes a second or so and keeps no checkpoint.
///
/// # Examples
/// ```
/// use burn::tensor::Device;
/// use clip_adapter::{Classifier, FeatureFile, Method, ZeroShot, methods::LpPlusPlus};
///
/// let (file, device) = (FeatureFile::synthetic(0)?, Device::flex());
/// let (support, test) = (file.support(16, 1)?, file.test_set("test")?);
/// let before = ZeroShot::default().fit(&support, file.classifier(), &device)?.evaluate(&test)?;
/// let after = LpPlusPlus::default().fit(&support, file.classifier(), &device)?.evaluate(&test)?;
/// assert!(after.accuracy > before.accuracy + 10.0);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LpPlusPlus {
    /// Steps of the image weights.
    pub iterations: usize,
    /// Of the image weights.
    pub momentum: f64,
    /// Steps of the image weights for one of the text weights.
    pub alpha_every: usize,
}

impl Default for LpPlusPlus {
    fn default() -> Self {
        Self { iterations: 300, momentum: 0.9, alpha_every: 10 }
    }
}

impl LpPlusPlus {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first one outside.
    pub fn validate(&self) -> Result<()> {
        for (name, setting) in [("iterations", self.iterations), ("alpha_every", self.alpha_every)] {
            if setting == 0 {
                return Err(Error::setting(name, "1 or more", setting));
            }
        }
        if !(0.0..1.0).contains(&self.momentum) {
            return Err(Error::setting("momentum", "0..1", self.momentum));
        }
        Ok(())
    }

    /// Descends, and returns the iterate to keep with its number.
    fn descend(&self, problem: &Problem, support: &Support, run: &mut Run<'_>) -> Result<(usize, Iterate)> {
        let steps = &problem.steps;
        let mut iterate = problem.start();
        let mut velocity = iterate.weights.zeros_like();
        let images = support.validation().map(|set| normalise(set.embeddings().tensor(run.device())));
        let mut choice = Choice::new(support.validation().map(FeatureSet::labels).unwrap_or_default());
        for iteration in 1..=self.iterations {
            let (loss, slope_of_weights, slope_of_alpha) = problem.gradients(&iterate);
            velocity = velocity.mul_scalar(self.momentum) + slope_of_weights;
            iterate.weights = iterate.weights - velocity.clone().mul_scalar(steps.weights);
            if iteration.is_multiple_of(self.alpha_every) {
                iterate.alpha = iterate.alpha - slope_of_alpha.mul_scalar(steps.alpha);
            }
            if let Some(images) = &images {
                let logits =
                    images.clone().matmul(problem.blend(&iterate).transpose()).try_into_vec_as::<f32>();
                let logits = logits.map_err(|error| Error::execution("scoring validation images", error))?;
                choice.consider((iteration, iterate.clone()), &logits);
            }
            self.report(iteration, scalar(loss, "training")?, run)?;
        }
        Ok(choice.best().unwrap_or((self.iterations, iterate)))
    }

    fn report(&self, iteration: usize, loss: f64, run: &mut Run<'_>) -> Result<()> {
        if !loss.is_finite() {
            return Err(Error::Diverged { epoch: iteration, loss });
        }
        let epochs = self.iterations;
        let progress = Progress::new("image and text weights", iteration, epochs, loss);
        if run.report(&progress).is_break() {
            return Err(Error::Cancelled { epoch: iteration, epochs, checkpoint: None });
        }
        Ok(())
    }
}

/// Where the descent stands.
#[derive(Clone)]
struct Iterate {
    weights: Tensor<2>, // w, [classes, dim]
    alpha: Tensor<2>,   // [1, classes]
}

/// What the descent works on, on the device.
struct Problem {
    images: Tensor<2>,  // F, unit rows [shots, dim]
    text: Tensor<2>,    // T, [classes, dim]
    cosines: Tensor<2>, // F T^T, [shots, classes]
    targets: Tensor<2>, // one-hot [shots, classes]
    steps: Steps,
}

impl Problem {
    fn new(set: &FeatureSet, classes: &TextClassifier, device: &Device) -> Result<Self> {
        let images = set.embeddings().normalised().tensor(device);
        let text = classes.tensor(device);
        let cosines = images.clone().matmul(text.clone().transpose());
        let targets = set.targets(0.0, device);
        Ok(Self { images, text, cosines, targets, steps: Steps::of(set, classes)? })
    }

    /// The class sums, and the same weight for every text.
    fn start(&self) -> Iterate {
        let classes = self.text.dims()[0];
        Iterate {
            weights: self.targets.clone().transpose().matmul(self.images.clone()),
            alpha: Tensor::full([1, classes], self.steps.initial_alpha, &self.images.device()),
        }
    }

    /// The mean cross-entropy and its gradients: `[1]`, `[classes, dim]` and `[1, classes]`.
    fn gradients(&self, iterate: &Iterate) -> (Tensor<1>, Tensor<2>, Tensor<2>) {
        let shots = self.images.dims()[0] as f64;
        let logits = self.images.clone().matmul(iterate.weights.clone().transpose())
            + self.cosines.clone() * iterate.alpha.clone();
        let log_p = activation::log_softmax(logits, 1);
        let loss = (log_p.clone() * self.targets.clone()).sum().mul_scalar(-1.0 / shots);
        let slopes = (log_p.exp() - self.targets.clone()).mul_scalar(1.0 / shots); // [shots, classes]
        let of_alpha = (slopes.clone() * self.cosines.clone()).sum_dim(0);
        (loss, slopes.transpose().matmul(self.images.clone()), of_alpha)
    }

    /// `w_k + alpha_k t_k`: `[classes, dim]`.
    fn blend(&self, iterate: &Iterate) -> Tensor<2> {
        iterate.weights.clone() + self.text.clone() * iterate.alpha.clone().transpose()
    }
}

/// What the paper derives from the shots instead of tuning it.
struct Steps {
    weights: f64,
    alpha: f64,
    initial_alpha: f64,
}

impl Steps {
    fn of(set: &FeatureSet, classes: &TextClassifier) -> Result<Self> {
        let images = set.embeddings().unit_rows();
        let (shots, dim) = (images.nrows(), images.ncols());
        // F^T F and F F^T have the same largest eigenvalue.
        let gram = if dim < shots { images.transpose() * &images } else { &images * images.transpose() };
        let eigenvalues = gram
            .self_adjoint_eigenvalues(Side::Lower)
            .map_err(|error| Error::execution("bounding a curvature", format!("{error:?}")))?;
        let largest = eigenvalues.into_iter().fold(0.0, f64::max);

        let cosines = &images * classes.weights().unit_rows().transpose(); // [shots, classes]
        let square = |class: usize| (0..shots).map(|row| cosines[(row, class)].powi(2)).sum::<f64>();
        let steepest = (0..cosines.ncols()).map(square).fold(0.0, f64::max);
        let counts = set.class_counts();
        let seen = counts.iter().filter(|&&count| count > 0).count() as f64;
        let mean = |(row, &class): (usize, &usize)| cosines[(row, class)] / counts[class] as f64;
        let mean: f64 = set.labels().iter().enumerate().map(mean).sum::<f64>() / seen;
        let shots = shots as f64;
        Ok(Self {
            weights: 4.0 * shots / largest,
            alpha: shots / (4.0 * steepest.max(1e-12)), // no step can be infinite
            initial_alpha: INITIAL_ALPHA * mean,
        })
    }
}

/// The blended classifier of an [`LpPlusPlus`].
pub type FittedLpPlusPlus = FittedLinear<LpPlusPlus, LpPlusPlusFound>;

/// What a fit of [`LpPlusPlus`] finds beside the classifier.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LpPlusPlusFound {
    /// The iteration that was kept.
    pub iteration: usize,
}

impl FittedLpPlusPlus {
    /// The iteration that was kept.
    pub fn iteration(&self) -> usize {
        self.found.iteration
    }
}

impl Settings for LpPlusPlus {
    const NAME: &'static str = "lp-plus-plus";
}

impl Method for LpPlusPlus {
    type Fitted = FittedLpPlusPlus;

    fn fit_with(
        &self,
        support: &Support,
        classes: &TextClassifier,
        run: &mut Run<'_>,
    ) -> Result<FittedLpPlusPlus> {
        support.check(classes)?;
        self.validate()?;
        let problem = Problem::new(support.set(), classes, run.device())?;
        let (iteration, iterate) = self.descend(&problem, support, run)?;
        let weight = problem.blend(&iterate).try_into_vec_as::<f32>();
        let weight = weight.map_err(|error| Error::execution("reading weights", error))?;
        let bias = vec![0.0; classes.class_names().len()];
        let head = LinearHead::new(classes, weight, bias, run.device());
        Ok(FittedLpPlusPlus::of(*self, LpPlusPlusFound { iteration }, head))
    }
}
