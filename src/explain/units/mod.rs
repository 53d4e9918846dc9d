mod deletion;
mod describe;
mod forward;

pub use deletion::{UnitDeletion, unit_deletion};
pub use describe::{Unit, describe_units};

use serde::{Deserialize, Serialize};

use self::forward::Forward;
use crate::error::{Error, Result};
use crate::features::{Embeddings, TextClassifier};
use crate::model::FeatureMap;

/// What each hidden unit has in a decision for one class over another, exactly.
///
/// `margin = kept + sum_j units_j` with `kept = s keep f . d / |z|` and `units_j = s ratio h_j ((m o v_j) . d) / |z|`, where
/// `d = w*_class - w*_over` and `m` says where the last ReLU is open. Since the ReLUs of an image are what they are, this is
/// no approximation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Share {
    /// The class that is asked about.
    pub class: usize,
    /// The class that it is compared with.
    pub over: usize,
    /// The logit of the one less that of the other in zero-shot CLIP.
    pub before: f64,
    /// The same in the adapted model.
    pub margin: f64,
    /// What of it comes from the feature itself.
    pub kept: f64,
    /// What each unit adds.
    pub units: Vec<f64>,
}

impl Share {
    /// The units that speak most for the class, most first.
    pub fn top(&self, count: usize) -> Vec<(usize, f64)> {
        let mut order: Vec<(usize, f64)> = self.units.iter().copied().enumerate().collect();
        order.sort_by(|one, other| other.1.total_cmp(&one.1).then(one.0.cmp(&other.0)));
        order.truncate(count);
        order
    }
}

/// The shares of all units in a decision about each image: its class, and the one that it is compared with.
///
/// # Errors
/// As [`FeatureMap::units`]; [`Error::Dim`] if the width is another; [`Error::Data`] if there is not one decision an image, or
/// a class is none.
///
/// # Examples
/// ```
/// use clip_adapter::{explain::shares, prelude::*};
///
/// let (file, device) = (FeatureFile::synthetic(0)?, Device::flex());
/// let model = ClipAdapter::default().fit(&file.support(2, 1)?, file.classifier(), &device)?;
/// let image = file.split("test")?.embeddings().select(&[0]);
/// let share = &shares(&model, file.classifier(), &image, &[(0, 1)])?[0];
/// let logits = model.score(&image)?;
/// let row = logits.rows().next().unwrap();
/// let sum = share.kept + share.units.iter().sum::<f64>();
/// approx::assert_abs_diff_eq!(sum, f64::from(row[0] - row[1]), epsilon = 1e-4);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
pub fn shares(
    map: &dyn FeatureMap,
    classes: &TextClassifier,
    images: &Embeddings,
    decisions: &[(usize, usize)],
) -> Result<Vec<Share>> {
    if decisions.len() != images.rows() {
        return Err(Error::data("decisions", format!("one for each of {}", images.rows()), decisions.len()));
    }
    let count = classes.class_names().len();
    if let Some((class, over)) = decisions.iter().find(|(class, over)| *class.max(over) >= count) {
        return Err(Error::data(
            "classes of a decision",
            format!("below {count}"),
            format!("{class}, {over}"),
        ));
    }
    let forward = Forward::new(map, classes)?;
    let activity = forward.of(images)?;
    let share = |(row, &(class, over)): (usize, &(usize, usize))| {
        let (kept, units) = forward.contributions(&activity, row, class, over);
        Share {
            class,
            over,
            before: forward.before(&activity, row, class, over),
            margin: activity.logits[(row, class)] - activity.logits[(row, over)],
            kept,
            units,
        }
    };
    Ok(decisions.iter().enumerate().map(share).collect())
}
