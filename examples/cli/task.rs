//! Made-up work whose speed is measured: random unit features, which no method learns anything from.

use clip_adapter::{FeatureSet, TextClassifier, features::Embeddings};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Width of a feature, that of ViT-B/32.
pub const DIM: usize = 512;

/// Random unit rows.
pub fn rows(count: usize, seed: u64) -> Embeddings {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let values = (0..count * DIM).map(|_| random.random_range(-1.0..1.0)).collect();
    Embeddings::new(values, DIM).expect("finite rows").normalised()
}

/// As many images as there are, spread evenly over the classes, and a classifier of these.
pub fn task(images: usize, classes: usize) -> (FeatureSet, TextClassifier) {
    let names = || (0..classes).map(|class| format!("class {class}"));
    let labels = (0..images).map(|image| image % classes).collect();
    let set = FeatureSet::new(rows(images, 1), labels, names()).expect("a valid set");
    let text = rows(classes, 2).values().to_vec();
    let text =
        TextClassifier::new(text, DIM, names(), ["a {}."], 100.0, "random").expect("a valid classifier");
    (set, text)
}
