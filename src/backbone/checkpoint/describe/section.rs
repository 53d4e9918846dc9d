//! One object of a configuration, whose keys are taken one by one.

use std::fmt::Display;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

use crate::archive::stand_in;
use crate::error::{Error, Result};

/// An object of a file. What changes pixels, tokens or towers is taken by its key and either done or refused; what is
/// left at the [end](Self::finish) must be known to change nothing.
pub(super) struct Section<'a> {
    path: &'a Path,
    name: String, // of an object within the file
    keys: Map<String, Value>,
}

impl<'a> Section<'a> {
    /// A whole file.
    pub fn open(path: &'a Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(|source| Error::read(path, source))?;
        let value: Value = serde_json::from_str(&text).map_err(|error| {
            let found = stand_in(text.as_bytes()).map_or(error.to_string(), Into::into);
            Error::malformed(path, "JSON", "a configuration as CLIP's programs write it", found)
                .because(error)
        })?;
        match value {
            Value::Object(keys) => Ok(Self { path, name: String::new(), keys }),
            other => Err(Error::malformed(path, "JSON", "an object", other)),
        }
    }

    /// An object within; none if it is absent or null.
    pub fn inner(&mut self, key: &str) -> Result<Option<Self>> {
        match self.keys.remove(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(keys)) => Ok(Some(Self { path: self.path, name: self.part(key), keys })),
            Some(other) => Err(self.wrong(key, "an object", other)),
        }
    }

    /// An object within that says nothing.
    pub fn empty(&self, key: &str) -> Self {
        Self { path: self.path, name: self.part(key), keys: Map::new() }
    }

    /// Where null stands for what a file that lacks the key means.
    pub fn without_nulls(mut self) -> Self {
        self.keys.retain(|_, value| !value.is_null());
        self
    }

    /// The names of the keys that were not taken yet.
    pub fn names(&self) -> Vec<String> {
        self.keys.keys().cloned().collect()
    }

    /// A key with the names of the objects that it is in.
    fn part(&self, key: &str) -> String {
        if self.name.is_empty() { key.into() } else { format!("{}.{key}", self.name) }
    }

    pub fn wrong(&self, key: &str, expected: impl ToString, found: impl Display) -> Error {
        Error::malformed(self.path, self.part(key), expected, found)
    }

    pub fn get(&self, key: &str) -> Option<&Value> {
        self.keys.get(key)
    }

    pub fn take(&mut self, key: &str) -> Option<Value> {
        self.keys.remove(key)
    }

    /// A value that `read` understands; none if the key is absent.
    pub fn read<T>(
        &mut self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.take(key) else { return Ok(None) };
        read(&value).map(Some).ok_or_else(|| self.wrong(key, expected, &value))
    }

    pub fn size(&mut self, key: &str) -> Result<Option<usize>> {
        self.read(key, "a whole number", whole)
    }

    pub fn number(&mut self, key: &str) -> Result<Option<f64>> {
        self.read(key, "a number", Value::as_f64)
    }

    pub fn flag(&mut self, key: &str) -> Result<Option<bool>> {
        self.read(key, "true or false", Value::as_bool)
    }

    /// Refuses what is neither absent nor one of `allowed`.
    pub fn only(&mut self, key: &str, allowed: &[Value], expected: &str) -> Result<()> {
        self.read(key, expected, |value| allowed.contains(value).then_some(())).map(drop)
    }

    /// Refuses each of `keys` that is neither absent nor empty, false or zero, as Python has it.
    pub fn off(&mut self, keys: &[&str], expected: &str) -> Result<()> {
        for key in keys {
            self.read(key, expected, |value| is_off(value).then_some(()))?;
        }
        Ok(())
    }

    /// Refuses code that comes with a checkpoint: it could do anything, and is not run.
    pub fn no_code(&mut self) -> Result<()> {
        self.off(&["auto_map"], "none: code that comes with a checkpoint is not run")
    }

    /// Refuses what no one took, unless it is one of those that change nothing.
    pub fn finish(mut self, harmless: &[&[&str]]) -> Result<()> {
        let known = |key: &str| key.starts_with('_') || harmless.iter().any(|keys| keys.contains(&key));
        match self.names().into_iter().find(|key| !known(key)) {
            None => Ok(()),
            Some(key) => {
                let value = self.take(&key).unwrap_or_default();
                Err(self.wrong(&key, "a key that this version knows", value))
            }
        }
    }
}

/// A whole number that counts something.
pub(super) fn whole(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|number| number.try_into().ok())
}

/// The one number of a square: a number, or both sides if they are equal.
pub(super) fn side(value: &Value) -> Option<usize> {
    match value {
        Value::Array(sides) => match &sides[..] {
            [height, width] if height == width => whole(height),
            _ => None,
        },
        value => whole(value),
    }
}

/// A number of each channel.
pub(super) fn channels(value: &Value) -> Option<[f32; 3]> {
    let numbers = value.as_array()?.iter().map(|number| Some(number.as_f64()? as f32));
    numbers.collect::<Option<Vec<f32>>>()?.try_into().ok()
}

/// What Python takes for false.
fn is_off(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(keys) => keys.is_empty(),
    }
}
