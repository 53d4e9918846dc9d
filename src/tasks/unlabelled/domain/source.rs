use serde::{Deserialize, Serialize};

use super::rounds::TEXT_SHOTS;
use crate::error::Result;
use crate::features::{Support, TextClassifier};
use crate::methods::named_right;

/// Gaussians that name so many percent less than zero-shot CLIP are no way to tell these classes apart.
const WORSE: f64 = 5.0;

/// How many labelled images of the source are named right by what did not learn from them, in percent: what can be known of
/// a teacher before one image of the new domain has a label.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SourceCheck {
    /// By zero-shot CLIP.
    pub zero_shot: f64,
    /// By Gaussians of the other images, as [`DomainAdapter`](super::DomainAdapter) fits them; of each class one image is
    /// held out in turn.
    pub gaussians: f64,
}

impl SourceCheck {
    /// From here on a teacher counts as mostly right.
    pub const RIGHT: f64 = 50.0;

    /// None where fewer than half of the classes have a second image.
    pub(super) fn of(source: &Support, classes: &TextClassifier) -> Result<Option<Self>> {
        let parts = named_right(source, classes, TEXT_SHOTS)?;
        Ok(parts.map(|[zero_shot, gaussians]| Self {
            zero_shot: 100.0 * zero_shot,
            gaussians: 100.0 * gaussians,
        }))
    }

    /// Whether one of the two names at least half of the images right.
    pub fn is_mostly_right(&self) -> bool {
        self.zero_shot.max(self.gaussians) >= Self::RIGHT
    }

    pub(super) fn wrong(&self) -> String {
        let Self { zero_shot, gaussians } = self;
        format!(
            "of the source's own images, held out, zero-shot CLIP names {zero_shot:.1} % right and Gaussians {gaussians:.1} %, \
             neither of them half"
        )
    }

    /// What speaks against learning from answers here.
    pub(super) fn warning(&self) -> Option<String> {
        let Self { zero_shot, gaussians } = self;
        if !self.is_mostly_right() {
            return Some(format!("answers are learned from that are mostly wrong: {}", self.wrong()));
        }
        (gaussians + WORSE < *zero_shot).then(|| {
            format!(
                "Gaussians do not tell these classes apart: of the source's own images, held out, they name {gaussians:.1} % \
                 right and zero-shot CLIP {zero_shot:.1} %, so that learning from answers can make them worse"
            )
        })
    }
}
