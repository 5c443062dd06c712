//! `cargo xtask drill`: a training whose worker is killed, beside the same one unbroken.
//!
//! The rule: it only hands the wish on to the program in `tests/`, which knows the drill.

use std::path::{Path, PathBuf};

use anyhow::Result;

/// How it is done.
#[derive(clap::Args)]
pub(crate) struct Wish {
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
pub(crate) fn run(root: &Path, wish: &Wish) -> Result<()> {
    // The features of the whole workspace, so that nothing is built a second time with others.
    crate::cargo(root, &["build", "--workspace", "--bins", "--locked"])?;
    let mut arguments = [
        "run",
        "--quiet",
        "--workspace",
        "--bin",
        "drill",
        "--locked",
        "--",
    ]
    .map(str::to_owned)
    .to_vec();
    let numbers = [
        ("--kills", wish.kills),
        ("--seed", wish.seed),
        ("--steps", wish.steps),
    ];
    arguments.extend(
        numbers
            .iter()
            .flat_map(|(name, number)| [(*name).to_owned(), number.to_string()]),
    );
    for (name, path) in [("--python", &wish.python), ("--keep", &wish.keep)] {
        if let Some(path) = path {
            arguments.extend([name.to_owned(), std::path::absolute(path)?.display().to_string()]);
        }
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    crate::cargo(root, &arguments)
}
