//! Runs the load: `load [--minutes N] [--people N] [--sample-seconds N]`.
//!
//! The rule: ends with an error when something grew, lagged or failed.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context as _, Result, bail};
use tests::load::{Options, run};

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = options().and_then(|options| runtime.context("no runtime")?.block_on(run(&options)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options> {
    let mut options = Options::default();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    for pair in arguments.chunks(2) {
        let [name, value] = pair else {
            bail!("{} needs a value", pair.join(" "));
        };
        let number = value.parse::<u32>();
        let number = number.with_context(|| format!("{name} needs a number, not '{value}'"))?;
        match name.as_str() {
            "--minutes" => options.lasts = Duration::from_secs(u64::from(number) * 60),
            "--people" => options.people = number.max(1),
            "--sample-seconds" => options.every = Duration::from_secs(u64::from(number.max(1))),
            other => bail!("there is no {other}; there are --minutes, --people and --sample-seconds"),
        }
    }
    Ok(options)
}
