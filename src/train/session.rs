//! A fit as a sequence of stages whose state survives being cancelled.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::run::{Progress, Run};
use crate::archive::{Archive, ArchiveWriter};
use crate::error::{Error, Result};

const FORMAT: &str = "clip-adapter-state/2";

/// Where one stage stands after an epoch.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub epoch: usize,
    pub net: Vec<u8>,
    pub optimiser: Vec<u8>,
    pub monitor: MonitorState,
}

/// What a monitor remembers: some numbers and perhaps a network.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MonitorState {
    /// Numbers that it keeps.
    pub numbers: Vec<f64>,
    /// The parameters of a network, as [`Monitor`](super::Monitor) wrote them.
    pub net: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Position {
    finished: Vec<Value>,
    epoch: usize,
    monitor: Vec<f64>,
}

/// The stages of one fit, in order. What each leaves to the later ones is kept in the run's checkpoint, so that a fit
/// that was cancelled in the middle of one goes on there.
///
/// # Examples
/// ```
/// use clip_adapter::{prelude::*, train::Session};
///
/// let mut run = Run::new(&Device::flex());
/// let mut session = Session::open(&mut run, "two stages of an example", 2)?;
/// let ratio: f64 = session.stage(|_| Ok(0.6))?; // trains, and leaves a number
/// let best: (usize, f64) = session.stage(|_| Ok((3, ratio + 0.1)))?;
/// session.close()?;
/// assert_eq!(best.0, 3);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug)]
pub struct Session<'r, 'a> {
    run: &'r mut Run<'a>,
    identity: String,
    stages: usize,
    /// What the finished stages left, and how many of them this session was told of or ran.
    finished: Vec<Value>,
    passed: usize,
    snapshot: Option<Snapshot>,
}

impl<'r, 'a> Session<'r, 'a> {
    /// Starts a fit of `stages` stages, or goes on with the one that the run's checkpoint holds. `identity` names
    /// settings and data: another fit's checkpoint is refused.
    ///
    /// # Errors
    /// [`Error::Fingerprint`] for another fit's checkpoint, [`Error::Malformed`] for a damaged one.
    pub fn open(run: &'r mut Run<'a>, identity: impl Into<String>, stages: usize) -> Result<Self> {
        let identity = identity.into();
        let saved = match run.checkpoint_path() {
            Some(path) if path.exists() => Some(read(path, &identity)?),
            _ => None,
        };
        let (finished, snapshot) =
            saved.map_or((Vec::new(), None), |(finished, snapshot)| (finished, Some(snapshot)));
        Ok(Self { run, identity, stages, finished, passed: 0, snapshot })
    }

    /// Runs the next stage, unless the checkpoint already holds what it leaves. A stage trains once at most: the state
    /// within a stage is that of its first training.
    ///
    /// # Errors
    /// As `stage`; [`Error::Fingerprint`] if what the checkpoint holds is of another kind.
    pub fn stage<T: Serialize + DeserializeOwned>(
        &mut self,
        stage: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        if let Some(finished) = self.finished.get(self.passed) {
            self.passed += 1;
            let expected = format!("what stage {} leaves", self.passed);
            return serde_json::from_value(finished.clone())
                .map_err(|error| Error::fingerprint("checkpoints", expected, error));
        }
        let outcome = stage(self)?;
        self.finished.push(json!(outcome));
        self.passed += 1;
        Ok(outcome)
    }

    /// The state to go on from, once.
    pub(super) fn take_snapshot(&mut self) -> Option<Snapshot> {
        self.snapshot.take()
    }

    /// The part of the whole fit that is done when `part` of this stage is.
    pub(super) fn done(&self, part: f64) -> f64 {
        (self.finished.len() as f64 + part) / self.stages as f64
    }

    /// Reports an epoch and keeps its state where that is asked for.
    pub(super) fn epoch_done(
        &mut self,
        progress: &Progress,
        snapshot: impl Fn() -> Result<Snapshot>,
    ) -> Result<()> {
        let cancelled = self.run.report(progress).is_break();
        let path = self.run.checkpoint_path().map(Path::to_owned);
        if let Some(path) = &path
            && (cancelled || progress.epoch.is_multiple_of(self.run.every()))
        {
            self.write(path, snapshot()?)?;
        }
        match cancelled {
            false => Ok(()),
            true => {
                Err(Error::Cancelled { epoch: progress.epoch, epochs: progress.epochs, checkpoint: path })
            }
        }
    }

    /// The fit is done; its checkpoint is of no more use and is removed.
    ///
    /// # Errors
    /// [`Error::Write`] if it cannot be removed.
    pub fn close(self) -> Result<()> {
        match self.run.checkpoint_path() {
            Some(path) if path.exists() => fs::remove_file(path).map_err(|source| Error::write(path, source)),
            _ => Ok(()),
        }
    }

    fn write(&self, path: &Path, snapshot: Snapshot) -> Result<()> {
        let position = Position {
            finished: self.finished.clone(),
            epoch: snapshot.epoch,
            monitor: snapshot.monitor.numbers,
        };
        let mut archive = ArchiveWriter::new(FORMAT);
        archive.text("identity", &self.identity);
        archive.text("position", json!(position));
        archive.bytes("net", snapshot.net);
        archive.bytes("optimiser", snapshot.optimiser);
        archive.bytes("monitor", snapshot.monitor.net);
        archive.write(path)
    }
}

fn read(path: &Path, identity: &str) -> Result<(Vec<Value>, Snapshot)> {
    let archive = Archive::open(path)?;
    archive.require_format(FORMAT)?;
    let found = archive.text("identity")?;
    if found != identity {
        return Err(Error::Fingerprint {
            what: "checkpoints",
            expected: identity.into(),
            found: found.into(),
        });
    }
    let position: Position = archive.json("position")?;
    let snapshot = Snapshot {
        epoch: position.epoch,
        net: archive.bytes("net")?,
        optimiser: archive.bytes("optimiser")?,
        monitor: MonitorState { numbers: position.monitor, net: archive.bytes("monitor")? },
    };
    Ok((position.finished, snapshot))
}
