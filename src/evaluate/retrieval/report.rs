use std::fmt;

use serde::{Deserialize, Serialize};

use super::Hubness;

/// How well the queries of one kind find what they seek. Shares are percent, 0..=100.
///
/// A recall means nothing without the size of the gallery, and from images to texts nothing without the number of texts
/// an image: both stand beside it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DirectionReport {
    /// Queries scored.
    pub queries: usize,
    /// Items that each is sought among.
    pub gallery: usize,
    /// Relevant items a query, on the mean: captions an image.
    pub relevant: f64,
    /// Queries with a relevant item at the first place.
    pub r1: f64,
    /// Queries with one among the first five.
    pub r5: f64,
    /// Queries with one among the first ten.
    pub r10: f64,
    /// The median rank of the first relevant item, counted from 1.
    pub median_rank: f64,
    /// The mean of 1 / rank of the first relevant item, 0..=1.
    pub mrr: f64,
    /// Mean average precision.
    pub map: f64,
    /// Mean average precision among the first R items, of which R are relevant.
    pub map_at_r: f64,
    /// The mean part of the first ten items that is relevant.
    pub p10: f64,
    /// Normalised discounted gain of the first ten items.
    pub ndcg10: f64,
    /// How unevenly the first places fall on the gallery.
    pub hubness: Hubness,
}

impl DirectionReport {
    /// The sum of the three recalls.
    pub fn recalls(&self) -> f64 {
        self.r1 + self.r5 + self.r10
    }
}

impl fmt::Display for DirectionReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { r1, r5, r10, median_rank, mrr, .. } = self;
        write!(f, "R@1 {r1:.2} R@5 {r5:.2} R@10 {r10:.2} %, median rank {median_rank}, MRR {mrr:.4}")
    }
}

/// Both directions of retrieval between texts and images, which belong together: what lifts one may cost the other.
///
/// # Examples
/// ```
/// use clip_adapter::{evaluate::retrieval::{Ranks, RetrievalReport}};
///
/// let mut ranks = Ranks::new(2);
/// ranks.add(&[0.9, 0.1], &[0])?;
/// let found = ranks.report()?;
/// let report = RetrievalReport::new(found, found);
/// assert_eq!(report.rsum, 600.0);
/// assert_eq!(serde_json::to_value(&report).unwrap()["text_to_image"]["r1"], 100.0);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RetrievalReport {
    /// Images sought by texts.
    pub text_to_image: DirectionReport,
    /// Texts sought by images.
    pub image_to_text: DirectionReport,
    /// The images, which are the gallery of the texts.
    pub gallery: usize,
    /// The texts, which are the queries of the images.
    pub queries: usize,
    /// Texts an image, on the mean.
    pub captions_an_image: f64,
    /// The sum of the six recalls, at most 600.
    pub rsum: f64,
    /// Whether every query was scored with the help of all others: no such number stands beside those of other methods.
    pub transductive: bool,
}

impl RetrievalReport {
    /// Puts the two directions together.
    pub fn new(text_to_image: DirectionReport, image_to_text: DirectionReport) -> Self {
        Self {
            text_to_image,
            image_to_text,
            gallery: text_to_image.gallery,
            queries: text_to_image.queries,
            captions_an_image: image_to_text.relevant,
            rsum: text_to_image.recalls() + image_to_text.recalls(),
            transductive: false,
        }
    }

    /// The same of scores that all queries had a part in.
    pub fn into_transductive(self) -> Self {
        Self { transductive: true, ..self }
    }
}

impl fmt::Display for RetrievalReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (queries, gallery) = (self.queries, self.gallery);
        writeln!(f, "text to image: {} ({queries} texts in {gallery} images)", self.text_to_image)?;
        write!(f, "image to text: {}", self.image_to_text)?;
        write!(f, " ({gallery} images in {queries} texts, {:.2} an image)", self.captions_an_image)?;
        match self.transductive {
            true => write!(f, "\ntransductive: all queries were seen at once"),
            false => Ok(()),
        }
    }
}
