use serde::{Deserialize, Serialize};

use crate::error::{Result, part};
use crate::features::{Embeddings, Support};

/// Rows compared at once.
const BLOCK: usize = 256;

/// A shot that an image is like.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Neighbour {
    /// Its row in the support set.
    pub shot: usize,
    /// Its class.
    pub label: usize,
    /// How alike they are.
    pub cosine: f64,
}

/// An image that is nearly one of the shots.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Duplicate {
    /// The row of the image.
    pub image: usize,
    /// The row of the shot.
    pub shot: usize,
    /// How alike they are.
    pub cosine: f64,
}

/// The shots that each image is most alike, nearest first: what a decision is to be compared with.
///
/// # Errors
/// [`Error::Dim`](crate::Error::Dim) if the widths differ.
///
/// # Examples
/// ```
/// use clip_adapter::{FeatureFile, explain::nearest_shots};
///
/// let file = FeatureFile::synthetic(0)?;
/// let support = file.support(4, 1)?;
/// let nearest = nearest_shots(&support, support.set().embeddings(), 2)?;
/// assert_eq!((nearest[5][0].shot, nearest[5].len()), (5, 2)); // nothing is nearer than itself
/// # Ok::<(), clip_adapter::Error>(())
/// ```
pub fn nearest_shots(support: &Support, images: &Embeddings, count: usize) -> Result<Vec<Vec<Neighbour>>> {
    let labels = support.set().labels();
    let mut found = Vec::with_capacity(images.rows());
    blocks(support, images, |_, cosines| {
        let mut order: Vec<usize> = (0..cosines.len()).collect();
        order.sort_by(|&one, &other| cosines[other].total_cmp(&cosines[one]));
        order.truncate(count);
        let neighbour = |shot: usize| Neighbour { shot, label: labels[shot], cosine: cosines[shot] };
        found.push(order.into_iter().map(neighbour).collect());
    })?;
    Ok(found)
}

/// Pairs of an image and a shot whose cosine is at least `least`, the most alike first.
///
/// What is learned from and what is scored on should share no picture; one that is resized or compressed again is still
/// above 0.98 or so. On real sets most pairs above 0.97 are different pictures of one scene or breed, so that all have to
/// be looked at.
///
/// # Errors
/// [`Error::Dim`](crate::Error::Dim) if the widths differ, [`Error::Setting`](crate::Error::Setting) if `least` is not
/// within 0..=1.
///
/// # Examples
/// ```
/// use clip_adapter::{FeatureFile, explain::near_duplicates};
///
/// let file = FeatureFile::synthetic(0)?;
/// let support = file.support(4, 1)?;
/// assert!(near_duplicates(&support, file.split("test")?.embeddings(), 0.98)?.is_empty());
/// let again = near_duplicates(&support, support.set().embeddings(), 0.98)?;
/// assert_eq!(again.len(), support.set().len());
/// # Ok::<(), clip_adapter::Error>(())
/// ```
pub fn near_duplicates(support: &Support, images: &Embeddings, least: f64) -> Result<Vec<Duplicate>> {
    part("near duplicates from a cosine of", least)?;
    let mut found = Vec::new();
    blocks(support, images, |image, cosines| {
        let pairs = cosines.iter().enumerate().filter(|(_, cosine)| **cosine >= least);
        found.extend(pairs.map(|(shot, &cosine)| Duplicate { image, shot, cosine }));
    })?;
    found.sort_by(|one: &Duplicate, other| other.cosine.total_cmp(&one.cosine));
    Ok(found)
}

/// Hands over every image with its cosines with all shots.
fn blocks(support: &Support, images: &Embeddings, mut of: impl FnMut(usize, &[f64])) -> Result<()> {
    support.set().embeddings().check_dim("image features", images.dim())?;
    let shots = support.set().embeddings().unit_rows();
    for start in (0..images.rows()).step_by(BLOCK) {
        let rows: Vec<usize> = (start..(start + BLOCK).min(images.rows())).collect();
        let cosines = &shots * images.select(&rows).unit_rows().transpose(); // [shots, block]
        rows.iter().enumerate().for_each(|(at, &row)| of(row, cosines.col_as_slice(at)));
    }
    Ok(())
}
