//! The binary `anneal`: see `anneal --help`.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    anneal::commands::run(anneal::cli::Cli::parse())
}
