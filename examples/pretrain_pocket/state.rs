//! Where an interrupted training stands: parameters, the optimiser's moments and the number of steps.

use std::{
    fs,
    path::{Path, PathBuf},
};

use burn::{
    module::Module,
    optim::{ModuleOptimizer, OptimizerRecord},
    store::ModuleRecord,
    tensor::Bytes,
};
use clip_adapter::{Error, Result, backbone::TrainableClip};

/// Writes the state into a new folder and then puts it in place of the old one.
pub fn save(out: &Path, model: &TrainableClip, optimiser: &ModuleOptimizer, steps: usize) -> Result<()> {
    let (part, place) = (out.join("state.part"), folder(out));
    let failed = |source| Error::Write { path: place.clone(), source };
    let net = model.clone().into_record().into_bytes().map_err(|error| execution("saving state", error))?;
    let moments = optimiser.into_bytes().map_err(|error| execution("saving state", error))?;
    fs::create_dir_all(&part).map_err(failed)?;
    fs::write(part.join("model"), &net[..]).map_err(failed)?;
    fs::write(part.join("optimiser"), &moments[..]).map_err(failed)?;
    fs::write(part.join("steps"), steps.to_string()).map_err(failed)?;
    if place.exists() {
        fs::remove_dir_all(&place).map_err(failed)?;
    }
    fs::rename(&part, &place).map_err(failed)
}

/// Reads a state: the model, the optimiser and the steps that are done.
pub fn load(
    out: &Path,
    model: TrainableClip,
    optimiser: ModuleOptimizer,
) -> Result<(TrainableClip, ModuleOptimizer, usize)> {
    let read = |name: &str| {
        let path = folder(out).join(name);
        fs::read(&path).map_err(|source| Error::Read { path, source })
    };
    let model = ModuleRecord::from_bytes(Bytes::from_bytes_vec(read("model")?))
        .and_then(|record| model.try_load_record(record))
        .map_err(|error| execution("reading saved state", error))?;
    let moments = OptimizerRecord::from_bytes(Bytes::from_bytes_vec(read("optimiser")?))
        .map_err(|error| execution("reading saved state", error))?;
    let steps = String::from_utf8_lossy(&read("steps")?).trim().parse().map_err(|_| Error::Malformed {
        path: folder(out).join("steps"),
        part: "text".into(),
        expected: "a number of steps".into(),
        found: "something else".into(),
    })?;
    Ok((model, optimiser.load_record(moments), steps))
}

fn folder(out: &Path) -> PathBuf {
    out.join("state")
}

fn execution(doing: &'static str, error: impl ToString) -> Error {
    Error::Execution { doing, message: error.to_string() }
}
