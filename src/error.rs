//! The one error type of the crate.

use std::{io, path::PathBuf};

/// The result of every fallible call in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that can go wrong, grouped by the thing at fault.
///
/// Each message names that thing, what was expected and what was found. Match on the variant to
/// react in code:
///
/// ```
/// use clip_adapter::{DeviceSpec, Error};
///
/// let error = "abacus".parse::<DeviceSpec>().unwrap_err();
/// assert!(matches!(&error, Error::UnknownDevice { found, .. } if found == "abacus"));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file could not be written; what stood there before is untouched.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file was read but one part of it is not what its format asks for.
    #[error("{}: {part}: expected {expected}, found {found}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The tensor, metadata key or whole that is at fault.
        part: String,
        /// What the format asks for.
        expected: String,
        /// What the file holds.
        found: String,
    },
    /// A file is not an image that can be decoded.
    #[error("{}: expected an image, found {reason}", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// What the decoder said.
        reason: String,
    },
    /// A checkpoint's tensors are not those its configuration asks for.
    #[error("weights in {}: {}", path.display(), weights(missing, misshapen, unused))]
    Weights {
        /// The checkpoint's folder.
        path: PathBuf,
        /// Tensors that should be there.
        missing: Vec<String>,
        /// Tensors of another shape or type, with both.
        misshapen: Vec<String>,
        /// Tensors that no part of the model takes.
        unused: Vec<String>,
    },
    /// A checkpoint is not a folder and could not be had from the Hugging Face hub either.
    #[error(
        "no folder `{repository}`; from the hub: {file} is not in {} and cannot be downloaded: {reason}",
        cache.display()
    )]
    Hub {
        /// The repository, `org/name`.
        repository: String,
        /// The file of it that is lacking.
        file: String,
        /// The repository's folder in the local cache.
        cache: PathBuf,
        /// Why it was not downloaded.
        reason: String,
    },
    /// A checkpoint is named as on the Hugging Face hub, and this build downloads nothing.
    #[error("no folder `{repository}`; to have it from the hub, build with the crate feature `hub`")]
    HubDisabled {
        /// The name given.
        repository: String,
    },
    /// Features, labels or class names that do not fit together.
    #[error("{what}: expected {expected}, found {found}")]
    Data {
        /// The value at fault, with its row where there is one.
        what: String,
        /// What would have been right.
        expected: String,
        /// What was given.
        found: String,
    },
    /// Two things that must have the same width do not.
    #[error("{what}: expected {expected} dimensions, found {found}")]
    Dim {
        /// The value whose width is wrong.
        what: String,
        /// The width it should have.
        expected: usize,
        /// The width it has.
        found: usize,
    },
    /// A class has fewer images than the shots asked for.
    #[error("class `{class}`: expected at least {expected} images, found {found}")]
    TooFewShots {
        /// The class.
        class: String,
        /// Images asked for.
        expected: usize,
        /// Images there are.
        found: usize,
    },
    /// A saved file belongs to another backbone, prompt set or list of classes.
    #[error("{what} differ: expected `{expected}`, found `{found}`")]
    Fingerprint {
        /// Which part of the identity differs.
        what: &'static str,
        /// The identity this program works with.
        expected: String,
        /// The identity recorded in the file.
        found: String,
    },
    /// A setting is outside its range, or there is none of that name.
    #[error("setting `{name}`: expected {expected}, found {found}")]
    Setting {
        /// The setting, by its serde name.
        name: String,
        /// Its range.
        expected: String,
        /// The value given.
        found: String,
    },
    /// A device name that is not one of the known ones.
    #[error("unknown device `{found}`: expected one of {expected}")]
    UnknownDevice {
        /// The name given.
        found: String,
        /// The known names.
        expected: String,
    },
    /// A known device that this build or this machine does not have.
    #[error("device `{device}` is not available: {reason}")]
    DeviceUnavailable {
        /// The device.
        device: String,
        /// The feature or driver that is missing.
        reason: String,
    },
    /// Burn reported a failure while it computed on a device.
    #[error("the device failed while {doing}: {message}")]
    Execution {
        /// What was being computed.
        doing: &'static str,
        /// Burn's own message.
        message: String,
    },
    /// The loss is no longer a finite number.
    #[error("training diverged: the loss of epoch {epoch} is {loss}")]
    Diverged {
        /// The epoch, counted from 1.
        epoch: usize,
        /// Its mean loss.
        loss: f64,
    },
    /// The progress callback asked to stop.
    #[error("cancelled after epoch {epoch} of {epochs}{}", saved(checkpoint))]
    Cancelled {
        /// Epochs finished.
        epoch: usize,
        /// Epochs planned.
        epochs: usize,
        /// Where the state was written, if a checkpoint was asked for.
        checkpoint: Option<PathBuf>,
    },
    /// The progress callback asked an extraction to stop.
    #[error("extraction cancelled after {done} of {total} images{}", saved(store))]
    ExtractionCancelled {
        /// Images encoded, those found in the store included.
        done: usize,
        /// Images planned.
        total: usize,
        /// The store that holds what was finished, if one was asked for.
        store: Option<PathBuf>,
    },
}

fn weights(missing: &[String], misshapen: &[String], unused: &[String]) -> String {
    let groups = [("missing", missing), ("misshapen", misshapen), ("unknown", unused)];
    let groups = groups.into_iter().filter(|(_, names)| !names.is_empty());
    groups
        .map(|(what, names)| format!("{} {what}: {}", names.len(), names.join(", ")))
        .collect::<Vec<_>>()
        .join("; ")
}

fn saved(checkpoint: &Option<PathBuf>) -> String {
    match checkpoint {
        Some(path) => format!("; resume from {}", path.display()),
        None => String::new(),
    }
}

impl Error {
    pub(crate) fn data(what: impl Into<String>, expected: impl ToString, found: impl ToString) -> Self {
        Self::Data { what: what.into(), expected: expected.to_string(), found: found.to_string() }
    }

    pub(crate) fn setting(name: impl Into<String>, expected: impl ToString, found: impl ToString) -> Self {
        Self::Setting { name: name.into(), expected: expected.to_string(), found: found.to_string() }
    }

    pub(crate) fn execution(doing: &'static str, error: impl ToString) -> Self {
        Self::Execution { doing, message: error.to_string() }
    }
}
