//! The binary under test, built as it is shipped.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};

/// Builds the binary beside this program, in the profile of this program. Nothing happens when it is up to date.
///
/// Both packages are named so that Cargo chooses the same features of their dependencies, and builds them once.
pub(crate) fn build() -> Result<()> {
    let program = path();
    let profile = program
        .parent()
        .and_then(|folder| folder.file_name())
        .context("target/<profile>")?;
    let target = program
        .parent()
        .and_then(|folder| folder.parent())
        .context("target")?;
    let profile = if profile == "debug" {
        "dev".as_ref()
    } else {
        profile
    };
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "build", "--quiet", "-p", "anneal", "-p", "tests", "--bin", "anneal",
        ])
        .arg("--profile")
        .arg(profile)
        .arg("--target-dir")
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        // Of this benchmark, not of what is built: build scripts that look at it would run anew.
        .env_remove("CARGO_MANIFEST_DIR")
        .status()
        .context("cargo is needed to build the program")?;
    ensure!(status.success(), "the program does not build");
    Ok(())
}

/// Where it lies.
pub(crate) fn path() -> PathBuf {
    tests::harness::app::program()
}
