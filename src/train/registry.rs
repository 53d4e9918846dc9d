use std::fmt;

use burn::tensor::Device;
use serde_json::{Map, Value, json};

use super::{AnyMethod, Method};
use crate::error::{Error, Result};
use crate::fingerprint::Fingerprint;
use crate::model::{Classifier, Open, Opening, Saved};

/// Methods by name, to fit and to open their files: this crate's own, and whatever is added.
///
/// # Examples
/// ```
/// use clip_adapter::train::Registry;
///
/// let settings = serde_json::json!({ "ratio": 0.8, "epochs": 50 });
/// let method = Registry::builtin().method("clip-adapter", settings.as_object().unwrap())?;
/// assert_eq!(method.settings()["ratio"], 0.8);
/// assert_eq!(method.settings()["reduction"], 4);
/// assert!(Registry::builtin().method("clip-adaptor", &Default::default()).is_err());
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Clone)]
pub struct Registry {
    entries: Vec<Entry>,
}

/// A method from its settings.
type Configure = fn(&Map<String, Value>) -> Result<Box<dyn AnyMethod>>;

#[derive(Clone, Copy)]
struct Entry {
    name: &'static str,
    /// None for what is not fitted to features alone.
    method: Option<Configure>,
    open: fn(&Saved, &Opening<'_>) -> Result<Box<dyn Classifier>>,
}

impl Registry {
    /// Without any method.
    pub fn empty() -> Self {
        Self { entries: Vec::new() }
    }

    /// Adds a method; one of the same name is replaced.
    pub fn with<M: Method>(self) -> Self {
        let method = |settings: &Map<String, Value>| -> Result<Box<dyn AnyMethod>> {
            Ok(Box::new(configured::<M>(settings)?))
        };
        self.put(Entry { name: M::NAME, method: Some(method), open: open::<M::Fitted> })
    }

    /// Adds what a file can be opened as and no method here fits, such as what needs a backbone's weights. What had the
    /// same name, also a method, is replaced.
    pub fn with_model<C: Classifier + Open>(self) -> Self {
        self.put(Entry { name: C::KIND, method: None, open: open::<C> })
    }

    fn put(mut self, entry: Entry) -> Self {
        match self.entries.iter_mut().find(|known| known.name == entry.name) {
            Some(known) => *known = entry,
            None => self.entries.push(entry),
        }
        self
    }

    /// The names of the methods, in the order in which they were added.
    pub fn names(&self) -> Vec<&'static str> {
        self.entries.iter().filter(|entry| entry.method.is_some()).map(|entry| entry.name).collect()
    }

    /// The method called `name`, with some of its defaults replaced.
    ///
    /// # Errors
    /// [`Error::Setting`] for an unknown method, an unknown setting, or a value of the wrong kind.
    pub fn method(&self, name: &str, settings: &Map<String, Value>) -> Result<Box<dyn AnyMethod>> {
        match self.entries.iter().find(|entry| entry.name == name).and_then(|entry| entry.method) {
            Some(method) => method(settings),
            None => {
                let known = format!("one of {}", self.names().join(", "));
                Err(Error::setting("method", known, format!("`{name}`")))
            }
        }
    }

    /// Loads a saved model by its kind, for features that `expected` names.
    ///
    /// # Errors
    /// As [`Open::load`]; [`Error::Malformed`] if the kind is unknown.
    pub fn load(
        &self,
        saved: &Saved,
        expected: &Fingerprint,
        device: &Device,
    ) -> Result<Box<dyn Classifier>> {
        let by_kind = |saved: &Saved, opening: &Opening<'_>| self.open(saved, opening);
        saved.load_by(expected, |saved| self.open(saved, &Opening::by(device, &by_kind)))
    }

    /// Opens a model within a model.
    pub(crate) fn open(&self, saved: &Saved, opening: &Opening<'_>) -> Result<Box<dyn Classifier>> {
        match self.entries.iter().find(|entry| entry.name == saved.kind()) {
            Some(entry) => (entry.open)(saved, opening),
            None => {
                let names: Vec<&str> = self.entries.iter().map(|entry| entry.name).collect();
                let expected = format!("one of {}", names.join(", "));
                Err(saved.malformed("metadata `method`", expected, format!("`{}`", saved.kind())))
            }
        }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.entries.iter().map(|entry| entry.name)).finish()
    }
}

fn open<C: Classifier + Open>(saved: &Saved, opening: &Opening<'_>) -> Result<Box<dyn Classifier>> {
    Ok(Box::new(C::open(saved, opening)?))
}

/// Replaces settings one by one, so that an error can name the one at fault.
fn configured<M: Method>(settings: &Map<String, Value>) -> Result<M> {
    let mut all = json!(M::default());
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
