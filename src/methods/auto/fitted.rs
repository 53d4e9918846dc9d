use std::{mem, path::Path};

use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::AutoAdapter;
use crate::{
    Fingerprint, Fitted, Gda, Method, ProKeR, Result, TextClassifier,
    adapter::{AdapterFile, parameters::Parameters},
    methods::{
        choice::Chosen, fitted_kernel::InForce, kernel_head::KernelHead, linear_head::LinearHead,
        proker::Regression,
    },
};

/// What the names of a kernel's tensors begin with. All others are the linear layer's.
const KERNEL: &str = "kernel.";

/// What was chosen for each member, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Found {
    /// How unsure zero-shot is of the shots, in nats.
    pub unsure: f64,
    /// None where there were too many shots.
    pub proker: Option<Chosen<Regression>>,
    pub gda: Chosen<Gda>,
}

/// The two classifiers of an [`AutoAdapter`].
#[derive(Debug, Clone)]
pub struct FittedAutoAdapter {
    settings: AutoAdapter,
    found: Found,
    kernel: Option<KernelHead>,
    linear: LinearHead,
}

impl FittedAutoAdapter {
    pub(super) fn new(
        settings: AutoAdapter,
        found: Found,
        kernel: Option<KernelHead>,
        linear: LinearHead,
    ) -> Self {
        Self { settings, found, kernel, linear }
    }

    /// The settings it was fitted with.
    pub fn settings(&self) -> &AutoAdapter {
        &self.settings
    }

    /// Opens a file that [`save`](Fitted::save) wrote, for features that `expected` names.
    ///
    /// # Errors
    /// As [`FittedClipAdapter::load`](crate::FittedClipAdapter::load).
    pub fn load(path: impl AsRef<Path>, expected: &Fingerprint, device: &Device) -> Result<Self> {
        let (mut file, archive) =
            AdapterFile::<AutoAdapter, Found>::read(path.as_ref(), AutoAdapter::NAME, expected)?;
        let mut kernel = None;
        if let Some(Chosen { best, .. }) = &file.found.proker {
            let in_force = best.kernel();
            let [weight, beta] = in_force.map_err(|error| archive.locate("metadata `found`", error))?;
            let parameters = mem::take(&mut file.parameters).into_iter();
            let (of_kernel, others): (Parameters, Parameters) =
                parameters.partition(|(name, _)| name.starts_with(KERNEL));
            file.parameters = of_kernel;
            kernel = Some(KernelHead::load(&file, &archive, weight, beta, device)?);
            file.parameters = others;
        }
        let linear = LinearHead::load(&file, &archive, device)?;
        Ok(Self { settings: file.settings, found: file.found, kernel, linear })
    }
}

impl Fitted for FittedAutoAdapter {
    fn classes(&self) -> &TextClassifier {
        self.linear.classes()
    }

    fn device(&self) -> &Device {
        self.linear.device()
    }

    fn logits(&self, images: Tensor<2>) -> Tensor<2> {
        match &self.kernel {
            Some(kernel) => (kernel.logits(images.clone()) + self.linear.logits(images)).mul_scalar(0.5),
            None => self.linear.logits(images),
        }
    }

    /// A sentence, how unsure zero-shot is of the shots in nats, and of each member its settings, the number of
    /// held-out images, and how many percent of them every weight that was considered had right and was expected
    /// to have right: `{"why", "unsure", "proker": {"settings", "held_out", "tried"}, "gda": ..}`. The first one
    /// considered is 0, zero-shot; it is reported, but taken only by Gaussians that stand alone.
    fn chosen(&self) -> Value {
        let Found { unsure, proker, gda } = &self.found;
        json!({
            "why": self.found.why(&self.settings),
            "unsure": unsure,
            "proker": proker.as_ref().map(evidence),
            "gda": evidence(gda),
        })
    }

    fn save(&self, path: &Path) -> Result<()> {
        let mut parameters = self.linear.parameters()?;
        if let Some(kernel) = &self.kernel {
            parameters.extend(kernel.parameters()?);
        }
        AdapterFile {
            method: AutoAdapter::NAME,
            settings: self.settings,
            found: self.found.clone(),
            classes: self.classes().clone(),
            parameters,
        }
        .write(path)
    }
}

impl Found {
    /// One sentence for a person.
    fn why(&self, settings: &AutoAdapter) -> String {
        let unsure = format!("zero-shot is unsure of the shots by {:.3} nats", self.unsure);
        let gda = Member { name: Gda::NAME, given: settings.gda.alpha.is_some(), unsure: self.unsure };
        let gda = gda.why(&self.gda, |gda| gda.alpha == Some(0.0));
        let Some(proker) = &self.proker else {
            return format!("gda alone, as there are more shots than `most_shots`; {unsure}; {gda}");
        };
        let member =
            Member { name: ProKeR::NAME, given: settings.proker.weight.is_some(), unsure: self.unsure };
        let proker = member.why(proker, |regression| regression.weight == 0.0);
        format!("the mean of proker and gda; {unsure}; {proker}; {gda}")
    }
}

/// What there is to say of a member beside what was chosen.
struct Member {
    name: &'static str,
    given: bool,
    unsure: f64,
}

impl Member {
    /// Where its weight comes from, and what it made of the images that were held out, if any were.
    fn why<T: PartialEq>(&self, chosen: &Chosen<T>, is_zero_shot: impl Fn(&T) -> bool) -> String {
        let Self { name, given, unsure } = *self;
        let accuracy = |kind: &dyn Fn(&T) -> bool| {
            chosen.tried.iter().find(|trial| kind(&trial.settings)).map(|trial| chosen.accuracy(trial))
        };
        if let Some(best) = accuracy(&|settings| *settings == chosen.best) {
            let before = accuracy(&is_zero_shot).map(|before| format!(", zero-shot {before:.1} %"));
            let before = before.unwrap_or_default();
            return format!("{name} has {best:.1} % of {} held-out images right{before}", chosen.images);
        }
        if given {
            format!("the weight of {name} was given")
        } else if unsure == 0.0 {
            format!("{name} adds nothing")
        } else {
            format!("{name} has half of its proposed weight, as nothing could be held out")
        }
    }
}

fn evidence<T: Serialize>(chosen: &Chosen<T>) -> Value {
    let tried = chosen.tried.iter().map(|trial| {
        json!({
            "settings": trial.settings,
            "accuracy": chosen.accuracy(trial),
            "expected": chosen.expected(trial),
        })
    });
    json!({ "settings": chosen.best, "held_out": chosen.images, "tried": tried.collect::<Vec<_>>() })
}
