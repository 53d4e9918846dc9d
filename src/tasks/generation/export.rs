use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::archive::ArchiveWriter;
use crate::error::{Error, Result, positive};
use crate::features::Embeddings;

/// The format that a file of embeddings for a generator declares.
const FORMAT: &str = "clip-image-embeds/1";

/// What takes image embeddings, and of which CLIP: each belongs to one.
///
/// The variants of IP-Adapter called "plus" take the 257 hidden states of an image instead, which a sentence has none of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Pipeline {
    /// IP-Adapter of Stable Diffusion 1.5: OpenCLIP ViT-H/14, 1024 numbers.
    IpAdapterSd15,
    /// IP-Adapter of SDXL with the large encoder: OpenCLIP ViT-bigG/14, 1280 numbers.
    IpAdapterSdxl,
    /// Stable unCLIP with OpenAI's ViT-L/14, 768 numbers.
    UnclipSmall,
    /// Stable unCLIP with OpenCLIP ViT-H/14, 1024 numbers.
    Unclip,
    /// Any other: the width is not checked.
    Other,
}

impl Pipeline {
    /// The width of the embeddings it takes, where that is known.
    pub fn dim(self) -> Option<usize> {
        match self {
            Self::IpAdapterSd15 | Self::Unclip => Some(1024),
            Self::IpAdapterSdxl => Some(1280),
            Self::UnclipSmall => Some(768),
            Self::Other => None,
        }
    }
}

/// Writes embeddings for a generator: a safetensors file with `image_embeds` f32 `[n, dim]`, each row of the given length.
///
/// `length` is the mean length of the backbone's own projections, which generators were trained on:
/// [`FittedPrior::length`](super::FittedPrior::length). What is guided by contrast takes zeros for the image that it goes
/// away from; the file has them not. For diffusers' `ip_adapter_image_embeds`:
///
/// ```python
/// x = load_file("embeds.safetensors")["image_embeds"][0].reshape(1, 1, -1)
/// pipe(prompt, ip_adapter_image_embeds=[torch.cat([torch.zeros_like(x), x])])
/// ```
///
/// # Errors
/// [`Error::Dim`] if the pipeline takes embeddings of another CLIP, as their width shows; [`Error::Setting`] if `length` is
/// not above 0; [`Error::Data`] if there is no embedding; [`Error::Write`] if the file cannot be written.
///
/// # Examples
/// ```
/// use clip_adapter::{features::Embeddings, tasks::generation::{Pipeline, export}};
///
/// let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("embeds.safetensors");
/// let rows = Embeddings::new(vec![3.0, 4.0], 2)?;
/// export(&rows, 12.5, "weights:0", Pipeline::Other, &path)?;
/// assert!(export(&rows, 12.5, "weights:0", Pipeline::IpAdapterSd15, &path).is_err());
/// # Ok::<(), clip_adapter::Error>(())
/// ```
pub fn export(
    images: &Embeddings,
    length: f64,
    backbone: &str,
    pipeline: Pipeline,
    path: impl AsRef<Path>,
) -> Result<()> {
    positive("length", length)?;
    if images.rows() == 0 {
        return Err(Error::data("image embeddings", "at least one", "none"));
    }
    if let Some(expected) = pipeline.dim()
        && images.dim() != expected
    {
        let what = format!("image embeddings for {pipeline:?}, whose CLIP is another than {backbone}");
        return Err(Error::Dim { what, expected, found: images.dim() });
    }
    let unit = images.normalised();
    let values: Vec<f32> = unit.values().iter().map(|value| (f64::from(*value) * length) as f32).collect();
    let mut archive = ArchiveWriter::new(FORMAT);
    archive.text("backbone", backbone);
    archive.text("length", length);
    archive.floats("image_embeds", &[images.rows(), images.dim()], &values);
    archive.write(path.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::Archive;

    #[test]
    fn rows_have_the_length_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("embeds.safetensors");
        let rows = Embeddings::new(vec![3.0, 4.0, 0.0, -9.0], 2).unwrap();
        export(&rows, 10.0, "b", Pipeline::Other, &path).unwrap();
        let (values, shape) = Archive::open(&path).unwrap().floats::<2>("image_embeds").unwrap();
        assert_eq!(shape, [2, 2]);
        approx::assert_abs_diff_eq!(&values[..], &[6.0, 8.0, 0.0, -10.0][..], epsilon = 1e-5);
        let error = export(&rows, 1.0, "b", Pipeline::IpAdapterSdxl, &path).unwrap_err();
        assert!(matches!(error, Error::Dim { expected: 1280, found: 2, .. }));
        assert!(matches!(export(&rows, 0.0, "b", Pipeline::Other, &path), Err(Error::Setting { .. })));
        assert!(matches!(
            export(&rows.select(&[]), 1.0, "b", Pipeline::Other, &path),
            Err(Error::Data { .. })
        ));
    }
}
