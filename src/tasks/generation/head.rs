use std::path::Path;

use faer::Mat;

use crate::archive::Archive;
use crate::error::{Error, Result};
use crate::features::Embeddings;
use crate::tasks::taste::FittedTaste;

/// What gives an image one number: how beautiful it is, how much to a person's taste.
pub trait Head {
    /// The number of each image, of any length: `[images]`.
    ///
    /// # Errors
    /// [`Error::Dim`] if they have another width.
    fn scores(&self, images: &Embeddings) -> Result<Vec<f32>>;
}

impl Head for FittedTaste {
    fn scores(&self, images: &Embeddings) -> Result<Vec<f32>> {
        FittedTaste::scores(self, images)
    }
}

/// A public aesthetic head: `w normalise(f) + b`.
///
/// LAION's first is linear; of the second, five layers without anything between them, the product is
/// (<https://github.com/christophschuhmann/improved-aesthetic-predictor>, class `MLP`). Each belongs to one CLIP, whose
/// width is all that its file tells: features of another CLIP of that width give numbers that mean nothing.
///
/// # Examples
/// ```
/// use clip_adapter::{features::Embeddings, tasks::generation::{Head, LinearHead}};
///
/// let head = LinearHead::new(vec![3.0, 4.0], 0.5)?;
/// let images = Embeddings::new(vec![0.0, 2.0, 5.0, 0.0], 2)?;
/// assert_eq!(head.scores(&images)?, [4.5, 3.5]);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct LinearHead {
    weights: Vec<f32>,
    bias: f32,
}

impl LinearHead {
    /// Takes `w` and `b`.
    ///
    /// # Errors
    /// [`Error::Data`] if a number is not finite, or there is none.
    pub fn new(weights: Vec<f32>, bias: f32) -> Result<Self> {
        if weights.is_empty() {
            return Err(Error::data("weights of a head", "one or more", "none"));
        }
        let unfit = weights.iter().chain([&bias]).copied().find(|value| !value.is_finite());
        unfit.map_or(Ok(Self { weights, bias }), |value| {
            Err(Error::data("weights of a head", "finite values", value))
        })
    }

    /// Reads a head from a safetensors file: the tensors `{name}.weight` `[1, dim]` and `{name}.bias` `[1]`, such as
    /// `v1.vit_l_14` of LAION's; or else, with the name `layers`, a stack of linear layers `layers.0.weight`
    /// `[out, in]`, `layers.0.bias` and so on, which is multiplied out.
    ///
    /// # Errors
    /// [`Error::Read`] if it cannot be read; [`Error::Malformed`] if there is no such head, its layers do not fit together,
    /// it gives more than one number, or a value is not finite.
    pub fn read(path: impl AsRef<Path>, name: &str) -> Result<Self> {
        let archive = Archive::open(path.as_ref())?;
        let layers = layers(&archive, name)?;
        let mut product: Option<(Mat<f64>, Vec<f64>)> = None;
        for layer in &layers {
            let (weights, [outputs, inputs]) = archive.floats(&format!("{layer}.weight"))?;
            let (bias, [biases]) = archive.floats(&format!("{layer}.bias"))?;
            let known = product.as_ref().map_or(inputs, |(product, _)| product.nrows());
            if inputs != known || biases != outputs {
                let expected = format!("{known} inputs and as many biases as outputs");
                let found = format!("[{outputs}, {inputs}] and {biases}");
                return Err(archive.malformed(layer, expected, found));
            }
            let weights = Mat::from_fn(outputs, inputs, |row, at| f64::from(weights[row * inputs + at]));
            let bias = bias.into_iter().map(f64::from);
            product = Some(match product {
                None => (weights, bias.collect()),
                Some((before, shift)) => {
                    let moved = |(row, bias): (usize, f64)| {
                        bias + shift.iter().enumerate().map(|(at, s)| weights[(row, at)] * s).sum::<f64>()
                    };
                    let shift = bias.enumerate().map(moved).collect();
                    (&weights * &before, shift)
                }
            });
        }
        match product {
            Some((weights, bias)) if weights.nrows() == 1 => {
                let weights = (0..weights.ncols()).map(|at| weights[(0, at)] as f32).collect();
                Self::new(weights, bias[0] as f32).map_err(|error| archive.locate(name, error))
            }
            Some((weights, _)) => Err(archive.malformed(name, "one output", weights.nrows())),
            None => {
                let known: Vec<&str> =
                    archive.names().filter_map(|name| name.strip_suffix(".weight")).collect();
                let expected = format!("one of `{}`", known.join("`, `"));
                Err(archive.malformed("heads", expected, format!("`{name}`")))
            }
        }
    }

    /// The width of the features.
    pub fn dim(&self) -> usize {
        self.weights.len()
    }

    /// `w`.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// `b`.
    pub fn bias(&self) -> f32 {
        self.bias
    }
}

/// The names of the layers, in their order.
fn layers(archive: &Archive, name: &str) -> Result<Vec<String>> {
    if archive.place(&format!("{name}.weight")).is_some() {
        return Ok(vec![name.to_owned()]);
    }
    let number = |tensor: &str| -> Option<usize> {
        tensor.strip_prefix(name)?.strip_prefix('.')?.strip_suffix(".weight")?.parse().ok()
    };
    let mut numbers: Vec<usize> = archive.names().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers.into_iter().map(|number| format!("{name}.{number}")).collect())
}

impl Head for LinearHead {
    fn scores(&self, images: &Embeddings) -> Result<Vec<f32>> {
        if images.dim() != self.dim() {
            let what = "features of an aesthetic head".to_owned();
            return Err(Error::Dim { what, expected: self.dim(), found: images.dim() });
        }
        let images = images.normalised();
        let score = |row: usize| {
            let parts = self.weights.iter().zip(images.row(row));
            (f64::from(self.bias) + parts.map(|(&w, &f)| f64::from(w) * f64::from(f)).sum::<f64>()) as f32
        };
        Ok((0..images.rows()).map(score).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::ArchiveWriter;

    fn read(fill: &dyn Fn(&mut ArchiveWriter<'_>), name: &str) -> Result<LinearHead> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("head.safetensors");
        let mut archive = ArchiveWriter::new("pt");
        fill(&mut archive);
        archive.write(&path).unwrap();
        LinearHead::read(&path, name)
    }

    fn stack(archive: &mut ArchiveWriter<'_>) {
        // Layers 0, 2 and 10, as a stack with dropout between numbers them; 10 comes after 2.
        archive.floats("layers.0.weight", &[2, 3], &[1.0, 0.0, 2.0, 0.0, -1.0, 1.0]);
        archive.floats("layers.0.bias", &[2], &[0.5, 1.0]);
        archive.floats("layers.2.weight", &[2, 2], &[1.0, 1.0, 2.0, 0.0]);
        archive.floats("layers.2.bias", &[2], &[0.0, -1.0]);
        archive.floats("layers.10.weight", &[1, 2], &[3.0, -1.0]);
        archive.floats("layers.10.bias", &[1], &[0.25]);
    }

    #[test]
    fn a_stack_of_layers_is_one_head() {
        let head = read(&stack, "layers").unwrap();
        // (3, -1) [[1, 1], [2, 0]] = (1, 3), and that times the first layer; by hand for the bias too.
        assert_eq!(head.weights(), [1.0, -3.0, 5.0]);
        assert_eq!(head.bias(), 1.0 * 0.5 + 3.0 * 1.0 + 3.0 * 0.0 + 1.0 + 0.25);
    }

    #[test]
    fn every_fault_is_named() {
        let message = |fill: &dyn Fn(&mut ArchiveWriter<'_>), name| read(fill, name).unwrap_err().to_string();
        let found = message(&stack, "v1");
        assert!(found.contains("found `v1`") && found.contains("`layers.0`"), "{found}");
        let found = message(
            &|archive| {
                archive.floats("a.weight", &[2, 1], &[1.0, 2.0]);
                archive.floats("a.bias", &[2], &[1.0, 2.0]);
            },
            "a",
        );
        assert!(found.contains("a: expected one output, found 2"), "{found}");
        let found = message(
            &|archive| {
                archive.floats("a.0.weight", &[2, 1], &[1.0, 2.0]);
                archive.floats("a.0.bias", &[2], &[1.0, 2.0]);
                archive.floats("a.1.weight", &[1, 3], &[1.0, 2.0, 3.0]);
                archive.floats("a.1.bias", &[1], &[1.0]);
            },
            "a",
        );
        assert!(found.contains("a.1: expected 2 inputs"), "{found}");
        assert!(matches!(LinearHead::new(vec![f32::NAN], 0.0), Err(Error::Data { .. })));
        let head = LinearHead::new(vec![1.0], 0.0).unwrap();
        let wide = Embeddings::new(vec![1.0, 1.0], 2).unwrap();
        assert!(matches!(head.scores(&wide), Err(Error::Dim { expected: 1, found: 2, .. })));
    }
}
