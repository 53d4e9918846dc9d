mod change;
mod deletion;
mod solver;

pub use change::{ConceptChange, ConceptsOfClass};
pub use deletion::{ConceptDeletion, concept_deletion};

use faer::Mat;
use rayon::iter::ParallelIterator;
use rayon::slice::ParallelSlice;
use serde::{Deserialize, Serialize};

use self::solver::Solver;
use crate::error::{Error, Result, positive};
use crate::features::Embeddings;

/// How many words of a dictionary a feature is made of.
///
/// `w = argmin |C^T w - v|^2 + lambda sum w` over `w >= 0` (SpLiCE: Bhalla et al., 2024, equation 4,
/// <https://arxiv.org/abs/2402.10376>), by coordinate descent.
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `lambda` | 0.2 | above 0 | the larger, the fewer words: of 1,080 about 50, 11 and 4 at 0.1, 0.2 and 0.3 |
/// | `tolerance` | 0.000001 | above 0 | it ends where the duality gap is no more |
/// | `rounds` | 1000 | 1 or more | it ends after so many at the latest |
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Splice {
    /// The larger, the fewer words.
    pub lambda: f64,
    /// It ends where the duality gap is no more.
    pub tolerance: f64,
    /// It ends after so many rounds at the latest.
    pub rounds: usize,
}

impl Default for Splice {
    fn default() -> Self {
        Self { lambda: 0.2, tolerance: 1e-6, rounds: 1000 }
    }
}

impl Splice {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first one outside.
    pub fn validate(&self) -> Result<()> {
        positive("lambda", self.lambda)?;
        positive("tolerance", self.tolerance)?;
        match self.rounds {
            0 => Err(Error::setting("rounds", "1 or more", 0)),
            _ => Ok(()),
        }
    }
}

/// A word and a number that belongs to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Word {
    /// The word.
    pub word: String,
    /// A cosine or a weight.
    pub value: f64,
}

/// What a feature is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Decomposition {
    /// Places of words in the dictionary with their weights, the largest first.
    pub weights: Vec<(usize, f64)>,
    /// How alike the feature is what the words make up.
    pub cosine: f64,
    /// How far the objective may be from its least value.
    pub gap: f64,
}

/// A dictionary of words, by which features are read.
///
/// A word's direction is its text's embedding less the mean of all words', normalised; a feature is taken less the mean of
/// images like it. The words are the user's: names of classes, and what else there may be to see. ImageNet's names are the
/// wrong words for aerial scenes, where they find a crocodile on a meadow.
///
/// # Examples
/// ```
/// use clip_adapter::{FeatureFile, explain::{Concepts, Splice}};
///
/// let file = FeatureFile::synthetic(0)?;
/// let (classes, images) = (file.classifier(), file.split("train")?.embeddings());
/// let concepts = Concepts::new(classes.class_names(), classes.weights(), images)?;
/// let found = concepts.decompose(images, &Splice::default())?;
/// let (word, weight) = found[0].weights[0];
/// println!("{} {weight:.2}, which make up {:.2}", concepts.words()[word], found[0].cosine);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Concepts {
    words: Vec<String>,
    directions: Mat<f64>, // [words, dim]
    mean: Vec<f64>,       // of the images
}

impl Concepts {
    /// Takes words, their text embeddings, one a word, and unlabelled images for the mean.
    ///
    /// # Errors
    /// [`Error::Data`] if there are fewer than two words, not one text each, or texts that are all the same;
    /// [`Error::Dim`] if texts and images have other widths.
    pub fn new<N: AsRef<str>>(words: &[N], texts: &Embeddings, images: &Embeddings) -> Result<Self> {
        if words.len() < 2 || texts.rows() != words.len() {
            let expected = format!("two or more, and a text for each of {}", words.len());
            return Err(Error::data("concept words", expected, format!("{} texts", texts.rows())));
        }
        if images.rows() == 0 {
            return Err(Error::data("images beside concept words", "at least one", "none"));
        }
        texts.check_dim("images beside concept words", images.dim())?;
        let rows = texts.unit_rows();
        let centre = mean(&rows);
        let centred =
            Mat::from_fn(rows.nrows(), rows.ncols(), |row, column| rows[(row, column)] - centre[column]);
        let norms: Vec<f64> = (0..rows.nrows()).map(|row| norm(&centred, row)).collect();
        if let Some(word) = norms.iter().position(|norm| *norm < 1e-9) {
            let found = format!("`{}`, whose text is their mean", words[word].as_ref());
            return Err(Error::data("concept words", "words that differ from their mean", found));
        }
        Ok(Self {
            words: words.iter().map(|word| word.as_ref().to_owned()).collect(),
            directions: Mat::from_fn(rows.nrows(), rows.ncols(), |row, column| {
                centred[(row, column)] / norms[row]
            }),
            mean: mean(&images.unit_rows()),
        })
    }

    /// The words.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// The width of a feature.
    pub fn dim(&self) -> usize {
        self.mean.len()
    }

    /// What each image is made of.
    ///
    /// # Errors
    /// [`Error::Dim`] if the width is another, [`Error::Setting`] if a setting is out of range.
    pub fn decompose(&self, images: &Embeddings, settings: &Splice) -> Result<Vec<Decomposition>> {
        settings.validate()?;
        self.check(images)?;
        let rows: Vec<usize> = (0..images.rows()).collect();
        let of_block = |rows: &[usize]| -> Vec<Decomposition> {
            let features = images.select(rows).unit_rows();
            let centred = self.centred(&features);
            let cosines = &self.directions * centred.transpose(); // [words, block]
            let mut solver = Solver::new(&self.directions, settings);
            (0..rows.len())
                .map(|at| {
                    let solution = solver.solve(cosines.col_as_slice(at));
                    let made = self.made_of(&solution.weights);
                    let cosine = (0..made.len()).map(|column| made[column] * features[(at, column)]).sum();
                    Decomposition { weights: solution.weights, cosine, gap: solution.gap }
                })
                .collect()
        };
        Ok(rows.par_chunks(64).flat_map_iter(of_block).collect())
    }

    /// The features that decompositions stand for: `norm(norm(C^T w) + mean)`.
    ///
    /// # Errors
    /// [`Error::Data`] if there is none, or a word is none of the dictionary's.
    pub fn reconstruct(&self, decompositions: &[Decomposition]) -> Result<Embeddings> {
        let all = decompositions.iter().flat_map(|made| &made.weights);
        if let Some((word, _)) = all.into_iter().find(|(word, _)| *word >= self.words.len()) {
            return Err(Error::data("a word", format!("one of {}", self.words.len()), word));
        }
        let values = decompositions.iter().flat_map(|made| self.made_of(&made.weights));
        Embeddings::new(values.map(|value| value as f32).collect(), self.dim())
    }

    /// The words whose directions are nearest to one, with their cosines, nearest first.
    ///
    /// # Errors
    /// [`Error::Dim`] if the width is another.
    pub fn nearest(&self, direction: &[f64], count: usize) -> Result<Vec<Word>> {
        if direction.len() != self.dim() {
            let (expected, found) = (self.dim(), direction.len());
            return Err(Error::Dim { what: "a direction".to_owned(), expected, found });
        }
        let length = direction.iter().map(|value| value * value).sum::<f64>().sqrt().max(1e-300);
        let cosines = self.cosines(direction);
        let mut order: Vec<usize> = (0..cosines.len()).collect();
        order.sort_by(|&one, &other| cosines[other].total_cmp(&cosines[one]).then(one.cmp(&other)));
        let word = |at: usize| Word { word: self.words[at].clone(), value: cosines[at] / length };
        Ok(order.into_iter().take(count).map(word).collect())
    }

    /// The place of a word.
    pub(super) fn place(&self, word: &str) -> Option<usize> {
        self.words.iter().position(|own| own == word)
    }

    /// How far a row of features points along a word.
    pub(super) fn along(&self, features: &Mat<f64>, row: usize, word: usize) -> f64 {
        (0..self.dim()).map(|at| features[(row, at)] * self.directions[(word, at)]).sum()
    }

    /// How far a vector points along every word.
    fn cosines(&self, vector: &[f64]) -> Vec<f64> {
        let along = |word: usize| (0..vector.len()).map(|at| self.directions[(word, at)] * vector[at]).sum();
        (0..self.words.len()).map(along).collect()
    }

    pub(super) fn check(&self, images: &Embeddings) -> Result<()> {
        if images.dim() == self.dim() {
            return Ok(());
        }
        let (expected, found) = (self.dim(), images.dim());
        Err(Error::Dim { what: "images to read by concepts".to_owned(), expected, found })
    }

    /// Unit rows less the mean, normalised.
    fn centred(&self, features: &Mat<f64>) -> Mat<f64> {
        let less = Mat::from_fn(features.nrows(), features.ncols(), |row, column| {
            features[(row, column)] - self.mean[column]
        });
        let norms: Vec<f64> = (0..less.nrows()).map(|row| norm(&less, row).max(1e-12)).collect();
        Mat::from_fn(less.nrows(), less.ncols(), |row, column| less[(row, column)] / norms[row])
    }

    fn made_of(&self, weights: &[(usize, f64)]) -> Vec<f64> {
        let mut sum = vec![0.0; self.dim()];
        for &(word, weight) in weights {
            sum.iter_mut().enumerate().for_each(|(at, sum)| *sum += weight * self.directions[(word, at)]);
        }
        let length = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>().sqrt().max(1e-12);
        let inner = length(&sum);
        sum.iter_mut().zip(&self.mean).for_each(|(sum, mean)| *sum = *sum / inner + mean);
        let outer = length(&sum);
        sum.into_iter().map(|value| value / outer).collect()
    }
}

fn norm(rows: &Mat<f64>, row: usize) -> f64 {
    (0..rows.ncols()).map(|column| rows[(row, column)].powi(2)).sum::<f64>().sqrt()
}

fn mean(rows: &Mat<f64>) -> Vec<f64> {
    let column =
        |column: usize| (0..rows.nrows()).map(|row| rows[(row, column)]).sum::<f64>() / rows.nrows() as f64;
    (0..rows.ncols()).map(column).collect()
}
