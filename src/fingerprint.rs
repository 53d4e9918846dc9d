use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// The identity of what a file was fitted on: the backbone, the prompts and the classes.
///
/// An adapter is only worth something on the features it was trained for. Two fingerprints are compared when a
/// file is opened, and a difference names both sides.
///
/// # Examples
/// ```
/// use clip_adapter::{Error, Fingerprint};
///
/// let here = Fingerprint::new("CLIP ViT-B/32", &["a photo of a {}."], &["cat", "dog"]);
/// let there = Fingerprint::new("CLIP RN50", &["a photo of a {}."], &["cat", "dog"]);
/// let error = here.require(&there).unwrap_err();
/// assert!(matches!(error, Error::Fingerprint { what: "backbones", .. }));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Names the weights, the activation and the preprocessing.
    pub backbone: String,
    /// A digest of the prompt templates.
    pub prompts: String,
    /// A digest of the class names, in order.
    pub classes: String,
}

impl Fingerprint {
    /// The fingerprint of a backbone with these prompts and classes.
    pub fn new(backbone: &str, templates: &[impl AsRef<str>], class_names: &[impl AsRef<str>]) -> Self {
        Self { backbone: backbone.to_owned(), prompts: digest(templates), classes: digest(class_names) }
    }

    /// The fingerprint of a backbone's features alone, without prompts or classes: that of what compares them.
    pub fn of_backbone(backbone: &str) -> Self {
        Self::new(backbone, &[] as &[&str], &[] as &[&str])
    }

    /// Checks that `found` is the same identity.
    ///
    /// # Errors
    /// [`Error::Fingerprint`] for the first part that differs.
    pub fn require(&self, found: &Self) -> Result<()> {
        require_backbone("backbones", &self.backbone, &found.backbone)?;
        let parts = [("prompts", &self.prompts, &found.prompts), ("classes", &self.classes, &found.classes)];
        match parts.into_iter().find(|(_, expected, found)| expected != found) {
            None => Ok(()),
            Some((what, expected, found)) => Err(Error::fingerprint(what, expected, found)),
        }
    }
}

/// Checks that `found` names the same backbone, whatever its folder was called.
///
/// # Errors
/// [`Error::Fingerprint`] if it is another.
pub(crate) fn require_backbone(what: &'static str, expected: &str, found: &str) -> Result<()> {
    match nameless(expected) == nameless(found) {
        true => Ok(()),
        false => Err(Error::fingerprint(what, expected, found)),
    }
}

/// A backbone is its weights: older files have the name of its folder in front of them.
fn nameless(backbone: &str) -> &str {
    backbone.find(" weights:").map_or(backbone, |at| &backbone[at + 1..])
}

/// The number of texts and the first 16 hexadecimal digits of their SHA-256.
fn digest(texts: &[impl AsRef<str>]) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update((text.as_ref().len() as u64).to_le_bytes()); // so that ["ab", "c"] is not ["a", "bc"]
        hash.update(text.as_ref());
    }
    format!("{}:{}", texts.len(), short_hex(hash))
}

/// The first 16 hexadecimal digits.
pub(crate) fn short_hex(hash: Sha256) -> String {
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folders_name_is_no_part_of_a_backbone() {
        let of = |backbone| Fingerprint::new(backbone, &["a {}."], &["cat"]);
        let new = of("weights:a512 QuickGelu 224/224");
        new.require(&of("clip-a weights:a512 QuickGelu 224/224")).unwrap();
        of("deployed weights:a512 QuickGelu 224/224").require(&new).unwrap();
        assert!(new.require(&of("clip-a weights:a513 QuickGelu 224/224")).is_err());
        assert!(new.require(&of("clip-a weights:a512 Gelu 224/224")).is_err());
        assert!(of("CLIP ViT-B/32").require(&of("CLIP RN50")).is_err());
    }
}
