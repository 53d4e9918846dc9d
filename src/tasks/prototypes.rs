//! Classes that have no text.

use crate::error::{Error, Result};
use crate::features::{FeatureSet, TextClassifier};

/// What cosines with the means of shots are multiplied with, where a class has no text: of 10, 20, 50 and 100 the one
/// with which the temporal transformer does well on training clips that were not drawn as its shots.
const PROTOTYPE_SCALE: f64 = 20.0;

/// Classes that are the mean of their unit shots.
pub(super) fn prototypes(shots: &FeatureSet, identity: String) -> Result<TextClassifier> {
    let (dim, unit) = (shots.embeddings().dim(), shots.embeddings().normalised());
    let counts = shots.class_counts();
    if let Some(class) = counts.iter().position(|&count| count == 0) {
        let class = shots.class_names()[class].clone();
        return Err(Error::TooFewShots { class, expected: 1, found: 0 });
    }
    let mut means = vec![0.0; counts.len() * dim];
    for (row, &label) in shots.labels().iter().enumerate() {
        for (mean, value) in means[label * dim..][..dim].iter_mut().zip(unit.row(row)) {
            *mean += value / counts[label] as f32;
        }
    }
    TextClassifier::new(means, dim, shots.class_names(), ["{}"], PROTOTYPE_SCALE, identity)
}
