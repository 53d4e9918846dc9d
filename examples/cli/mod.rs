//! What the examples have in common as commands: how they end, and what they read and write.
#![allow(dead_code)] // no example needs all of it

pub mod data_uri;
pub mod distinct;
pub mod files;
pub mod folders;
pub mod html;
pub mod labels;
pub mod pocket;
pub mod precision;
pub mod task;

use std::process::ExitCode;

use clip_adapter::{Error, Result};

/// Runs a command; a failure ends in one sentence and exit status 2.
pub fn run(command: impl FnOnce() -> Result<()>) -> ExitCode {
    match command() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let hint = match error {
                Error::TooFewShots { found: 1.., .. } => "; --shots asks for fewer",
                _ => "",
            };
            eprintln!("error: {error}{hint}");
            ExitCode::from(2)
        }
    }
}

/// The same of a command that can leave out images which cannot be read.
pub fn run_with_skip_broken(command: impl FnOnce() -> Result<()>) -> ExitCode {
    run(|| {
        let outcome = command();
        if let Err(Error::Image { .. }) = &outcome {
            eprintln!("--skip-broken leaves out images that cannot be read");
        }
        outcome
    })
}
