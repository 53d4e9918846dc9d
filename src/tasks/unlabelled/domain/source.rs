use serde::{Deserialize, Serialize};

use super::rounds::TEXT_SHOTS;
use crate::error::Result;
use crate::features::{Support, TextClassifier};
use crate::methods::named_right;

/// Images of each class that are held out at most, one after the other.
const HELD_OUT: usize = 8;

/// Percent by which one of the two must be better to count as better.
const CLEARLY: f64 = 5.0;

/// From so many images a class on, Gaussians that are worse than zero-shot CLIP are so for another reason than that they
/// have seen little.
const ENOUGH: f64 = 4.0;

/// How many labelled images of the source are named right by what did not learn from them: what can be known of a teacher
/// and of its pupil before one image of the new domain has a label.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SourceCheck {
    /// By zero-shot CLIP, in percent.
    pub zero_shot: f64,
    /// By Gaussians of the other images, as [`DomainAdapter`](super::DomainAdapter) fits them, in percent; of each class
    /// one image is held out in turn, of eight or all.
    pub gaussians: f64,
    /// Labelled images of a class, on the mean.
    pub shots: f64,
}

impl SourceCheck {
    /// Percent, from which on answers count as mostly right.
    pub const RIGHT: f64 = 50.0;

    /// None where fewer than half of the classes have a second image.
    pub(super) fn of(source: &Support, classes: &TextClassifier) -> Result<Option<Self>> {
        let parts =
            named_right(source, classes, TEXT_SHOTS, HELD_OUT)?.map(|parts| parts.map(|part| 100.0 * part));
        let shots = source.set().shots_a_class();
        Ok(parts.map(|[zero_shot, gaussians]| Self { zero_shot, gaussians, shots }))
    }

    /// Why answers to unlabelled images are not to be learned from, if so: because neither of the two is mostly right, or
    /// because Gaussians of four or more images a class name 5 % fewer than zero-shot CLIP, and so do not fit such classes.
    pub fn objection(&self) -> Option<String> {
        let Self { zero_shot, gaussians, shots } = *self;
        let found = format!(
            "of the source's own images, held out, zero-shot CLIP names {zero_shot:.1} % right and Gaussians {gaussians:.1} %"
        );
        if zero_shot.max(gaussians) < Self::RIGHT {
            return Some(format!("answers would be mostly wrong: {found}"));
        }
        let misfit = shots >= ENOUGH && gaussians + CLEARLY < zero_shot;
        misfit.then(|| format!("Gaussians do not tell these classes apart: {found}"))
    }

    /// Whether Gaussians of the source are clearly the better of the two.
    pub(super) fn prefers_gaussians(&self) -> bool {
        self.gaussians > self.zero_shot + CLEARLY
    }
}
