//! Three contrastive losses: pictures to captions, captions to pictures, and views to views.

use burn::tensor::{Device, Tensor, TensorData, activation::log_softmax};
use clip_adapter::{Error, Result, backbone::TrainableClip};

use crate::batches::Batch;

/// Of embeddings, not normalised: first views, then second views, and the captions.
pub fn losses(
    model: &TrainableClip,
    images: Tensor<2>,
    texts: Tensor<2>,
    batch: &Batch,
    device: &Device,
) -> [Tensor<1>; 3] {
    let emoji = batch.captions.ids.len();
    let truth = Tensor::<2>::from_data(TensorData::new(batch.truth.clone(), [2 * emoji, emoji]), device);
    let logits = model.logits(images.clone(), texts);
    let (first, second) = (images.clone().narrow(0, 0, emoji), images.narrow(0, emoji, emoji));
    let views = model.logits(first, second);
    let same = Tensor::<2>::eye(emoji, device);
    let forth = cross_entropy(views.clone(), same.clone());
    let back = cross_entropy(views.transpose(), same);
    [
        cross_entropy(logits.clone(), truth.clone()),
        cross_entropy(logits.transpose(), truth.transpose()),
        (forth + back).mul_scalar(0.5),
    ]
}

/// InfoNCE with any number of positives a row: the mean over rows of `-sum_j q_j log softmax(l)_j`, where `q` is
/// evenly spread over the row's positives.
fn cross_entropy(logits: Tensor<2>, positives: Tensor<2>) -> Tensor<1> {
    let targets = positives.clone() / positives.sum_dim(1);
    (log_softmax(logits, 1) * targets).sum_dim(1).mean().neg()
}

/// The losses on the host.
pub fn numbers(losses: &[Tensor<1>; 3]) -> Result<[f64; 3]> {
    let mut numbers = [0.0; 3];
    for (number, loss) in numbers.iter_mut().zip(losses) {
        *number = loss.clone().try_into_scalar::<f32>().map_err(execution)?.into();
    }
    Ok(numbers)
}

/// What failed while training.
pub fn execution(error: impl ToString) -> Error {
    Error::Execution { doing: "training", message: error.to_string() }
}
