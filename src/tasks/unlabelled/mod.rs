//! What unlabelled images give: all of them at once, one after the other, or the surest of them as shots.
//!
//! These see no label of the images they help with, and so may see the images that are to be classified. They
//! stand on top of any method: [`TransClip`] takes its logits, [`pseudo_labels`] makes shots for it, and
//! [`DomainAdapter`] learns from what it says. Whether every class is among the images is what [`Balance`] tells.

mod align;
mod balance;
mod domain;
mod fitted_trans_clip;
mod graph;
mod mixture;
mod pseudo_labels;
mod tda;
mod trans_clip;

pub use align::{Alignment, DistributionNormalisation, FittedDistributionNormalisation};
pub use balance::Balance;
pub use domain::{
    DomainAdapter, DomainClass, DomainReport, DomainRound, DomainStream, DoubtfulImage, FittedDomainAdapter,
    Mode, SourceCheck,
};
pub use fitted_trans_clip::FittedTransClip;
pub use pseudo_labels::{PseudoLabels, pseudo_labels, pseudo_labels_by};
pub use tda::{Tda, TdaStream};
pub use trans_clip::TransClip;

use crate::error::{Error, Result};
use crate::evaluate::Logits;
use crate::features::Embeddings;

/// Logits and embeddings are of the same images, and there are some.
fn check_images(logits: &Logits, images: &Embeddings) -> Result<()> {
    if images.rows() == logits.images() && images.rows() > 0 {
        return Ok(());
    }
    let expected = format!("one for each of {} images", images.rows().max(1));
    Err(Error::data("rows of the logits", expected, logits.images()))
}
