//! What the examples have in common as commands: how they end, and what they read and write.
#![allow(dead_code)] // no example needs all of it

pub mod distinct;
pub mod files;
pub mod folders;
pub mod labels;
pub mod pocket;
pub mod task;

use std::process::ExitCode;

use clip_adapter::Result;

/// Runs a command; a failure ends in one sentence and exit status 2.
pub fn run(command: impl FnOnce() -> Result<()>) -> ExitCode {
    match command() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}
