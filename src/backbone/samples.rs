//! What goes through the towers once, so that it is seen which channels of their norms are far above the others. Real
//! pictures and sentences show the same channels: they are the weights' own (Sun et al., 2024, Massive Activations in
//! Large Language Models, <https://arxiv.org/abs/2402.17762>).

use burn::tensor::{Device, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::error::Result;
use crate::input::{Preprocess, Tokenized, Tokenizer};

const SENTENCES: [&str; 8] = [
    "a photo of a dog.",
    "two people riding bicycles on a street in the rain",
    "an aerial view of a harbour with small boats",
    "a red apple on a wooden table",
    "icon of a house",
    "the city at night, seen from above, with many lights",
    "7",
    "a blurry black and white picture of an old machine in a museum",
];

/// Pictures made up of a few waves of colour and some noise.
const PICTURES: usize = 4;

/// Preprocessed pixels `[4, 3, side, side]`, the same every time.
pub(super) fn pictures(preprocess: &Preprocess, device: &Device) -> Tensor<4> {
    let mut random = ChaCha8Rng::seed_from_u64(0);
    let side = preprocess.crop;
    let mut pixels = Vec::with_capacity(PICTURES * 3 * side * side);
    for _ in 0..PICTURES {
        for (mean, std) in preprocess.mean.iter().zip(preprocess.std) {
            let [across, down, phase, level] =
                [8.0, 8.0, 6.3, 1.0].map(|top: f32| random.random::<f32>() * top);
            for place in 0..side * side {
                let (x, y) = ((place % side) as f32 / side as f32, (place / side) as f32 / side as f32);
                let wave = 0.3 * (6.3 * (across * x + down * y) + phase).sin();
                let noise = 0.2 * random.random::<f32>() - 0.1;
                pixels.push(((level + wave + noise).clamp(0.0, 1.0) - mean) / std);
            }
        }
    }
    Tensor::from_data(TensorData::new(pixels, [PICTURES, 3, side, side]), device)
}

/// A few sentences of several lengths.
pub(super) fn sentences(tokenizer: &Tokenizer) -> Result<Tokenized> {
    tokenizer.encode(&SENTENCES)
}
