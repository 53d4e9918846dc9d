//! The one error type of the crate.

mod brief;
mod range;

use std::{
    fmt::Display,
    io,
    path::{Path, PathBuf},
};

pub(crate) use brief::{brief, listed};
pub(crate) use range::{below_one, not_negative, part, positive};

/// What an error goes back to, where that is known.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

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
///
/// What belongs to the library of a decoder, the hub or a device is kept as the error's
/// [`source`](std::error::Error::source). A method of your own makes errors by the functions below.
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
        /// What the parser said, if it was one.
        source: Option<Cause>,
    },
    /// A file, or the bytes of an upload, is not an image that can be decoded.
    #[error("{}: expected an image, found {reason}", path.display())]
    Image {
        /// The file, or the name that the bytes were given.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// What the decoder said.
        source: Option<Cause>,
    },
    /// A checkpoint's tensors are not those its configuration asks for.
    #[error("weights in {}: {}", path.display(), weights(missing, misshapen, unused))]
    Weights {
        /// The checkpoint's folder.
        path: PathBuf,
        /// Tensors that should be there.
        missing: Vec<String>,
        /// Tensors of another shape or type, or with values that are no numbers, with what was expected.
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
        /// What the client said.
        source: Option<Cause>,
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
    /// Something that is sound and not built for this.
    #[error("{what}: expected {expected}, found {found}, for which this is not built")]
    Unsupported {
        /// What was asked of it.
        what: String,
        /// What it is built for.
        expected: String,
        /// What was given.
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
        /// Its own message.
        message: String,
        /// What it said, as it said it.
        source: Option<Cause>,
    },
    /// The loss is no longer a finite number.
    #[error("training diverged: the loss of epoch {epoch} is {loss}; a smaller learning rate may help")]
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
    let groups = [("missing", missing), ("not as expected", misshapen), ("unknown", unused)];
    let groups = groups.into_iter().filter(|(_, names)| !names.is_empty());
    let group = |(what, names): (&str, &[String])| format!("{} {what}: {}", names.len(), listed(names));
    brief(groups.map(group).collect::<Vec<_>>().join("; "))
}

fn saved(checkpoint: &Option<PathBuf>) -> String {
    match checkpoint {
        Some(path) => format!("; resume from {}", path.display()),
        None => String::new(),
    }
}

impl Error {
    /// A file that cannot be read.
    pub fn read(path: impl AsRef<Path>, source: io::Error) -> Self {
        Self::Read { path: path.as_ref().into(), source }
    }

    /// A file that cannot be written.
    pub fn write(path: impl AsRef<Path>, source: io::Error) -> Self {
        Self::Write { path: path.as_ref().into(), source }
    }

    /// A file of which `part` is not what its format asks for.
    pub fn malformed(
        path: impl AsRef<Path>,
        part: impl ToString,
        expected: impl ToString,
        found: impl ToString,
    ) -> Self {
        Self::Malformed {
            path: path.as_ref().into(),
            part: brief(part),
            expected: brief(expected),
            found: brief(found),
            source: None,
        }
    }

    /// What is called `path` is no image that can be decoded.
    pub fn image(path: impl AsRef<Path>, reason: impl Into<Cause>) -> Self {
        let source = reason.into();
        Self::Image { path: path.as_ref().into(), reason: brief(&source), source: Some(source) }
    }

    /// Features, labels or names that do not fit together.
    pub fn data(what: impl Into<String>, expected: impl ToString, found: impl ToString) -> Self {
        Self::Data { what: brief(what.into()), expected: brief(expected), found: brief(found) }
    }

    /// A setting out of its range, by its serde name.
    pub fn setting(name: impl Into<String>, expected: impl ToString, found: impl ToString) -> Self {
        Self::Setting { name: brief(name.into()), expected: brief(expected), found: brief(found) }
    }

    /// Something that this is not built for.
    pub fn unsupported(what: impl Into<String>, expected: impl ToString, found: impl ToString) -> Self {
        Self::Unsupported { what: brief(what.into()), expected: brief(expected), found: brief(found) }
    }

    /// A computation that failed.
    pub fn execution(doing: &'static str, error: impl Into<Cause>) -> Self {
        let source = error.into();
        Self::Execution { doing, message: brief(&source), source: Some(source) }
    }

    /// Two identities that must be the same and are not.
    pub fn fingerprint(what: &'static str, expected: impl Display, found: impl Display) -> Self {
        Self::Fingerprint { what, expected: brief(expected), found: brief(found) }
    }

    /// The same with what it goes back to, where it has a place for that.
    pub fn because(mut self, cause: impl Into<Cause>) -> Self {
        if let Self::Malformed { source, .. }
        | Self::Image { source, .. }
        | Self::Hub { source, .. }
        | Self::Execution { source, .. } = &mut self
        {
            *source = Some(cause.into());
        }
        self
    }

    /// Whether a callback asked to stop, so that nothing is wrong.
    ///
    /// # Examples
    /// ```
    /// use std::ops::ControlFlow;
    /// use clip_adapter::prelude::*;
    ///
    /// let file = FeatureFile::synthetic(0)?;
    /// let mut run = Run::new(&Device::flex()).on_progress(|_| ControlFlow::Break(()));
    /// let error = ClipAdapter::default().fit_with(&file.support(1, 1)?, file.classifier(), &mut run).unwrap_err();
    /// assert!(error.is_cancelled() && !error.is_file() && !error.is_device());
    /// # Ok::<(), clip_adapter::Error>(())
    /// ```
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled { .. } | Self::ExtractionCancelled { .. })
    }

    /// Whether a file is at fault: absent, damaged, of another format, or not to be written.
    pub fn is_file(&self) -> bool {
        matches!(
            self,
            Self::Read { .. }
                | Self::Write { .. }
                | Self::Malformed { .. }
                | Self::Image { .. }
                | Self::Weights { .. }
        )
    }

    /// Whether a device is at fault: unknown, absent, or failing while it computed.
    pub fn is_device(&self) -> bool {
        matches!(self, Self::UnknownDevice { .. } | Self::DeviceUnavailable { .. } | Self::Execution { .. })
    }
}
