//! What a feature map makes of features, on the host.

use burn::tensor::Tensor;

use crate::error::{Error, Result};
use crate::features::Embeddings;
use crate::model::{Classifier, FeatureMap};

/// Rows that are adapted at once.
const BLOCK: usize = 1024;

/// `f*` of every image.
pub(super) fn adapted_images(map: &dyn FeatureMap, images: &Embeddings) -> Result<Embeddings> {
    let mut values = Vec::with_capacity(images.values().len());
    for start in (0..images.rows()).step_by(BLOCK) {
        let block = images.tensor_of(start..(start + BLOCK).min(images.rows()), map.device());
        values.extend(to_host(map.images(block))?);
    }
    Embeddings::new(values, images.dim())
}

/// `w*` of every text.
pub(super) fn adapted_texts(map: &dyn FeatureMap, texts: &Embeddings) -> Result<Embeddings> {
    Embeddings::new(to_host(map.texts(texts.tensor(map.device())))?, texts.dim())
}

fn to_host(tensor: Tensor<2>) -> Result<Vec<f32>> {
    tensor.try_into_vec_as::<f32>().map_err(|error| Error::execution("adapting features", error))
}

/// That a model takes the features that zero-shot CLIP takes.
pub(super) fn check_width(model: &dyn Classifier) -> Result<()> {
    if model.dim() == model.classes().dim() {
        return Ok(());
    }
    let found = format!("`{}`, which takes features before the projection", model.kind());
    Err(Error::unsupported("comparing with zero-shot CLIP", "a model of CLIP's features", found))
}
