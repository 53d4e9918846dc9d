use burn::tensor::{Tensor, activation};

/// `-mean_i sum_c t_ic log softmax(l_i)_c`: `[batch, classes]` twice to `[1]`.
pub(crate) fn cross_entropy(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    mean_nll(activation::log_softmax(logits, 1), targets)
}

/// The cross-entropy of `logits = scale x + constant`, and its slope in `x`: `[1]` and `[batch, classes]`. A row of
/// targets sums to the weight of its image.
pub(crate) fn cross_entropy_slope(
    logits: Tensor<2>,
    targets: Tensor<2>,
    scale: f64,
) -> (Tensor<1>, Tensor<2>) {
    let batch = logits.dims()[0] as f64;
    let log_p = activation::log_softmax(logits, 1);
    let loss = mean_nll(log_p.clone(), targets.clone());
    let weights = targets.clone().sum_dim(1); // [batch, 1]
    (loss, (log_p.exp() * weights - targets).mul_scalar(scale / batch))
}

fn mean_nll(log_p: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    let batch = log_p.dims()[0] as f64;
    (log_p * targets).sum().mul_scalar(-1.0 / batch)
}
