//! `cargo xtask simulate`: many seeds of the simulation, or one with its whole trace.
//!
//! The rule: it only hands the wish on to the program in `tests/`, which knows the simulation.

use std::path::Path;

use anyhow::Result;

use crate::tally::Drill;

/// Which seeds.
#[derive(clap::Args)]
pub(crate) struct Seeds {
    /// How many, what was done before included (tests/README.md).
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Begins again at the first.
    #[arg(long)]
    anew: bool,
    /// This one alone, with its whole trace.
    #[arg(long, conflicts_with_all = ["seeds", "first", "anew"])]
    seed: Option<u64>,
}

/// Seeds after which it is written down that they hold.
const BLOCK: u64 = 250;

/// Runs them; fails when one breaks an invariant.
pub(crate) fn run(root: &Path, wanted: &Seeds) -> Result<()> {
    if let Some(seed) = wanted.seed {
        return simulate(root, &["--seed".to_owned(), seed.to_string()]);
    }
    let drill = Drill {
        name: "simulate",
        first: wanted.first,
        wanted: wanted.seeds,
        block: BLOCK,
    };
    drill.go_on(root, wanted.anew, |done, count| {
        let first = wanted.first + done;
        let arguments = [
            "--seeds".to_owned(),
            count.to_string(),
            "--first".to_owned(),
            first.to_string(),
        ];
        simulate(root, &arguments)
    })
}

fn simulate(root: &Path, wanted: &[String]) -> Result<()> {
    let program = ["run", "--quiet", "--package", "tests", "--bin", "simulate", "--"];
    let arguments: Vec<&str> = program
        .into_iter()
        .chain(wanted.iter().map(String::as_str))
        .collect();
    crate::cargo(root, &arguments)
}
