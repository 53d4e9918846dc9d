//! Compares devices: how fast each encodes, fits and scores, and how far its numbers are from Flex's.
//!
//! ```text
//! cargo run --release --example compare_devices -- --size vit-b-32
//! cargo run --release --features ndarray,wgpu --example compare_devices -- --devices flex,wgpu --precision f16
//! ```
//!
//! Without `--backbone` the weights are random, which changes no speed; the text tower is small and not measured.
//! Kernels that a device compiles at first use are compiled before its time is taken. `.ci/gpu` runs this on a
//! machine with an NVIDIA GPU that has no compiler and no network, beside PyTorch (`benches/peers/encode_torch.py`).

#[path = "../cli/mod.rs"]
mod cli;
mod measure;
mod random_clip;

use std::{num::NonZeroUsize, path::PathBuf, process::ExitCode};

use clap::Parser;
use clip_adapter::{
    DeviceSpec, Error, Result,
    backbone::Precision,
    train::{MethodSpec, Registry},
};
use serde_json::json;

use self::{
    measure::{Row, Work},
    random_clip::Size,
};

/// Compares devices: how fast each encodes, fits and scores, and how far its numbers are from Flex's.
#[derive(Parser)]
struct Arguments {
    /// Where to compute, such as flex,wgpu,cuda:0; everything there is where none is given
    #[arg(long, value_name = "DEVICES", value_delimiter = ',')]
    devices: Vec<DeviceSpec>,
    /// A CLIP in the layout of Hugging Face or open_clip; random weights of `--size` where none is given
    #[arg(long, value_name = "DIR")]
    backbone: Option<PathBuf>,
    /// The image tower that gets random weights
    #[arg(long, value_name = "SIZE", value_enum, default_value_t = Size::Tiny, conflicts_with = "backbone")]
    size: Size,
    /// What the towers compute in: f32, f16 or bf16
    #[arg(long, value_name = "PRECISION", default_value_t = Precision::F32)]
    precision: Precision,
    /// Images encoded at once
    #[arg(long, value_name = "N", default_value = "16")]
    batch: NonZeroUsize,
    /// Batches whose time is taken
    #[arg(long, value_name = "N", default_value = "4")]
    batches: NonZeroUsize,
    /// What to fit on 16 shots of 19 classes
    #[arg(long, value_name = "NAME", default_value = "clip-adapter")]
    method: String,
    /// Overrides a setting of the method, such as ratio=0.2; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Writes the table as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    cli::run(|| compare(&arguments))
}

fn compare(arguments: &Arguments) -> Result<()> {
    let devices =
        if arguments.devices.is_empty() { DeviceSpec::available() } else { arguments.devices.clone() };
    // All that is missing is told before the first measurement.
    devices.iter().try_for_each(|spec| spec.open().map(drop))?;
    let spec = MethodSpec::new(&arguments.method);
    let spec = arguments.settings.iter().try_fold(spec, |spec, pair| spec.set(pair))?;
    let folder = tempfile::tempdir().map_err(temporary)?;
    let (backbone, name) = match &arguments.backbone {
        Some(path) => (path.clone(), path.display().to_string()),
        None => {
            random_clip::write(arguments.size, folder.path())?;
            (folder.path().to_owned(), format!("random {}", arguments.size))
        }
    };
    let work = Work::new(
        backbone,
        arguments.precision,
        [arguments.batch.get(), arguments.batches.get()],
        spec.clone().seeded(1).method(&Registry::builtin())?,
    );
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let Arguments { precision, batch, .. } = arguments;
    println!("{name}, {precision}, batches of {batch}, {threads} hardware threads\n\n{}", Row::HEADER);
    let reference = work.reference()?;
    let mut rows = Vec::with_capacity(devices.len());
    for spec in devices {
        let row = work.measure(spec, &reference)?;
        println!("{row}");
        rows.push(row);
    }
    if let Some(path) = &arguments.json {
        let outcome = json!({
            "backbone": name, "precision": precision.to_string(), "batch": batch, "threads": threads,
            "method": arguments.method, "settings": spec.settings, "devices": rows,
        });
        cli::files::write_json(path, &outcome)?;
    }
    Ok(())
}

fn temporary(source: std::io::Error) -> Error {
    Error::write(std::env::temp_dir(), source)
}
