use std::path::Path;

use super::checkpoint::Quantised;
use super::towers::{TextTower, Tower};
use super::{ClipBackbone, Precision};
use crate::error::{Error, Result};

impl ClipBackbone {
    /// Writes a checkpoint in eight bits, a quarter of the size of one in f32, which [`from_pretrained`] opens: as
    /// [`Precision::Int8`] on Flex, and in f32 of the same numbers elsewhere. Its [`identity`](Self::identity) is that of
    /// the weights that were quantised. The files beside the weights are copied from the folder that this backbone was
    /// loaded from.
    ///
    /// [`from_pretrained`]: Self::from_pretrained
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the backbone is not in [`Precision::Int8`] or its image tower is a ResNet;
    /// [`Error::Read`] if the folder that it came from is gone, [`Error::Write`] if this one cannot be written.
    ///
    /// # Examples
    /// ```
    /// use clip_adapter::{backbone::Precision, prelude::*};
    ///
    /// let device = Device::flex();
    /// let clip = ClipBackbone::from_pretrained_in("examples/pocket/model", Precision::Int8, &device)?;
    /// let folder = tempfile::tempdir().unwrap();
    /// clip.save_quantised(folder.path())?;
    ///
    /// let again = ClipBackbone::from_pretrained(folder.path(), &device)?;
    /// assert_eq!(again.precision(), Precision::Int8);
    /// assert_eq!(again.identity(), clip.identity());
    /// assert_eq!(again.encode_texts(&["an apple"])?, clip.encode_texts(&["an apple"])?);
    /// # Ok::<(), clip_adapter::Error>(())
    /// ```
    pub fn save_quantised(&self, folder: impl AsRef<Path>) -> Result<()> {
        if self.precision != Precision::Int8 {
            return Err(Error::unsupported(
                "precision of a quantised checkpoint",
                Precision::Int8,
                self.precision,
            ));
        }
        let (Tower::Packed(vision), TextTower::Packed(text)) = (&self.vision.tower, &self.text.tower) else {
            return Err(Error::unsupported("image tower of a quantised checkpoint", "a ViT", "a ResNet"));
        };
        let mut file = Quantised::new(&self.origin);
        vision.store(&mut file);
        text.store(&mut file);
        file.floats("logit_scale", &[], &[self.logit_scale.ln() as f32]);
        file.write(&self.origin, folder.as_ref())
    }
}
