use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, not_negative, positive};
use crate::features::{Embeddings, TextClassifier};
use crate::numerics::{argmax, log_softmax};

/// TDA: a classifier that learns from the stream of images it classifies, without labels or training.
///
/// `logits = s f W^T + alpha sum_i exp(-beta (1 - f f_i)) e_{c_i} - alpha' sum_j exp(-beta' (1 - f f_j)) m_j`
/// (Karmanov et al., 2024, section 3, <https://arxiv.org/abs/2403.18293>). The positive cache holds of every
/// class the images `f_i` of the lowest entropy among those predicted as it, with that class `c_i`. The
/// negative cache holds images `f_j` of middling entropy, with the classes `m_j` that have a probability: not
/// being sure of any of them speaks against all. Entropies are in nats over `log2 C`, as in the authors' code.
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `shots` | 3 | 0 or more | images of each class in the positive cache |
/// | `alpha` | 2 | 0 or more | weight of the positive cache |
/// | `beta` | 5 | above 0 | its sharpness |
/// | `negative_shots` | 2 | 0 or more | images of each predicted class in the negative cache |
/// | `negative_alpha` | 0.117 | 0 or more | weight of the negative cache |
/// | `negative_beta` | 1 | above 0 | its sharpness |
/// | `entropy` | [0.2, 0.5] | | what is middling |
/// | `mask` | 0.03 | 0..1 | the probability from which on a class counts |
///
/// The settings are the authors' for ImageNet. What an image gets depends on those before it: give them in the
/// order they come, not sorted by class.
///
/// # Examples
/// ```
/// use clip_adapter::{FeatureFile, tasks::unlabelled::Tda};
///
/// let file = FeatureFile::synthetic(0)?;
/// let images = file.split("test")?.embeddings();
/// let mut stream = Tda::default().stream(file.classifier())?;
/// let first = stream.push(images.row(0))?;
/// let again = stream.push(images.row(0))?;
/// // the image is now twice in the cache of the class it seems to be of
/// let largest = |logits: &[f32]| logits.iter().copied().fold(f32::MIN, f32::max);
/// approx::assert_abs_diff_eq!(largest(&again) - largest(&first), 2.0, epsilon = 0.2);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tda {
    /// Images of each class in the positive cache.
    pub shots: usize,
    /// Weight of the positive cache.
    pub alpha: f64,
    /// Sharpness of the positive cache.
    pub beta: f64,
    /// Images of each predicted class in the negative cache.
    pub negative_shots: usize,
    /// Weight of the negative cache.
    pub negative_alpha: f64,
    /// Sharpness of the negative cache.
    pub negative_beta: f64,
    /// The entropies between which an image enters the negative cache.
    pub entropy: [f64; 2],
    /// The probability from which on a class counts in the negative cache.
    pub mask: f64,
}

impl Default for Tda {
    fn default() -> Self {
        Self {
            shots: 3,
            alpha: 2.0,
            beta: 5.0,
            negative_shots: 2,
            negative_alpha: 0.117,
            negative_beta: 1.0,
            entropy: [0.2, 0.5],
            mask: 0.03,
        }
    }
}

impl Tda {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first one outside.
    pub fn validate(&self) -> Result<()> {
        for (name, value) in [("alpha", self.alpha), ("negative_alpha", self.negative_alpha)] {
            not_negative(name, value)?;
        }
        for (name, value) in [("beta", self.beta), ("negative_beta", self.negative_beta)] {
            positive(name, value)?;
        }
        let [low, high] = self.entropy;
        if low.is_nan() || high.is_nan() || low > high {
            return Err(Error::setting("entropy", "the lower number first", format!("{:?}", self.entropy)));
        }
        if !(0.0..1.0).contains(&self.mask) {
            return Err(Error::setting("mask", "0..1", self.mask));
        }
        Ok(())
    }

    /// Starts with empty caches.
    ///
    /// # Errors
    /// [`Error::Setting`] for a setting out of range.
    pub fn stream(&self, classes: &TextClassifier) -> Result<TdaStream> {
        self.validate()?;
        let cache = |shots: usize| Cache { shots, of_class: vec![Vec::new(); classes.class_names().len()] };
        Ok(TdaStream {
            settings: *self,
            weights: classes.weights().clone(),
            scale: classes.logit_scale(),
            positive: cache(self.shots),
            negative: cache(self.negative_shots),
        })
    }
}

/// A [`Tda`] at work: the images it has kept so far.
#[derive(Debug, Clone)]
pub struct TdaStream {
    settings: Tda,
    weights: Embeddings, // W, [classes, dim]
    scale: f64,
    positive: Cache,
    negative: Cache,
}

impl TdaStream {
    /// Takes the next image, perhaps keeps it, and gives its logits, one a class.
    ///
    /// # Errors
    /// [`Error::Dim`] if the width is not the classifier's, [`Error::Data`] if a value is not finite or all
    /// are 0.
    pub fn push(&mut self, image: &[f32]) -> Result<Vec<f32>> {
        self.weights.check_dim("image features", image.len())?;
        let image = Embeddings::new(image.to_vec(), image.len())?.normalised();
        let image = image.row(0);
        let classes = 0..self.weights.rows();
        let mut logits: Vec<f32> =
            classes.map(|class| (self.scale * dot(image, self.weights.row(class))) as f32).collect();
        self.keep(image, &logits);

        let Tda { alpha, beta, negative_alpha, negative_beta, .. } = self.settings;
        self.positive.add_to(&mut logits, image, alpha, beta);
        self.negative.add_to(&mut logits, image, -negative_alpha, negative_beta);
        Ok(logits)
    }

    /// The images in the positive and in the negative cache.
    pub fn kept(&self) -> (usize, usize) {
        let count = |cache: &Cache| cache.of_class.iter().map(Vec::len).sum();
        (count(&self.positive), count(&self.negative))
    }

    fn keep(&mut self, image: &[f32], logits: &[f32]) {
        let predicted = argmax(logits);
        let log_p = log_softmax(logits);
        let entropy = -log_p.iter().map(|log_p| log_p.exp() * log_p).sum::<f64>();
        let entropy = entropy / (logits.len() as f64).log2().max(1.0);
        let kept = |classes| Kept { image: image.to_vec(), entropy, classes };
        self.positive.offer(predicted, kept(vec![predicted]));
        let [low, high] = self.settings.entropy;
        if low < entropy && entropy < high {
            let likely = (0..logits.len()).filter(|&class| log_p[class].exp() > self.settings.mask);
            self.negative.offer(predicted, kept(likely.collect()));
        }
    }
}

/// The images of the lowest entropy of each predicted class.
#[derive(Debug, Clone)]
struct Cache {
    shots: usize,
    of_class: Vec<Vec<Kept>>,
}

/// A unit feature and the classes it speaks for.
#[derive(Debug, Clone)]
struct Kept {
    image: Vec<f32>,
    entropy: f64,
    classes: Vec<usize>,
}

impl Cache {
    /// Takes the image in the place of one that is less sure, or where there is room.
    fn offer(&mut self, class: usize, kept: Kept) {
        let images = &mut self.of_class[class];
        let place = images.partition_point(|other| other.entropy <= kept.entropy);
        images.insert(place, kept);
        images.truncate(self.shots);
    }

    /// Adds `weight exp(-beta (1 - f f_i))` to the classes of every image.
    fn add_to(&self, logits: &mut [f32], image: &[f32], weight: f64, beta: f64) {
        for kept in self.of_class.iter().flatten() {
            let affinity = weight * (-beta * (1.0 - dot(image, &kept.image))).exp();
            for &class in &kept.classes {
                logits[class] += affinity as f32;
            }
        }
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_keeps_the_surest_and_of_equals_the_earliest() {
        let mut cache = Cache { shots: 2, of_class: vec![Vec::new()] };
        for (value, entropy) in [(1.0, 0.5), (2.0, 0.3), (3.0, 0.5), (4.0, 0.1), (5.0, 0.3)] {
            cache.offer(0, Kept { image: vec![value], entropy, classes: vec![0] });
        }
        let kept: Vec<f32> = cache.of_class[0].iter().map(|kept| kept.image[0]).collect();
        assert_eq!(kept, [4.0, 2.0]);
    }
}
