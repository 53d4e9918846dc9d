use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::AutoAdapter;
use crate::choose::Chosen;
use crate::error::Result;
use crate::features::TextClassifier;
use crate::fingerprint::Fingerprint;
use crate::methods::proker::ProKeRFound;
use crate::methods::{Gda, ProKeR};
use crate::model::{
    Classifier, InForce, KernelHead, LinearHead, Model, Open, Opening, Saved, Section, Settings,
};

/// What was chosen for each member, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Found {
    /// How unsure zero-shot is of the shots, in nats.
    pub unsure: f64,
    /// None where there were too many shots.
    pub proker: Option<Chosen<ProKeRFound>>,
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
}

impl Model for FittedAutoAdapter {
    fn kind(&self) -> &'static str {
        AutoAdapter::NAME
    }

    fn fingerprint(&self) -> Fingerprint {
        self.classes().fingerprint()
    }

    fn device(&self) -> &Device {
        self.linear.device()
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

    fn write(&self, into: &mut Section<'_, '_>) -> Result<()> {
        into.classes(self.classes());
        into.settings(&self.settings, &self.found);
        self.linear.write(into)?;
        self.kernel.as_ref().map_or(Ok(()), |kernel| kernel.write(into))
    }
}

impl Classifier for FittedAutoAdapter {
    fn classes(&self) -> &TextClassifier {
        self.linear.classes()
    }

    fn logits(&self, images: Tensor<2>) -> Tensor<2> {
        match &self.kernel {
            Some(kernel) => (kernel.logits(images.clone()) + self.linear.logits(images)).mul_scalar(0.5),
            None => self.linear.logits(images),
        }
    }

    fn to_device(&self, device: &Device) -> Result<Box<dyn Classifier>> {
        let kernel = self.kernel.as_ref().map(|kernel| kernel.to_device(device)).transpose()?;
        Ok(Box::new(Self { kernel, linear: self.linear.to_device(device)?, ..self.clone() }))
    }
}

impl Open for FittedAutoAdapter {
    const KIND: &'static str = AutoAdapter::NAME;

    fn open(saved: &Saved, opening: &Opening<'_>) -> Result<Self> {
        let found: Found = saved.json("found")?;
        let kernel = match &found.proker {
            Some(Chosen { best, .. }) => {
                let in_force = best.kernel().map_err(|error| saved.locate("found", error))?;
                Some(KernelHead::open(saved, in_force, saved.classes()?.dim(), opening)?)
            }
            None => None,
        };
        let linear = LinearHead::open(saved, opening)?;
        Ok(Self::new(saved.json("settings")?, found, kernel, linear))
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
