use std::path::Path;

use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::{Fitted, Method, Run, check_fit};
use crate::{
    Fingerprint, Result, Support, TextClassifier,
    adapter::{AdapterFile, parameters::Parameters},
};

/// CLIP as it is: `logits = s f W^T`. It learns nothing and is what every method is compared with.
///
/// Radford et al., 2021, section 3.1, <https://arxiv.org/abs/2103.00020>.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZeroShot {}

/// CLIP's own classifier on a device.
#[derive(Debug, Clone)]
pub struct FittedZeroShot {
    classes: TextClassifier,
    device: Device,
}

impl FittedZeroShot {
    /// Opens a file that [`save`](Fitted::save) wrote, for features that `expected` names.
    ///
    /// # Errors
    /// As [`FittedClipAdapter::load`](crate::FittedClipAdapter::load).
    pub fn load(path: impl AsRef<Path>, expected: &Fingerprint, device: &Device) -> Result<Self> {
        let (file, _) = AdapterFile::<ZeroShot, ()>::read(path.as_ref(), ZeroShot::NAME, expected)?;
        Ok(Self { classes: file.classes, device: device.clone().without_autodiff() })
    }
}

impl Method for ZeroShot {
    const NAME: &'static str = "zero-shot";
    type Fitted = FittedZeroShot;

    fn fit_with(
        &self,
        support: &Support,
        classes: &TextClassifier,
        run: &mut Run<'_>,
    ) -> Result<FittedZeroShot> {
        check_fit(support, classes)?;
        Ok(FittedZeroShot { classes: classes.clone(), device: run.device().clone() })
    }
}

impl Fitted for FittedZeroShot {
    fn classes(&self) -> &TextClassifier {
        &self.classes
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn logits(&self, images: Tensor<2>) -> Tensor<2> {
        self.classes.logits(images)
    }

    fn save(&self, path: &Path) -> Result<()> {
        let (classes, parameters) = (self.classes.clone(), Parameters::new());
        AdapterFile { method: ZeroShot::NAME, settings: ZeroShot {}, found: (), classes, parameters }
            .write(path)
    }
}
