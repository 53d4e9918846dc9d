use super::{
    Clap, ClipAdapter, CrossModal, Fitted, Gda, Method, ProKeR, Rla, Run, SsText, TaskRes, TipAdapter,
    TipAdapterF, ZeroShot,
};
use crate::{Error, Result, Support, TextClassifier};

/// The names of all methods, in the order of a table.
pub const NAMES: [&str; 11] = [
    ZeroShot::NAME,
    ClipAdapter::NAME,
    TaskRes::NAME,
    Rla::NAME,
    Clap::NAME,
    CrossModal::NAME,
    TipAdapter::NAME,
    TipAdapterF::NAME,
    Gda::NAME,
    ProKeR::NAME,
    SsText::NAME,
];

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
        ZeroShot::NAME => Ok(Box::new(configured::<ZeroShot>(settings)?)),
        ClipAdapter::NAME => Ok(Box::new(configured::<ClipAdapter>(settings)?)),
        TaskRes::NAME => Ok(Box::new(configured::<TaskRes>(settings)?)),
        Rla::NAME => Ok(Box::new(configured::<Rla>(settings)?)),
        Clap::NAME => Ok(Box::new(configured::<Clap>(settings)?)),
        CrossModal::NAME => Ok(Box::new(configured::<CrossModal>(settings)?)),
        TipAdapter::NAME => Ok(Box::new(configured::<TipAdapter>(settings)?)),
        TipAdapterF::NAME => Ok(Box::new(configured::<TipAdapterF>(settings)?)),
        Gda::NAME => Ok(Box::new(configured::<Gda>(settings)?)),
        ProKeR::NAME => Ok(Box::new(configured::<ProKeR>(settings)?)),
        SsText::NAME => Ok(Box::new(configured::<SsText>(settings)?)),
        _ => Err(unknown(name)),
    }
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
