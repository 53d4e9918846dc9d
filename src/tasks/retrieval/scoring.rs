//! Scores of pairs as their features are, and as an adapter makes them.

use burn::tensor::Tensor;

use crate::error::{Error, Result};
use crate::evaluate::retrieval::{DirectionReport, Ranks, RetrievalReport, each_row};
use crate::features::{Embeddings, Pairs, TestPairs};
use crate::model::FeatureMap;

/// Rows that are adapted at once.
const BLOCK: usize = 4096;

/// Some rows as one side of an adapter makes them, on the host.
///
/// # Errors
/// [`Error::Execution`] if the device fails, [`Error::Data`] if a row comes out as zero or not finite.
fn mapped(
    rows: &Embeddings,
    model: &dyn FeatureMap,
    side: impl Fn(Tensor<2>) -> Tensor<2>,
) -> Result<Embeddings> {
    let mut values = Vec::with_capacity(rows.values().len());
    let mut dim = rows.dim();
    for start in (0..rows.rows()).step_by(BLOCK) {
        let block = side(rows.tensor_of(start..(start + BLOCK).min(rows.rows()), model.device()));
        dim = block.dims()[1];
        let block = block.try_into_vec_as::<f32>();
        values.extend(block.map_err(|error| Error::execution("adapting features", error))?);
    }
    Embeddings::new(values, dim)
}

/// Adapted image features, unit rows: what an index holds.
///
/// # Errors
/// [`Error::Execution`] if the device fails, [`Error::Data`] if a row comes out as zero or not finite.
pub fn adapted_images(model: &dyn FeatureMap, images: &Embeddings) -> Result<Embeddings> {
    mapped(images, model, |rows| model.images(rows))
}

/// Adapted text features, unit rows: what an index is asked.
///
/// # Errors
/// As [`adapted_images`].
pub fn adapted_texts(model: &dyn FeatureMap, texts: &Embeddings) -> Result<Embeddings> {
    mapped(texts, model, |rows| model.texts(rows))
}

/// The same pairs in adapted features.
///
/// # Errors
/// As [`adapted_images`]; [`Error::Fingerprint`] if the model was fitted on another backbone.
pub fn adapted(model: &dyn FeatureMap, pairs: &Pairs) -> Result<Pairs> {
    let (expected, found) = (model.fingerprint().backbone, pairs.backbone());
    crate::fingerprint::require_backbone("backbones", &expected, found)?;
    pairs.with_features(adapted_images(model, pairs.images())?, adapted_texts(model, pairs.texts())?)
}

/// The same of pairs that are scored only.
///
/// # Errors
/// As [`adapted`].
pub fn adapted_test(model: &dyn FeatureMap, test: &TestPairs) -> Result<TestPairs> {
    Ok(adapted(model, test.pairs())?.into_test_pairs())
}

/// The same pairs in unit rows.
pub(super) fn unit(pairs: &Pairs) -> Result<Pairs> {
    pairs.with_features(pairs.images().normalised(), pairs.texts().normalised())
}

/// How well texts find their images and images their texts, by the cosine of their features.
///
/// # Errors
/// None in practice: what could fail was checked when the pairs were made.
///
/// # Examples
/// ```
/// use clip_adapter::{features::PairFile, tasks::retrieval};
///
/// let (_, test) = PairFile::synthetic(0)?.split(1)?;
/// let report = retrieval::evaluate(&test)?;
/// assert_eq!((report.gallery, report.queries, report.captions_an_image), (120, 240, 2.0));
/// assert!(report.text_to_image.r1 > 30.0 && report.text_to_image.r10 > report.text_to_image.r5);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
pub fn evaluate(test: &TestPairs) -> Result<RetrievalReport> {
    let pairs = unit(test.pairs())?;
    directions(&pairs, |_, queries, gallery| Ok((queries.clone(), gallery.clone())))
}

/// Both directions. `prepared` makes of queries and gallery, unit rows, those whose dot products are the scores.
pub(super) fn directions(
    pairs: &Pairs,
    prepared: impl Fn(Direction, &Embeddings, &Embeddings) -> Result<(Embeddings, Embeddings)>,
) -> Result<RetrievalReport> {
    both(|direction| {
        let (queries, gallery) = direction.sides(pairs);
        let (queries, gallery) = prepared(direction, queries, gallery)?;
        let mut ranks = Ranks::new(gallery.rows());
        each_row(&queries, &gallery, |query, scores| ranks.add(scores, &direction.relevant(pairs, query)))?;
        ranks.report()
    })
}

/// One of the two ways to ask.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Direction {
    TextToImage,
    ImageToText,
}

impl Direction {
    /// Queries and gallery.
    pub fn sides(self, pairs: &Pairs) -> (&Embeddings, &Embeddings) {
        match self {
            Self::TextToImage => (pairs.texts(), pairs.images()),
            Self::ImageToText => (pairs.images(), pairs.texts()),
        }
    }

    /// What answers a query.
    pub fn relevant(self, pairs: &Pairs, query: usize) -> Vec<usize> {
        match self {
            Self::TextToImage => vec![pairs.text_to_image()[query]],
            Self::ImageToText => pairs.texts_of(query).to_vec(),
        }
    }
}

/// A report of both directions, one after the other.
pub(super) fn both(direction: impl Fn(Direction) -> Result<DirectionReport>) -> Result<RetrievalReport> {
    Ok(RetrievalReport::new(direction(Direction::TextToImage)?, direction(Direction::ImageToText)?))
}
