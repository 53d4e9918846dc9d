use std::path::Path;

use burn::tensor::Device;

use super::*;
use crate::{Fingerprint, adapter::FORMAT, archive::Archive};

/// A method whose kind is known only at run time: every [`Method`] is one.
pub trait AnyMethod: Send + Sync {
    /// The method's name.
    fn name(&self) -> &'static str;

    /// All its settings as a JSON object.
    fn settings(&self) -> serde_json::Value;

    /// [`Method::fit_with`].
    ///
    /// # Errors
    /// As [`Method::fit_with`].
    fn fit_any(
        &self,
        support: &Support,
        classes: &TextClassifier,
        run: &mut Run<'_>,
    ) -> Result<Box<dyn Fitted>>;
}

impl<M: Method> AnyMethod for M {
    fn name(&self) -> &'static str {
        M::NAME
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::json!(self)
    }

    fn fit_any(
        &self,
        support: &Support,
        classes: &TextClassifier,
        run: &mut Run<'_>,
    ) -> Result<Box<dyn Fitted>> {
        Ok(Box::new(self.fit_with(support, classes, run)?))
    }
}

/// What can be done with a method's name: each is listed once, with what fitting it gives.
macro_rules! registry {
    ($($method:ident => $fitted:ident,)*) => {
        /// The names of all methods, in the order of a table.
        pub const NAMES: &[&str] = &[$($method::NAME),*];

        /// The method called `name`, with some of its defaults replaced.
        ///
        /// # Errors
        /// [`Error::Setting`] for an unknown method, an unknown setting, or a value of the wrong kind.
        ///
        /// # Examples
        /// ```
        /// use clip_adapter::methods;
        ///
        /// let settings = serde_json::json!({ "ratio": 0.8, "epochs": 50 });
        /// let method = methods::by_name("clip-adapter", settings.as_object().unwrap())?;
        /// assert_eq!(method.settings()["ratio"], 0.8);
        /// assert_eq!(method.settings()["reduction"], 4);
        /// assert!(methods::by_name("clip-adaptor", &Default::default()).is_err());
        /// # Ok::<(), clip_adapter::Error>(())
        /// ```
        pub fn by_name(
            name: &str,
            settings: &serde_json::Map<String, serde_json::Value>,
        ) -> Result<Box<dyn AnyMethod>> {
            match name {
                $($method::NAME => Ok(Box::new(configured::<$method>(settings)?)),)*
                _ => Err(unknown(name)),
            }
        }

        /// Opens a file that any of these methods' [`save`](Fitted::save) wrote, for features that `expected` names.
        ///
        /// # Errors
        /// As [`FittedClipAdapter::load`](crate::FittedClipAdapter::load); [`Error::Malformed`] if the method is unknown.
        ///
        /// # Examples
        /// ```
        /// use burn::tensor::Device;
        /// use clip_adapter::{FeatureFile, Fitted, Method, methods::{self, SsText}};
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
        pub fn load(
            path: impl AsRef<Path>,
            expected: &Fingerprint,
            device: &Device,
        ) -> Result<Box<dyn Fitted>> {
            let path = path.as_ref();
            let archive = Archive::read(path)?;
            archive.require_format(FORMAT)?;
            match archive.text("method")? {
                $($method::NAME => Ok(Box::new($fitted::load(path, expected, device)?)),)*
                other => {
                    let known = format!("one of {}", NAMES.join(", "));
                    Err(archive.malformed("metadata `method`", known, format!("`{other}`")))
                }
            }
        }
    };
}

registry! {
    ZeroShot => FittedZeroShot,
    AutoAdapter => FittedAutoAdapter,
    ClipAdapter => FittedClipAdapter,
    TipAdapter => FittedTipAdapter,
    TipAdapterF => FittedTipAdapterF,
    Gda => FittedGda,
    ProKeR => FittedProKeR,
    SsText => FittedSsText,
    TaskRes => FittedTaskRes,
    Rla => FittedRla,
    Clap => FittedClap,
    CrossModal => FittedCrossModal,
    LinearProbe => FittedLinearProbe,
    LpPlusPlus => FittedLpPlusPlus,
    Ape => FittedApe,
    Ensemble => FittedEnsemble,
    Guard => FittedGuard,
}

fn unknown(name: &str) -> Error {
    Error::setting("method", format!("one of {}", NAMES.join(", ")), format!("`{name}`"))
}

/// Replaces settings one by one, so that an error can name the one at fault.
fn configured<M: Method>(settings: &serde_json::Map<String, serde_json::Value>) -> Result<M> {
    let mut all = serde_json::json!(M::default());
    let known = all.as_object().map(|all| all.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
    let mut method = M::default();
    for (key, value) in settings {
        if !known.contains(key) {
            let known =
                if known.is_empty() { "no settings".into() } else { format!("one of {}", known.join(", ")) };
            return Err(Error::setting(key, known, "an unknown name"));
        }
        all[key] = value.clone();
        method = serde_json::from_value(all.clone())
            .map_err(|error| Error::setting(key, "a value of its kind", format!("{value} ({error})")))?;
    }
    Ok(method)
}
