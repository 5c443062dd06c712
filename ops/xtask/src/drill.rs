//! `cargo xtask drill`: a training whose worker is killed, beside the same one unbroken.
//!
//! The rule: it only passes the options on to the program in `tests/`, which runs the drill.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

/// How it is done.
#[derive(clap::Args)]
pub(crate) struct DrillOptions {
    /// How often the worker and its training are killed.
    #[arg(long, default_value_t = 10)]
    kills: u32,
    /// Where the choices begin; the same seed repeats them.
    #[arg(long, default_value_t = 1)]
    seed: u32,
    /// Steps of the adapter.
    #[arg(long, default_value_t = 500)]
    steps: u32,
    /// A Python with torch, transformers, peft and safetensors, to load and evaluate the result with.
    #[arg(long)]
    python: Option<PathBuf>,
    /// Where base, adapter and text are left.
    #[arg(long)]
    keep: Option<PathBuf>,
}

/// Builds the workspace and runs it; fails when anything is not as it should be.
pub(crate) fn run(root: &Path, options: &DrillOptions) -> Result<()> {
    crate::build(root)?;
    let program = crate::bless::target(root).join("debug").join("drill");
    let mut command = Command::new(&program);
    for (name, number) in [
        ("--kills", options.kills),
        ("--seed", options.seed),
        ("--steps", options.steps),
    ] {
        command.arg(name).arg(number.to_string());
    }
    for (name, path) in [("--python", &options.python), ("--keep", &options.keep)] {
        if let Some(path) = path {
            command.arg(name).arg(std::path::absolute(path)?);
        }
    }
    let status = command
        .current_dir(root)
        .status()
        .with_context(|| format!("{} could not be run", program.display()))?;
    ensure!(status.success(), "the drill failed ({status})");
    Ok(())
}
