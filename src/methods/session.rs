//! A fit as a sequence of stages whose state survives being cancelled.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

use super::run::{Progress, Run};
use crate::{
    Error, Result,
    archive::{Archive, ArchiveWriter},
};

const FORMAT: &str = "clip-adapter-state/1";

/// How many epochs may be lost when the process is killed rather than cancelled.
const EVERY: usize = 50;

/// Where one stage stands after an epoch.
pub(crate) struct Snapshot {
    pub epoch: usize,
    pub net: Vec<u8>,
    pub optimiser: Vec<u8>,
    pub monitor: MonitorState,
}

/// What a monitor remembers: some numbers and perhaps a network.
#[derive(Default)]
pub(crate) struct MonitorState {
    pub numbers: Vec<f64>,
    pub net: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Position {
    finished: Vec<Vec<f64>>,
    epoch: usize,
    monitor: Vec<f64>,
}

/// The stages of one fit, in order. Each finished stage leaves a few numbers to the later ones.
pub(crate) struct Session<'r, 'a> {
    run: &'r mut Run<'a>,
    identity: String,
    stages: usize,
    finished: Vec<Vec<f64>>,
    resumed: usize,
    snapshot: Option<Snapshot>,
}

impl<'r, 'a> Session<'r, 'a> {
    /// Starts a fit of `stages` stages, or goes on with the one that the run's checkpoint holds. `identity` names
    /// settings and data: another fit's checkpoint is refused.
    pub fn open(run: &'r mut Run<'a>, identity: String, stages: usize) -> Result<Self> {
        let saved = match run.checkpoint_path() {
            Some(path) if path.exists() => Some(read(path, &identity)?),
            _ => None,
        };
        let (finished, snapshot) =
            saved.map_or((Vec::new(), None), |(finished, snapshot)| (finished, Some(snapshot)));
        Ok(Self { run, identity, stages, resumed: finished.len(), finished, snapshot })
    }

    /// Runs the next stage, unless the checkpoint already holds what it leaves.
    pub fn stage(
        &mut self,
        index: usize,
        stage: impl FnOnce(&mut Self) -> Result<Vec<f64>>,
    ) -> Result<Vec<f64>> {
        if index < self.resumed {
            return Ok(self.finished[index].clone());
        }
        let numbers = stage(self)?;
        self.finished.push(numbers.clone());
        Ok(numbers)
    }

    /// The state to go on from, once.
    pub fn take_snapshot(&mut self) -> Option<Snapshot> {
        self.snapshot.take()
    }

    /// The part of the whole fit that is done when `part` of this stage is.
    pub fn done(&self, part: f64) -> f64 {
        (self.finished.len() as f64 + part) / self.stages as f64
    }

    /// Reports an epoch and keeps its state where that is asked for.
    pub fn epoch_done(&mut self, progress: &Progress, snapshot: impl Fn() -> Result<Snapshot>) -> Result<()> {
        let cancelled = self.run.report(progress).is_break();
        let path = self.run.checkpoint_path().map(Path::to_owned);
        if let Some(path) = &path
            && (cancelled || progress.epoch.is_multiple_of(EVERY))
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

    /// The fit is done; its checkpoint is of no more use.
    pub fn close(self) -> Result<()> {
        match self.run.checkpoint_path() {
            Some(path) if path.exists() => {
                fs::remove_file(path).map_err(|source| Error::Write { path: path.to_owned(), source })
            }
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
        archive.text("position", serde_json::json!(position));
        archive.bytes("net", snapshot.net);
        archive.bytes("optimiser", snapshot.optimiser);
        archive.bytes("monitor", snapshot.monitor.net);
        archive.write(path)
    }
}

fn read(path: &Path, identity: &str) -> Result<(Vec<Vec<f64>>, Snapshot)> {
    let archive = Archive::read(path)?;
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
