use std::path::Path;

use burn::tensor::Device;

use crate::backbone::ClipBackbone;
use crate::error::{Error, Result};
use crate::evaluate::Ranked;
use crate::fingerprint::require_backbone;
use crate::input::ImageInput;
use crate::model::{Classifier, Saved};

/// The end of the road: a backbone and what was fitted on its features, which together name images.
///
/// It can be shared by any number of threads.
///
/// # Examples
/// ```
/// use clip_adapter::{SsText, prelude::*};
///
/// let (device, photos) = (Device::flex(), ImageFolder::open("examples/pocket/images/icon-line")?);
/// let clip = ClipBackbone::from_pretrained("examples/pocket/model", &device)?;
/// let classes = clip.text_classifier(photos.class_names(), &Prompts::default())?;
/// let shots = clip.extract().run(&photos)?.labelled()?.shots(4, 1)?;
/// let folder = tempfile::tempdir().unwrap();
/// let adapter = folder.path().join("icons.adapter.safetensors");
/// SsText::default().fit(&shots, &classes, &device)?.save(&adapter)?;
///
/// let predictor = Predictor::open("examples/pocket/model", &adapter, &device)?;
/// let upload = std::fs::read("examples/pocket/images/icon-line/food/apple.png").unwrap();
/// let top = predictor.predict(&ImageBytes { name: "apple", bytes: &upload }, 3)?;
/// assert_eq!(top.len(), 3);
/// assert_eq!(predictor.class_names(), photos.class_names());
/// assert!(top[0].probability >= top[1].probability);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug)]
pub struct Predictor {
    clip: ClipBackbone,
    model: Box<dyn Classifier>,
}

impl Predictor {
    /// Opens a checkpoint and the file of a model that was fitted on its features.
    ///
    /// # Errors
    /// As [`ClipBackbone::from_pretrained`], [`Saved::open`] and [`Registry::load`](crate::train::Registry::load); as
    /// [`new`](Self::new).
    pub fn open(backbone: impl AsRef<Path>, model: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let saved = Saved::open(model)?; // the smaller of the two, so that a wrong path is told at once
        Self::of(ClipBackbone::from_pretrained(backbone, device)?, &saved)
    }

    /// Opens a model for a backbone that is there, such as one of another
    /// [`Precision`](crate::backbone::Precision), on the backbone's device.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn load(clip: ClipBackbone, model: impl AsRef<Path>) -> Result<Self> {
        Self::of(clip, &Saved::open(model)?)
    }

    fn of(clip: ClipBackbone, saved: &Saved) -> Result<Self> {
        let model = super::registry().load(saved, &saved.expected_of(&clip), clip.device())?;
        Self::new(clip, model)
    }

    /// Puts the two together.
    ///
    /// # Errors
    /// [`Error::Fingerprint`] if the model was fitted on features of another backbone; [`Error::Dim`] if it takes
    /// features of another width, as those before the projection are.
    pub fn new(clip: ClipBackbone, model: Box<dyn Classifier>) -> Result<Self> {
        require_backbone("backbones", clip.identity(), &model.fingerprint().backbone)?;
        let (expected, found) = (clip.config().embed_dim, model.dim());
        match expected == found {
            true => Ok(Self { clip, model }),
            false => {
                Err(Error::Dim { what: "the features that the model takes".to_owned(), expected, found })
            }
        }
    }

    /// The backbone.
    pub fn clip(&self) -> &ClipBackbone {
        &self.clip
    }

    /// What was fitted.
    pub fn model(&self) -> &dyn Classifier {
        &*self.model
    }

    /// The classes' names, in label order.
    pub fn class_names(&self) -> &[String] {
        self.model.classes().class_names()
    }

    /// The likeliest classes of an image, at most `count`, likeliest first: of a file by its path, of an upload by its
    /// bytes, or of decoded pixels.
    ///
    /// # Errors
    /// As [`ClipBackbone::encode_images`] and [`Classifier::score`].
    pub fn predict(&self, image: &(impl ImageInput + ?Sized), count: usize) -> Result<Vec<Ranked>> {
        Ok(self.predict_all(&[image], count)?.into_iter().next().unwrap_or_default())
    }

    /// The same of several images, in order.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub fn predict_all(&self, images: &[impl ImageInput], count: usize) -> Result<Vec<Vec<Ranked>>> {
        self.model.top(&self.clip.encode_images(images)?, count)
    }

    /// The same of images that have nothing to do with one another, such as those of several clients: one that cannot be
    /// read has an error of its own, and the others have their labels.
    ///
    /// # Errors
    /// As [`ClipBackbone::encode_each`] and [`Classifier::score`], of what is nobody's own fault.
    pub fn predict_each(&self, images: &[impl ImageInput], count: usize) -> Result<Vec<Result<Vec<Ranked>>>> {
        let (embeddings, read) = self.clip.encode_each(images)?;
        let mut top = self.model.top(&embeddings, count)?.into_iter();
        Ok(read.into_iter().map(|read| read.map(|()| top.next().unwrap_or_default())).collect())
    }
}
