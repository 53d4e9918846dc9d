use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Embeddings, FeatureFile, FeatureSet, PairFile, Pairs, TextClassifier};
use crate::error::Result;

const NAMES: [&str; 8] = ["amber", "basalt", "copper", "diamond", "emerald", "flint", "garnet", "hematite"];
const DIM: usize = 64;

impl FeatureFile {
    /// A made-up data set of 8 classes and 64 dimensions, for examples and tests that need no file.
    ///
    /// It has what makes adapting worthwhile: images of a class gather around a direction which its text
    /// embedding only roughly points at, as when CLIP meets a domain it was not trained on. The splits `train`,
    /// `val` and `test` hold 32, 8 and 50 images a class. Zero-shot reaches about 70 %.
    ///
    /// # Errors
    /// None in practice: the numbers drawn are finite and no row is zero.
    ///
    /// # Examples
    /// ```
    /// use clip_adapter::FeatureFile;
    ///
    /// let file = FeatureFile::synthetic(0)?;
    /// assert_eq!(file.split("test")?.len(), 8 * 50);
    /// assert_eq!(file, FeatureFile::synthetic(0)?);
    /// # Ok::<(), clip_adapter::Error>(())
    /// ```
    pub fn synthetic(seed: u64) -> Result<Self> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let centres: Vec<Vec<f32>> = NAMES.iter().map(|_| noise(&mut random)).collect();
        let text = centres.iter().flat_map(|centre| mix(centre, 0.25, &noise(&mut random)));
        let classifier =
            TextClassifier::new(text.collect(), DIM, NAMES, ["a photo of {}."], 100.0, "synthetic")?;
        let mut file = Self::new("synthetic minerals", classifier);
        for (split, images) in [("train", 32), ("val", 8), ("test", 50)] {
            let labels: Vec<usize> = (0..NAMES.len()).flat_map(|class| vec![class; images]).collect();
            let rows = labels.iter().flat_map(|&class| mix(&centres[class], 0.4, &noise(&mut random)));
            let embeddings = Embeddings::new(rows.collect(), DIM)?.normalised();
            file = file.with_split(split, FeatureSet::new(embeddings, labels, NAMES)?)?;
        }
        Ok(file)
    }
}

/// Images of the made-up pairs, and texts of each.
const IMAGES: usize = 240;
const TEXTS: usize = 2;
/// What each side adds of its own.
const NOISE: f32 = 0.75;

impl PairFile {
    /// Made-up pairs of 240 images with two texts each in 64 dimensions, for examples and tests that need no file.
    ///
    /// It has what makes adapting worthwhile: what images and texts agree in is mixed with directions that tell
    /// nothing of the pair and are large on one side, and the two sides lie apart, as in CLIP. With half of the images
    /// as the gallery zero-shot finds the right one first for about half of the texts.
    ///
    /// # Errors
    /// None in practice: the numbers drawn are finite and no row is zero.
    ///
    /// # Examples
    /// ```
    /// use clip_adapter::features::PairFile;
    ///
    /// let file = PairFile::synthetic(0)?;
    /// assert_eq!((file.pairs().len(), file.pairs().texts().rows()), (240, 480));
    /// assert_eq!(file, PairFile::synthetic(0)?);
    /// # Ok::<(), clip_adapter::Error>(())
    /// ```
    pub fn synthetic(seed: u64) -> Result<Self> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let gaps = [noise(&mut random), noise(&mut random)];
        // Where each side is loud: only the first half of the directions tells of the pair.
        let mut side = |signal: &[f32], gap: &[f32]| -> Vec<f32> {
            let own = noise(&mut random);
            (0..DIM)
                .map(|at| {
                    let told = if at < DIM / 2 { signal[at] } else { 0.0 };
                    told + NOISE * own[at] + gap[at]
                })
                .collect()
        };
        let mut random = ChaCha8Rng::seed_from_u64(seed.wrapping_add(1));
        let signals: Vec<Vec<f32>> = (0..IMAGES).map(|_| noise(&mut random)).collect();
        let images = signals.iter().flat_map(|signal| side(signal, &gaps[0])).collect();
        let of: Vec<usize> = (0..IMAGES * TEXTS).map(|text| text / TEXTS).collect();
        let texts = of.iter().flat_map(|&image| side(&signals[image], &gaps[1])).collect();
        let [images, texts] = [images, texts].map(|values| Ok(Embeddings::new(values, DIM)?.normalised()));
        Ok(Self::new("synthetic pairs", Pairs::new(images?, texts?, of, 100.0, "synthetic")?))
    }
}

/// Twelve uniform numbers add up to one that is nearly normal, with variance 1.
fn noise(random: &mut ChaCha8Rng) -> Vec<f32> {
    (0..DIM).map(|_| (0..12).map(|_| random.random::<f32>()).sum::<f32>() - 6.0).collect()
}

fn mix(signal: &[f32], weight: f32, noise: &[f32]) -> Vec<f32> {
    signal.iter().zip(noise).map(|(signal, noise)| weight * signal + (1.0 - weight) * noise).collect()
}
