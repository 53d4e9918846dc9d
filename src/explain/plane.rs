use faer::{Mat, Side};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::features::{Embeddings, FeatureSet};

/// Images as points of a plane: principal components of their features before and after, fitted to both together.
///
/// A plane hides much. On aerial scenes the nearest five of an image are of its class for 89 % of them, and for 35 % on such
/// a plane: print [`neighbour_purity`] beside it.
///
/// # Examples
/// ```
/// use clip_adapter::{FeatureFile, explain::Plane};
///
/// let file = FeatureFile::synthetic(0)?;
/// let images = file.split("test")?.embeddings();
/// let plane = Plane::new(images, None)?;
/// assert_eq!((plane.before.len(), plane.after.len()), (400, 0));
/// assert!(plane.explained[0] >= plane.explained[1]);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Plane {
    /// Each image before.
    pub before: Vec<[f64; 2]>,
    /// Each image after, if features were adapted.
    pub after: Vec<[f64; 2]>,
    /// How much of the variance each of the two directions has, in percent.
    pub explained: [f64; 2],
}

impl Plane {
    /// Lays images on a plane; the same features give the same plane.
    ///
    /// # Errors
    /// [`Error::Dim`] if the widths differ; [`Error::Data`] if there are fewer than two images or two dimensions.
    pub fn new(before: &Embeddings, after: Option<&Embeddings>) -> Result<Self> {
        if before.rows() < 2 || before.dim() < 2 {
            let found = format!("{} of {}", before.rows(), before.dim());
            return Err(Error::data("images for a plane", "two or more of two dimensions or more", found));
        }
        let mut rows = before.unit_rows();
        if let Some(after) = after {
            before.check_dim("adapted features", after.dim())?;
            let (first, second) = (rows, after.unit_rows());
            rows = Mat::from_fn(first.nrows() + second.nrows(), first.ncols(), |row, column| {
                if row < first.nrows() { first[(row, column)] } else { second[(row - first.nrows(), column)] }
            });
        }
        let (count, dim) = (rows.nrows(), rows.ncols());
        for column in 0..dim {
            let mean = (0..count).map(|row| rows[(row, column)]).sum::<f64>() / count as f64;
            (0..count).for_each(|row| rows[(row, column)] -= mean);
        }
        let covariance = rows.transpose() * &rows;
        let total: f64 = (0..dim).map(|at| covariance[(at, at)]).sum();
        let eigen = covariance
            .self_adjoint_eigen(Side::Lower)
            .map_err(|error| Error::execution("laying images on a plane", format!("{error:?}")))?;
        // Eigenvalues ascend. A direction and its opposite are the same; the largest part is taken as positive.
        let directions = [dim - 1, dim - 2].map(|at| {
            let direction: Vec<f64> = (0..dim).map(|row| eigen.U()[(row, at)]).collect();
            let largest =
                direction.iter().copied().fold(0.0, |a: f64, b| if b.abs() > a.abs() { b } else { a });
            direction.into_iter().map(|value| value * largest.signum()).collect::<Vec<f64>>()
        });
        let place = |row: usize| {
            [0, 1].map(|at| (0..dim).map(|column| rows[(row, column)] * directions[at][column]).sum::<f64>())
        };
        let share = |at: usize| if total > 0.0 { 100.0 * eigen.S()[at].max(0.0) / total } else { 0.0 };
        Ok(Self {
            before: (0..before.rows()).map(place).collect(),
            after: (before.rows()..count).map(place).collect(),
            explained: [share(dim - 1), share(dim - 2)],
        })
    }
}

/// Of how many of the `count` nearest others of an image the class is its own, in percent, mean over all images.
///
/// # Errors
/// [`Error::Data`] if there are not more images than `count`, or `count` is 0.
///
/// # Examples
/// ```
/// use clip_adapter::{FeatureFile, explain::neighbour_purity};
///
/// let purity = neighbour_purity(FeatureFile::synthetic(0)?.split("test")?, 5)?;
/// assert!(purity > 60.0 && purity < 100.0);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
pub fn neighbour_purity(set: &FeatureSet, count: usize) -> Result<f64> {
    if count == 0 || set.len() <= count {
        return Err(Error::data(
            "images with neighbours",
            format!("more than {} each", count.max(1)),
            set.len(),
        ));
    }
    let rows = set.embeddings().unit_rows();
    let mut own = 0;
    for start in (0..set.len()).step_by(256) {
        let block = 256.min(set.len() - start);
        let cosines = &rows * rows.subrows(start, block).transpose(); // [all, block]
        for at in 0..block {
            let mut others: Vec<usize> = (0..set.len()).filter(|&other| other != start + at).collect();
            let nearer = |&one: &usize, &other: &usize| {
                cosines[(other, at)].total_cmp(&cosines[(one, at)]).then(one.cmp(&other))
            };
            others.select_nth_unstable_by(count - 1, nearer);
            let label = set.labels()[start + at];
            own += others[..count].iter().filter(|&&other| set.labels()[other] == label).count();
        }
    }
    Ok(100.0 * own as f64 / (count * set.len()) as f64)
}
