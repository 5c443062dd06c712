//! `cargo xtask load`: people work on the real binary for as long as is wanted, and nothing may grow with time.
//!
//! The rule: it only passes the options on to the program in `tests/`, which runs the load.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};

/// How it is done.
#[derive(clap::Args)]
pub(crate) struct LoadOptions {
    /// How long it lasts.
    #[arg(long, default_value_t = 24 * 60)]
    minutes: u32,
    /// How many people work at the same time.
    #[arg(long, default_value_t = 8)]
    people: u32,
    /// Seconds between two samples.
    #[arg(long, default_value_t = 60)]
    sample_seconds: u32,
}

/// Builds the workspace and runs it; fails when anything is not as it should be.
pub(crate) fn run(root: &Path, options: &LoadOptions) -> Result<()> {
    crate::build(root)?;
    let program = crate::bless::target(root).join("debug").join("load");
    let mut command = Command::new(&program);
    for (name, number) in [
        ("--minutes", options.minutes),
        ("--people", options.people),
        ("--sample-seconds", options.sample_seconds),
    ] {
        command.arg(name).arg(number.to_string());
    }
    let status = command
        .current_dir(root)
        .status()
        .with_context(|| format!("{} could not be run", program.display()))?;
    ensure!(status.success(), "the load failed ({status})");
    Ok(())
}
