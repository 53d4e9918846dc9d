use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};

use super::{AnyMethod, Registry};
use crate::error::{Error, Result};

/// A method by its name, with settings: what a command line takes, `clip-adapter:ratio=0.8:epochs=50`.
///
/// A value is JSON where it can be, and else a name.
///
/// # Examples
/// ```
/// use clip_adapter::train::{MethodSpec, Registry};
///
/// let spec: MethodSpec = "clip-adapter:ratio=0.8:branches=text".parse()?;
/// let method = spec.seeded(3).method(&Registry::builtin())?;
/// assert_eq!((method.settings()["branches"].as_str(), method.settings()["seed"].as_u64()), (Some("text"), Some(3)));
/// assert!("clip-adapter:ratio".parse::<MethodSpec>().is_err());
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct MethodSpec {
    /// The method's name.
    pub name: String,
    /// Settings that replace its defaults.
    pub settings: Map<String, Value>,
    seed: Option<u64>,
}

impl MethodSpec {
    /// A method with its defaults.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), settings: Map::new(), seed: None }
    }

    /// Replaces a default: `KEY=VALUE`.
    ///
    /// # Errors
    /// [`Error::Setting`] if there is no `=`.
    pub fn set(mut self, pair: &str) -> Result<Self> {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(Error::setting(pair, "KEY=VALUE", "no `=`"));
        };
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.into()));
        self.settings.insert(key.to_owned(), value);
        Ok(self)
    }

    /// Gives the method this seed, if it has one and none was set.
    pub fn seeded(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The method.
    ///
    /// # Errors
    /// As [`Registry::method`].
    pub fn method(&self, registry: &Registry) -> Result<Box<dyn AnyMethod>> {
        let method = registry.method(&self.name, &self.settings)?;
        let Some(seed) = self.seed else { return Ok(method) };
        if method.settings().get("seed").is_none() || self.settings.contains_key("seed") {
            return Ok(method);
        }
        let mut seeded = self.settings.clone();
        seeded.insert("seed".into(), seed.into());
        registry.method(&self.name, &seeded)
    }
}

impl FromStr for MethodSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default();
        parts.try_fold(Self::new(name), Self::set)
    }
}

impl fmt::Display for MethodSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.settings.iter().try_for_each(|(key, value)| match value {
            Value::String(name) => write!(f, ":{key}={name}"),
            value => write!(f, ":{key}={value}"),
        })
    }
}
