//! Runs the drill: `drill [--kills N] [--seed N] [--steps N] [--base-steps N] [--python PATH] [--keep FOLDER]`.
//!
//! The rule: ends with an error when anything of it is not as it should be.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result, bail};
use tests::drill::{Options, run};

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = options().and_then(|options| runtime.context("no runtime")?.block_on(run(&options)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("drill: {error:#}");
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
        let number = || {
            let number = value.parse::<u32>();
            number.with_context(|| format!("{name} needs a number, not '{value}'"))
        };
        match name.as_str() {
            "--kills" => options.kills = number()?,
            "--seed" => options.seed = number()?.into(),
            "--steps" => options.steps = number()?,
            "--base-steps" => options.base_steps = number()?,
            "--python" => options.python = Some(PathBuf::from(value)),
            "--keep" => options.keep = Some(PathBuf::from(value)),
            other => bail!(
                "there is no {other}; there are --kills, --seed, --steps, --base-steps, --python and --keep"
            ),
        }
    }
    Ok(options)
}
