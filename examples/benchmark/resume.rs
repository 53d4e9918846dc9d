//! Finished runs, a line each: an interrupted benchmark goes on where it stopped.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use clip_adapter::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    Arguments,
    data::Dataset,
    trial::{Outcome, Trial},
};

/// How every line begins.
const BEGINNING: &[u8] = b"{\"key\":{";

#[derive(Serialize, Deserialize)]
struct Line {
    /// Everything the outcome depends on.
    key: Value,
    outcome: Outcome,
}

/// A file of finished runs.
pub struct Journal {
    path: PathBuf,
    file: File,
    /// What the outcomes depend on beside the trial.
    common: Value,
    /// Of every feature file.
    digests: HashMap<PathBuf, String>,
    found: HashMap<String, Outcome>,
}

impl Journal {
    /// Reads what was finished before. A last line that was cut off is dropped; another that is broken is an error,
    /// since the file may be something else.
    pub fn open(path: &Path, arguments: &Arguments, datasets: &[Dataset]) -> Result<Self> {
        let bytes = match fs::read(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            bytes => bytes.map_err(|source| Error::read(path, source))?,
        };
        let (lines, whole) = lines(path, &bytes)?;
        let file = append_after(path, &bytes[..whole]).map_err(|source| cannot_write(path, source))?;
        let digests = datasets.iter().map(|dataset| Ok((dataset.path.clone(), digest(&dataset.path)?)));
        Ok(Self {
            path: path.into(),
            file,
            common: json!({
                "protocol": arguments.protocol,
                "test_split": arguments.test_split,
                "device": arguments.device.to_string(),
            }),
            digests: digests.collect::<Result<_>>()?,
            found: lines.into_iter().map(|line| (line.key.to_string(), line.outcome)).collect(),
        })
    }

    /// The outcome of a trial that was finished before, under the names it has now.
    pub fn find(&self, trial: &Trial<'_>) -> Result<Option<Outcome>> {
        let found = self.found.get(&self.key(trial)?.to_string());
        Ok(found.map(|outcome| Outcome {
            dataset: trial.dataset.name.clone(),
            method: trial.entry.label.clone(),
            ..outcome.clone()
        }))
    }

    /// Adds a line in one write: an interruption cuts off the last one at worst.
    pub fn record(&mut self, trial: &Trial<'_>, outcome: &Outcome) -> Result<()> {
        let line = Line { key: self.key(trial)?, outcome: outcome.clone() };
        let written = serde_json::to_string(&line)
            .map_err(std::io::Error::from)
            .and_then(|line| self.file.write_all(format!("{line}\n").as_bytes()));
        written.map_err(|source| cannot_write(&self.path, source))
    }

    fn key(&self, trial: &Trial<'_>) -> Result<Value> {
        let mut key = self.common.clone();
        key["features"] = json!(self.digests.get(&trial.dataset.path));
        let method = trial.method()?;
        key["method"] = json!(method.name());
        key["settings"] = method.settings(); // all of them, so that another default is another run
        key["shots"] = json!(trial.shots);
        key["seed"] = json!(trial.seed);
        Ok(key)
    }
}

/// The lines of a file and how many bytes they take.
fn lines(path: &Path, bytes: &[u8]) -> Result<(Vec<Line>, usize)> {
    let (mut lines, mut whole) = (Vec::new(), 0);
    for (number, line) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
        let last = whole + line.len() == bytes.len();
        let ours = number > 0 || line.starts_with(BEGINNING) || BEGINNING.starts_with(line);
        match serde_json::from_slice(line) {
            Ok(line) => lines.push(line),
            Err(_) if last && ours => break,
            Err(error) => {
                let part = format!("line {}", number + 1);
                return Err(Error::malformed(path, part, "a finished run", error));
            }
        }
        whole += line.len();
    }
    Ok((lines, whole))
}

/// Opens the file to write after its first `kept` bytes, and on a new line.
fn append_after(path: &Path, kept: &[u8]) -> std::io::Result<File> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    file.set_len(kept.len() as u64)?;
    file.seek(SeekFrom::End(0))?;
    if kept.last().is_some_and(|&byte| byte != b'\n') {
        file.write_all(b"\n")?;
    }
    Ok(file)
}

/// The SHA-256 of a file: other features are another run, whatever the file is called.
fn digest(path: &Path) -> Result<String> {
    let bytes = fs::read(path).map_err(|source| Error::read(path, source))?;
    Ok(Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect())
}

fn cannot_write(path: &Path, source: std::io::Error) -> Error {
    Error::write(path, source)
}
