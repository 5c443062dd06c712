//! The binary `anneal`: see `anneal --help`.

use std::process::ExitCode;

use anneal::{cli::Cli, commands, tls};
use clap::Parser;

fn main() -> ExitCode {
    tls::install();
    #[cfg(feature = "fail-points")]
    if let Err(error) = anneal::fail_points::arm() {
        anneal::complain!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    commands::run(Cli::parse())
}
