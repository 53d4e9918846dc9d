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
    check(decisions, classes, images)?;
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

/// The shares of the units of the text side, as [`shares`] has those of the image side.
///
/// A text `z_c = keep w_c + ratio g(sum_j h_cj v_j)` is as much a sum of units as an image is, so that with the image `f*` as it
/// is `kept = s keep f* . (w_c / |z_c| - w_o / |z_o|)`, and unit `j` has what it adds to the text of the class less what it adds
/// to that of the other one. Where both sides are adapted each of the two ways adds up to the same margin.
///
/// # Errors
/// As [`shares`], of [`FeatureMap::text_units`].
///
/// # Examples
/// ```
/// use clip_adapter::{explain::text_shares, methods::Branches, prelude::*};
///
/// let (file, device) = (FeatureFile::synthetic(0)?, Device::flex());
/// let method = ClipAdapter { branches: Branches::Text, ..Default::default() };
/// let model = method.fit(&file.support(2, 1)?, file.classifier(), &device)?;
/// let image = file.split("test")?.embeddings().select(&[0]);
/// let share = &text_shares(&model, file.classifier(), &image, &[(0, 1)])?[0];
/// let logits = model.score(&image)?;
/// let row = logits.rows().next().unwrap();
/// let sum = share.kept + share.units.iter().sum::<f64>();
/// approx::assert_abs_diff_eq!(sum, f64::from(row[0] - row[1]), epsilon = 1e-4);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
pub fn text_shares(
    map: &dyn FeatureMap,
    classes: &TextClassifier,
    images: &Embeddings,
    decisions: &[(usize, usize)],
) -> Result<Vec<Share>> {
    check(decisions, classes, images)?;
    let forward = Forward::of_texts(map, classes, images)?;
    let activity = forward.of(classes.weights())?; // of the texts
    let share = |(image, &(class, over)): (usize, &(usize, usize))| {
        let direction: Vec<f64> = (0..forward.texts.ncols()).map(|at| forward.texts[(image, at)]).collect();
        let [(kept, units), (kept_over, units_over)] =
            [class, over].map(|text| forward.along(&activity, text, &direction));
        Share {
            class,
            over,
            before: forward.before_swapped(&activity, image, class, over),
            margin: activity.logits[(class, image)] - activity.logits[(over, image)],
            kept: kept - kept_over,
            units: units.iter().zip(units_over).map(|(of_class, of_over)| of_class - of_over).collect(),
        }
    };
    Ok(decisions.iter().enumerate().map(share).collect())
}

/// That there is a decision for each image, of classes that there are.
fn check(decisions: &[(usize, usize)], classes: &TextClassifier, images: &Embeddings) -> Result<()> {
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
    Ok(())
}
