//! The ways to find the part that learns, one file each, behind one trait: [`Method`](crate::Method).

mod ape;
mod auto;
mod clap;
mod clip_adapter;
mod cross_modal;
mod ensemble;
mod gda;
mod guard;
mod linear_probe;
mod lp_plus_plus;
mod proker;
mod prolip;
mod rla;
mod ss_text;
mod task_res;
mod tip_adapter;
mod tip_adapter_f;
mod zero_shot;

pub use self::clap::{Clap, FittedClap}; // `clap` alone could be the crate that the examples use
pub use ape::{Ape, FittedApe};
pub(crate) use auto::HeldOutShots;
pub use auto::{AutoAdapter, FittedAutoAdapter};
pub use clip_adapter::{Branches, ClipAdapter, FittedClipAdapter, Ratio};
pub use cross_modal::{CrossModal, FittedCrossModal};
pub use ensemble::{Ensemble, FittedEnsemble};
pub use gda::{FittedGda, Gda, GdaFound};
pub(crate) use gda::{Gaussians, Moments, named_right};
pub use guard::{FittedGuard, Guard};
pub use linear_probe::{FittedLinearProbe, LinearProbe, LinearProbeFound};
pub use lp_plus_plus::{FittedLpPlusPlus, LpPlusPlus, LpPlusPlusFound};
pub use proker::{FittedProKeR, ProKeR, ProKeRFound};
pub use prolip::{FittedProLip, ProLip};
pub use rla::{FittedRla, Rla};
pub use ss_text::{FittedSsText, SsText};
pub use task_res::{FittedTaskRes, TaskRes};
pub use tip_adapter::{FittedTipAdapter, TipAdapter};
pub use tip_adapter_f::{FittedTipAdapterF, TipAdapterF};
pub use zero_shot::{FittedZeroShot, ZeroShot};

use std::path::Path;

use burn::tensor::Device;

use crate::backbone::ClipBackbone;
use crate::error::Result;
use crate::fingerprint::Fingerprint;
use crate::model::{Classifier, Opening, Saved};
use crate::train::{Registry, Run};

impl Registry {
    /// The methods of this crate, in the order of a table, and what else its files hold.
    pub fn builtin() -> Self {
        Self::empty()
            .with::<ZeroShot>()
            .with::<AutoAdapter>()
            .with::<ClipAdapter>()
            .with::<TipAdapter>()
            .with::<TipAdapterF>()
            .with::<Gda>()
            .with::<ProKeR>()
            .with::<SsText>()
            .with::<TaskRes>()
            .with::<Rla>()
            .with::<Clap>()
            .with::<CrossModal>()
            .with::<LinearProbe>()
            .with::<LpPlusPlus>()
            .with::<Ape>()
            .with::<Ensemble>()
            .with::<Guard>()
            .with_model::<FittedProLip>()
    }
}

impl Saved {
    /// Loads the model for the features of this backbone: the prompts and classes are the file's own.
    ///
    /// # Errors
    /// As [`load_for`](Self::load_for).
    pub fn load(&self, clip: &ClipBackbone, device: &Device) -> Result<Box<dyn Classifier>> {
        self.load_for(&self.expected_of(clip), device)
    }

    /// Loads the model for features that `expected` names, if it is of one of this crate's kinds; for others see
    /// [`Registry::load`].
    ///
    /// # Errors
    /// As [`Open::load`](crate::model::Open::load); [`Error::Malformed`](crate::Error::Malformed) if the kind is
    /// unknown.
    pub fn load_for(&self, expected: &Fingerprint, device: &Device) -> Result<Box<dyn Classifier>> {
        Registry::builtin().load(self, expected, device)
    }

    /// What it must be of to belong to this backbone: the prompts and classes are the file's own.
    pub(crate) fn expected_of(&self, clip: &ClipBackbone) -> Fingerprint {
        Fingerprint { backbone: clip.identity().to_owned(), ..self.fingerprint().clone() }
    }
}

/// Opens a file that any of these methods' [`save`](crate::model::Save::save) wrote, for features that `expected`
/// names. What the tasks save is opened by `tasks::load`.
///
/// # Errors
/// As [`Saved::open`] and [`Saved::load_for`].
///
/// # Examples
/// ```
/// use clip_adapter::{SsText, methods, prelude::*};
///
/// let (file, device) = (FeatureFile::synthetic(0)?, Device::flex());
/// let model = SsText::default().fit(&file.support(1, 1)?, file.classifier(), &device)?;
/// let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("minerals.adapter.safetensors");
/// model.save(&path)?;
/// let same = methods::load(&path, &file.classifier().fingerprint(), &device)?;
/// let test = file.test_set("test")?;
/// assert_eq!(same.evaluate(&test)?, model.evaluate(&test)?);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
pub fn load(path: impl AsRef<Path>, expected: &Fingerprint, device: &Device) -> Result<Box<dyn Classifier>> {
    Saved::open(path)?.load_for(expected, device)
}

impl Opening<'_> {
    /// Opens a model within a model, a [`Saved::section`], by the registry in use.
    ///
    /// # Errors
    /// As [`Open::open`](crate::model::Open::open); [`Error::Malformed`](crate::Error::Malformed) if its kind is
    /// unknown.
    pub fn open(&self, section: &Saved) -> Result<Box<dyn Classifier>> {
        self.model(section, &|saved, opening| Registry::builtin().open(saved, opening))
    }
}

impl Run<'_> {
    /// The registry in use, by which a method finds another: the one that the run was given, or else the crate's own.
    pub fn registry_in_use(&self) -> Registry {
        self.given_registry().cloned().unwrap_or_else(Registry::builtin)
    }
}
