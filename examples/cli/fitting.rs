//! What the examples that fit have in common: methods by name and setting, and files of results.

#[path = "files.rs"]
mod files;

use clip_adapter::{
    Error, Result,
    methods::{self, AnyMethod},
};
use serde_json::{Map, Value};

pub use files::write;

/// The method called `name` with these settings. Its own seed follows the draw's, unless it is set.
pub fn method(name: &str, settings: &Map<String, Value>, seed: u64) -> Result<Box<dyn AnyMethod>> {
    let method = methods::by_name(name, settings)?;
    if method.settings().get("seed").is_none() || settings.contains_key("seed") {
        return Ok(method);
    }
    let mut seeded = settings.clone();
    seeded.insert("seed".into(), seed.into());
    methods::by_name(name, &seeded)
}

/// Reads `KEY=VALUE` pairs. A value is JSON where it can be, and else a name.
pub fn settings<'a>(pairs: impl IntoIterator<Item = &'a str>) -> Result<Map<String, Value>> {
    pairs.into_iter().map(setting).collect()
}

fn setting(pair: &str) -> Result<(String, Value)> {
    let Some((key, value)) = pair.split_once('=') else {
        return Err(Error::Setting {
            name: pair.into(),
            expected: "KEY=VALUE".into(),
            found: "no `=`".into(),
        });
    };
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.into()));
    Ok((key.to_owned(), value))
}
