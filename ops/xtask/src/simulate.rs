//! `cargo xtask simulate`: many seeds of the simulation, or one with its whole trace.
//!
//! The rule: it only hands the wish on to the program in `tests/`, which knows the simulation.

use std::path::Path;

use anyhow::Result;

/// Which seeds.
#[derive(clap::Args)]
pub(crate) struct Seeds {
    /// How many, one after the other.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// This one alone, with its whole trace.
    #[arg(long, conflicts_with_all = ["seeds", "first"])]
    seed: Option<u64>,
}

/// Runs them; fails when one breaks an invariant.
pub(crate) fn run(root: &Path, wanted: &Seeds) -> Result<()> {
    let mut arguments = ["run", "--quiet", "--package", "tests", "--bin", "simulate", "--"]
        .map(str::to_owned)
        .to_vec();
    match wanted.seed {
        Some(seed) => arguments.extend(["--seed".to_owned(), seed.to_string()]),
        None => arguments.extend([
            "--seeds".to_owned(),
            wanted.seeds.to_string(),
            "--first".to_owned(),
            wanted.first.to_string(),
        ]),
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    crate::cargo(root, &arguments)
}
