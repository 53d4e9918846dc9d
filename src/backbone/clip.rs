use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};

use super::checkpoint::{Description, Origin, Weights, describe, locate, weight_files};
use super::samples;
use super::towers::{Lanes, Language, Vision};
use super::{BackboneConfig, CheckpointLayout, Precision, VisionKind, VisualProjection, is_flex};
use crate::error::{Error, Result};
use crate::features::{Embeddings, TextClassifier, check_scale};
use crate::input::{Cleaning, EndOfText, ImageInput, Preprocess, Prompts, ResizeMode, Tokenized, Tokenizer};

/// Images encoded at once: enough for every core, few enough to stay in the cache. The same on every machine, as
/// other batches may give other last bits.
pub(crate) const IMAGE_BATCH: usize = 32;

/// Texts that one lane encodes at once.
const TEXT_BATCH: usize = 32;

/// Ends the identity of a backbone that turns images as their EXIF data say.
const ORIENTED: &str = " oriented";

/// A pretrained CLIP, frozen: pixels and sentences in, embeddings out.
///
/// It reads a folder as Hugging Face transformers or open_clip write it, with f32, f16 or bf16 weights, and
/// computes in f32 unless told otherwise: [`with_precision`](Self::with_precision). It never sits on an autodiff
/// device: what trains takes its embeddings as constants.
///
/// | Layout | Files |
/// | --- | --- |
/// | Hugging Face | `config.json`, `preprocessor_config.json` or `processor_config.json`, `tokenizer.json`, if there is one `tokenizer_config.json`, `model.safetensors` or `model.safetensors.index.json` and its shards |
/// | open_clip | `open_clip_config.json`, `tokenizer.json`, `open_clip_model.safetensors` |
///
/// What these files say is done as the reference does it, or refused with the key's name:
/// [`guide::backbones`](crate::guide::backbones) lists the keys.
///
/// # Examples
/// ```no_run
/// use burn::tensor::Device;
/// use clip_adapter::{ClipBackbone, input::Prompts};
///
/// let clip = ClipBackbone::from_pretrained("path/to/clip-vit-base-patch32", &Device::flex())?;
/// let classes = clip.text_classifier(&["cat", "dog"], &Prompts::default())?;
/// let photos = clip.encode_images(&["one.jpg", "two.png"])?;
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ClipBackbone {
    pub(super) vision: Vision,
    pub(super) text: Language,
    pub(super) logit_scale: f64,
    tokenizer: Tokenizer,
    preprocess: Preprocess,
    config: BackboneConfig,
    identity: String,
    pub(super) origin: Origin,
    lanes: Lanes,
    device: Device,
    pub(super) precision: Precision,
}

impl ClipBackbone {
    /// Loads a checkpoint from a folder or, with the crate feature `hub`, from the Hugging Face hub by `org/name`
    /// or by the name of a [`Preset`](super::Preset). A folder that exists wins.
    ///
    /// # Errors
    /// [`Error::Hub`] if the hub is asked and does not give it, [`Error::HubDisabled`] if this build cannot ask;
    /// [`Error::Read`] or [`Error::Malformed`] for a file that is absent, damaged or says what is not done here,
    /// [`Error::Setting`] for sizes that are impossible, [`Error::Weights`] with every tensor that is missing,
    /// misshapen or unknown. A model that is not whole is never returned.
    pub fn from_pretrained(folder: impl AsRef<Path>, device: &Device) -> Result<Self> {
        Self::open(folder.as_ref(), None, device)
    }

    /// As [`from_pretrained`](Self::from_pretrained), with towers that compute in this [`Precision`] from the start:
    /// of a tower in eight bits there is never one in f32 in memory.
    ///
    /// # Errors
    /// As [`from_pretrained`](Self::from_pretrained) and [`with_precision`](Self::with_precision).
    ///
    /// # Examples
    /// ```
    /// use burn::tensor::Device;
    /// use clip_adapter::{ClipBackbone, backbone::Precision};
    ///
    /// let (folder, device) = ("examples/pocket/model", Device::flex());
    /// let clip = ClipBackbone::from_pretrained_in(folder, Precision::Int8, &device)?;
    /// assert_eq!(clip.precision(), Precision::Int8);
    /// # Ok::<(), clip_adapter::Error>(())
    /// ```
    pub fn from_pretrained_in(
        folder: impl AsRef<Path>,
        precision: Precision,
        device: &Device,
    ) -> Result<Self> {
        precision.check(device)?;
        Self::open(folder.as_ref(), Some(precision), device)
    }

    fn open(folder: &Path, precision: Option<Precision>, device: &Device) -> Result<Self> {
        let folder = locate(folder)?;
        let folder = folder.as_path();
        let device = device.clone().without_autodiff();
        let Description { layout, config, preprocess, pad } = describe(folder)?;
        let pooling = config.text.end.map_or(EndOfText::LargestId, EndOfText::Id);
        let cleaning = match layout {
            CheckpointLayout::HuggingFace => Cleaning::AsWritten,
            CheckpointLayout::OpenClip => Cleaning::OpenClip,
        };
        let words = folder.join("tokenizer.json");
        let tokenizer = Tokenizer::open(&words, config.text.context, pad.as_deref(), pooling, cleaning)?;
        if tokenizer.vocabulary() > config.text.vocabulary {
            let expected = format!("at most {} tokens", config.text.vocabulary);
            return Err(Error::data("tokenizer", expected, tokenizer.vocabulary()));
        }
        let mut weights = Weights::open(&weight_files(folder, layout)?, &device)?;
        let stored = if weights.has_levels() && is_flex(&device) { Precision::Int8 } else { Precision::F32 };
        let precision = precision.unwrap_or(stored);
        // What was quantised once is so again without a loss, and needs no samples.
        let loaded = if precision == Precision::Int8 { precision } else { Precision::F32 };
        let needs = loaded == Precision::Int8 && stored != Precision::Int8;
        let pictures = needs.then(|| samples::pictures(&preprocess, &device));
        let sentences = if needs { Some(samples::sentences(&tokenizer)?) } else { None };
        let vision = Vision::load(&mut weights, layout, &config, loaded.form(&device, pictures));
        let text = Language::load(&mut weights, layout, &config, loaded.form(&device, sentences));
        let logit_scale = f64::from(weights.scalar("logit_scale")).exp();
        let digest = weights.finish(folder)?;
        check_scale(logit_scale).map_err(|error| match error {
            Error::Setting { name, expected, found } => {
                Error::malformed(folder, format!("exp({name})"), expected, found)
            }
            other => other,
        })?;
        let identity = format!("weights:{digest} {}", describe_input(&config, &preprocess));
        let origin = Origin { folder: folder.into(), layout, digest };
        let clip = Self {
            vision,
            text,
            logit_scale,
            tokenizer,
            preprocess,
            config,
            identity,
            origin,
            lanes: Lanes::new(&device),
            device,
            precision: loaded,
        };
        if precision == loaded { Ok(clip) } else { clip.with_precision(precision) }
    }

    /// The same backbone for images turned as the camera noted in their EXIF data; the reference leaves them as
    /// they are stored. Its features are others, and its [`identity`](Self::identity) says so.
    pub fn with_exif_orientation(mut self) -> Self {
        if !self.preprocess.orient {
            self.preprocess.orient = true;
            self.identity.push_str(ORIENTED);
        }
        self
    }

    /// The same backbone with towers that compute in another [`Precision`].
    ///
    /// Pixels go in and embeddings come out in f32 as before; the projections and all that trains stay in f32.
    /// The [`identity`](Self::identity) stays too: an adapter fitted on features of one precision may be used
    /// with another. Going back to f32 does not bring back the bits that were dropped.
    ///
    /// # Errors
    /// [`Error::Setting`] if the device does not calculate in it.
    ///
    /// # Examples
    /// ```
    /// use burn::tensor::Device;
    /// use clip_adapter::{ClipBackbone, backbone::Precision};
    ///
    /// let clip = ClipBackbone::from_pretrained("tests/golden/hf_gelu_patch14", &Device::flex())?;
    /// let whole = clip.encode_texts(&["a cat"])?.normalised();
    /// let half = clip.with_precision(Precision::F16)?.encode_texts(&["a cat"])?.normalised();
    /// let cosine: f32 = whole.row(0).iter().zip(half.row(0)).map(|(a, b)| a * b).sum();
    /// assert!(cosine > 0.999 && whole != half);
    /// # Ok::<(), clip_adapter::Error>(())
    /// ```
    pub fn with_precision(mut self, precision: Precision) -> Result<Self> {
        precision.check(&self.device)?;
        if precision != self.precision {
            let quantised = precision == Precision::Int8;
            let sentences = if quantised { Some(samples::sentences(&self.tokenizer)?) } else { None };
            let pictures = quantised.then(|| samples::pictures(&self.preprocess, &self.device));
            self.text = self.text.cast(precision, &self.device, sentences);
            self.vision = self.vision.cast(precision, &self.device, pictures);
            self.precision = precision;
        }
        Ok(self)
    }

    /// What the towers compute in.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Sizes and switches.
    pub fn config(&self) -> &BackboneConfig {
        &self.config
    }

    /// How images become pixels.
    pub fn preprocess(&self) -> &Preprocess {
        &self.preprocess
    }

    /// How sentences become token ids.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Names the weights, the activation and the preprocessing: what features computed here belong to.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// What cosines are multiplied with: `exp` of the file's logit scale.
    pub fn logit_scale(&self) -> f64 {
        self.logit_scale
    }

    /// Where the towers are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Image embeddings, not normalised.
    ///
    /// # Shapes
    /// - `pixels`: `[batch, 3, image_size, image_size]`, preprocessed, on the backbone's device
    /// - returns: `[batch, embed_dim]`
    ///
    /// # Panics
    /// If the pixels have another shape.
    pub fn image_embeddings(&self, pixels: Tensor<4>) -> Tensor<2> {
        self.lanes.encode(pixels.dims()[0], self.vision.at_once(), |images| {
            self.vision.embeddings(self.precision.tensor(pixels.clone().slice([images])))
        })
    }

    /// Image features before the projection, which ProLIP and other white-box methods take.
    ///
    /// # Shapes
    /// - `pixels`: as for [`image_embeddings`](Self::image_embeddings)
    /// - returns: `[batch, features]`
    ///
    /// # Panics
    /// If the pixels have another shape.
    pub fn image_features(&self, pixels: Tensor<4>) -> Tensor<2> {
        self.lanes.encode(pixels.dims()[0], self.vision.at_once(), |images| {
            self.features_of(pixels.clone().slice([images]))
        })
    }

    fn features_of(&self, pixels: Tensor<4>) -> Tensor<2> {
        Precision::F32.tensor(self.vision.features(self.precision.tensor(pixels)))
    }

    /// The layer from [`image_features`](Self::image_features) to [`image_embeddings`](Self::image_embeddings).
    pub fn visual_projection(&self) -> &VisualProjection {
        &self.vision.projection
    }

    /// Text embeddings, not normalised.
    ///
    /// # Shapes
    /// - `tokens`: `[texts, context]`
    /// - returns: `[texts, embed_dim]`
    pub fn text_embeddings(&self, tokens: &Tokenized) -> Tensor<2> {
        self.lanes.encode(tokens.ids.len(), TEXT_BATCH, |texts| {
            self.text.embeddings(&tokens.select(&texts.collect::<Vec<_>>()), &self.device)
        })
    }

    /// Decodes, preprocesses and encodes images, in order: files by their paths, uploads by their bytes
    /// ([`ImageBytes`](crate::input::ImageBytes)), or decoded ones. Not normalised.
    ///
    /// # Errors
    /// As [`Preprocess::load`]; [`Error::Execution`] if the device fails; [`Error::Data`] if an embedding is not
    /// finite.
    pub fn encode_images(&self, images: &[impl ImageInput]) -> Result<Embeddings> {
        let mut values = Vec::with_capacity(images.len() * self.config.embed_dim);
        for images in images.chunks(IMAGE_BATCH) {
            let pixels = self.preprocess.load(images, &self.device)?;
            values.extend(to_host(self.image_embeddings(pixels))?);
        }
        Embeddings::new(values, self.config.embed_dim)
    }

    /// As [`encode_images`](Self::encode_images), but an image that cannot be read has an error of its own: the rows
    /// are those of the others.
    ///
    /// # Errors
    /// [`Error::Execution`] if the device fails; [`Error::Data`] if an embedding is not finite.
    ///
    /// # Examples
    /// ```
    /// use clip_adapter::prelude::*;
    ///
    /// let clip = ClipBackbone::from_pretrained("examples/pocket/model", &Device::flex())?;
    /// let icons = "examples/pocket/images/icon-colour";
    /// let files = [format!("{icons}/food/apple.png"), "no/such.png".into(), format!("{icons}/vehicles/car.png")];
    /// let (embeddings, read) = clip.encode_each(&files)?;
    /// assert_eq!(embeddings.rows(), 2);
    /// assert!(read[0].is_ok() && read[1].is_err() && read[2].is_ok());
    /// # Ok::<(), clip_adapter::Error>(())
    /// ```
    pub fn encode_each(&self, images: &[impl ImageInput]) -> Result<(Embeddings, Vec<Result<()>>)> {
        let (mut values, mut read) = (Vec::new(), Vec::with_capacity(images.len()));
        for images in images.chunks(IMAGE_BATCH) {
            let mut pixels = Vec::new();
            for found in self.preprocess.load_each(images) {
                read.push(found.map(|found| pixels.push(found)));
            }
            if !pixels.is_empty() {
                let side = self.preprocess.crop;
                let pixels = TensorData::new(pixels.concat(), [pixels.len(), 3, side, side]);
                values.extend(to_host(self.image_embeddings(Tensor::from_data(pixels, &self.device)))?);
            }
        }
        Ok((Embeddings::new(values, self.config.embed_dim)?, read))
    }

    /// Tokenises and encodes sentences, in order. Not normalised.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`]; [`Error::Execution`] if the device fails; [`Error::Data`] if an embedding is not
    /// finite.
    pub fn encode_texts(&self, texts: &[impl AsRef<str>]) -> Result<Embeddings> {
        let (tokens, dim) = (self.tokenizer.encode(texts)?, self.config.embed_dim);
        // Texts of like length share a batch, so that few tokens are computed only to be left out.
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|&text| tokens.ends[text]);
        let mut values = vec![0.0; texts.len() * dim];
        for batch in order.chunks(TEXT_BATCH * self.lanes.count()) {
            let embeddings = to_host(self.text_embeddings(&tokens.select(batch)))?;
            for (embedding, &text) in embeddings.chunks_exact(dim).zip(batch) {
                values[text * dim..][..dim].copy_from_slice(embedding);
            }
        }
        Embeddings::new(values, dim)
    }

    /// The zero-shot classifier of these classes: every template with every class name.
    ///
    /// # Errors
    /// As [`encode_texts`](Self::encode_texts) and [`TextClassifier::new`].
    pub fn text_classifier(
        &self,
        class_names: &[impl AsRef<str>],
        prompts: &Prompts,
    ) -> Result<TextClassifier> {
        let embeddings = self.encode_texts(&prompts.sentences(class_names))?;
        TextClassifier::new(
            embeddings.values().to_vec(),
            self.config.embed_dim,
            class_names.iter().map(|name| name.as_ref().to_owned()),
            prompts.templates(),
            self.logit_scale,
            &*self.identity,
        )
    }
}

fn to_host(embeddings: Tensor<2>) -> Result<Vec<f32>> {
    embeddings.try_into_vec_as::<f32>().map_err(|error| Error::execution("encoding", error))
}

/// The part of the identity that is not in the weights.
fn describe_input(config: &BackboneConfig, preprocess: &Preprocess) -> String {
    let Preprocess { resize, resize_mode, crop, resampling, rounding, orient, rescale, mean, std } =
        preprocess;
    let activation = match &config.vision.kind {
        VisionKind::Vit { activation, .. } => format!("{activation:?}"),
        VisionKind::ResNet { .. } => format!("ResNet {:?}", config.text.activation),
    };
    // Only what differs from how all models once were, so that theirs stays what it was.
    let squashed = if *resize_mode == ResizeMode::Squash { " squashed" } else { "" };
    let usual = *rescale == Preprocess::default().rescale;
    let rescaled = if usual { String::new() } else { format!(" rescale {rescale:?}") };
    let oriented = if *orient { ORIENTED } else { "" };
    format!(
        "{activation} {resize}/{crop} {resampling:?} {rounding:?} mean {mean:?} std {std:?}{squashed}{rescaled}{oriented}"
    )
}
