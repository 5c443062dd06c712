//! One PostgreSQL for all test processes of a run: the set-up script of `.config/nextest.toml`.
//!
//! The rule: without arguments it leaves itself behind as the keeper and returns when the cluster is ready.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result};
use tests::harness::lending::{KEEP, keep, lend};

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("test_cluster: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [flag, runner] if flag == KEEP => keep(runner.parse().context("the runner's process")?).await,
        _ => {
            let environment = std::env::var_os("NEXTEST_ENV").map(PathBuf::from);
            let environment = environment.context("cargo nextest starts it, with NEXTEST_ENV")?;
            lend(&std::env::current_exe()?, &environment)
        }
    }
}
