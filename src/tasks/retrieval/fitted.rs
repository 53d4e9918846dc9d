use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Sides;
use super::fit::{HeldOut, PairSettings};
use super::net::PairNet;
use crate::error::Result;
use crate::features::Pairs;
use crate::fingerprint::Fingerprint;
use crate::model::{FeatureMap, Model, Open, Opening, Saved, Section};

/// What a file keeps beside settings and parameters.
#[derive(Serialize, Deserialize)]
struct Found {
    dim: usize,
    kept: bool,
    held_out: Option<HeldOut>,
}

/// A trained pair adapter, or zero-shot where its guard did not keep it.
///
/// # Examples
/// ```
/// use clip_adapter::{features::PairFile, model::Open, prelude::*};
/// use clip_adapter::tasks::retrieval::{self, FittedPair, LinearPair, PairMethod};
///
/// let ((train, test), device) = (PairFile::synthetic(0)?.split(1)?, Device::flex());
/// let model = LinearPair { folds: 0, steps: 20, ..Default::default() }.fit(&train, &device)?;
/// let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("pairs.adapter.safetensors");
/// model.save(&path)?;
/// let same = FittedPair::load(&path, &train.fingerprint(), &device)?;
/// let found = |model: &FittedPair| retrieval::evaluate(&retrieval::adapted_test(model, &test)?);
/// assert_eq!(found(&same)?, found(&model)?);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct FittedPair {
    settings: PairSettings,
    net: PairNet,
    held_out: Option<HeldOut>,
    dim: usize,
    fingerprint: Fingerprint,
    device: Device,
}

impl FittedPair {
    pub(super) fn new(
        settings: PairSettings,
        net: PairNet,
        held_out: Option<HeldOut>,
        pairs: &Pairs,
        device: &Device,
    ) -> Self {
        let (dim, fingerprint) = (pairs.dim(), pairs.fingerprint());
        Self { settings, net, held_out, dim, fingerprint, device: device.clone() }
    }

    /// The settings it was fitted with.
    pub fn settings(&self) -> &PairSettings {
        &self.settings
    }

    /// Whether the adapter was kept; else both sides are what they were.
    pub fn is_kept(&self) -> bool {
        self.net.image.is_some() || self.net.text.is_some()
    }

    /// Whether images are other than they were, so that an index of them has to be made again.
    pub fn changes_images(&self) -> bool {
        self.net.image.is_some()
    }

    /// What held-out pairs said, if any were held out.
    pub fn held_out(&self) -> Option<HeldOut> {
        self.held_out
    }

    /// The width of the features it takes.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The same model on another device.
    pub fn to_device(&self, device: &Device) -> Self {
        let device = device.clone().without_autodiff();
        Self { net: self.net.clone().fork(&device), device, ..self.clone() }
    }
}

impl Model for FittedPair {
    fn kind(&self) -> &'static str {
        Self::KIND
    }

    fn fingerprint(&self) -> Fingerprint {
        self.fingerprint.clone()
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn chosen(&self) -> Value {
        let seen = self.held_out;
        json!({
            "kept": self.is_kept(),
            "zero_shot_mrr": seen.map(|seen| seen.zero_shot_mrr),
            "adapted_mrr": seen.map(|seen| seen.adapted_mrr),
        })
    }

    fn write(&self, into: &mut Section<'_, '_>) -> Result<()> {
        let found = Found { dim: self.dim, kept: self.is_kept(), held_out: self.held_out };
        into.settings(&self.settings, &found);
        into.module(&self.net);
        Ok(())
    }
}

impl FeatureMap for FittedPair {
    /// `f* = normalise(f M_i)`, or `normalise(f + A(f))`.
    fn images(&self, images: Tensor<2>) -> Tensor<2> {
        assert_eq!(images.dims()[1], self.dim, "pair adapter: image features of another width");
        self.net.images(images)
    }

    /// `t* = normalise(t M_t)`, or `normalise(t + A(t))`.
    fn texts(&self, texts: Tensor<2>) -> Tensor<2> {
        assert_eq!(texts.dims()[1], self.dim, "pair adapter: text features of another width");
        self.net.texts(texts)
    }
}

impl Open for FittedPair {
    const KIND: &'static str = "pair-adapter";

    fn open(saved: &Saved, opening: &Opening<'_>) -> Result<Self> {
        let settings: PairSettings = saved.json("settings")?;
        let Found { dim, kept, held_out } = saved.json("found")?;
        settings.validate(dim).map_err(|error| saved.locate("settings", error))?;
        let mut net = PairNet { image: None, text: None };
        if kept {
            let sides =
                [("image", settings.sides() != Sides::Text), ("text", settings.sides() != Sides::Image)];
            for (side, _) in sides.into_iter().filter(|(_, adapted)| *adapted) {
                match settings {
                    PairSettings::Linear(_) => saved.require_shape(&format!("{side}.weight"), &[dim, dim])?,
                    PairSettings::ClipAdapter(method) => {
                        let shape = [dim / method.reduction, dim];
                        saved.require_shape(&format!("{side}.down.weight"), &shape)?;
                    }
                }
            }
            net = saved.module(settings.network(dim, opening.device()))?;
        }
        let (fingerprint, device) = (saved.fingerprint().clone(), opening.device().clone());
        Ok(Self { settings, net, held_out, dim, fingerprint, device })
    }
}
