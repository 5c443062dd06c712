//! What each verb of the command line does.

pub mod audit;
pub mod database;
mod devices;
mod reactors;
mod replay;
mod second_signal;
mod signals;
mod storage;
mod up;
mod verify;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::CommandFactory;

use crate::{
    cli::{AuditCommand, Cli, Command, ConfigArgs, ReactorsCommand, StorageCommand},
    complain,
    config::{Config, Problems, Sources},
    contracts, demo, doctor,
    output::{self, Gone, told},
    postgres::refuse_no_folder,
    say,
};

/// Wrong usage or configuration.
const USAGE: u8 = 2;

/// Runs the command and turns its outcome into an exit code.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    // What this process and its children make is private: data, models, kernels, exports.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    match cli.command {
        Command::TrainJob { job } => ml::child::run(&job),
        Command::Contracts { write } => finish(write_contracts(&write)),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "anneal", &mut script);
            let written = output::raw(&script).map(|()| ExitCode::SUCCESS);
            finish(written.context("the script cannot be written"))
        }
        Command::Up {
            config,
            demo,
            once,
            quick,
        } => with_config(config, |config| {
            up::run(config, up::UpOptions { demo, once, quick })
        }),
        Command::Doctor { config, json } => {
            with_config(
                config,
                move |config| async move { doctor::run(&config, json).await },
            )
        }
        Command::Devices { check, kernels, json } => finish(devices::run(check, kernels.as_deref(), json)),
        Command::Audit { command } => run_audit(command),
        Command::Storage { command } => run_storage(command),
        Command::Replay {
            names,
            all,
            check,
            no_swap,
            json,
            config,
        } => match replay::ReplayOptions::of(&names, all, check, no_swap, json) {
            Ok(wanted) => with_config(config, |config| replay::run(config, wanted)),
            Err(problem) => {
                complain!("error: {problem}");
                ExitCode::from(USAGE)
            }
        },
        Command::Verify {
            config,
            acknowledged,
            json,
        } => with_config(config, move |config| verify::run(config, acknowledged, json)),
        Command::Reactors { command } => run_reactors(command),
        Command::Demo { url, data, quick } => finish(block_on(run_demo(demo::DemoOptions {
            url,
            data_dir: data,
            quick,
        }))),
    }
}

async fn run_demo(options: demo::DemoOptions) -> anyhow::Result<ExitCode> {
    let mut signals = signals::Signals::listen()?;
    tokio::select! {
        done = demo::run(options) => done.map(|()| ExitCode::SUCCESS),
        () = signals.first() => Ok(ExitCode::from(130)),
    }
}

fn run_reactors(command: ReactorsCommand) -> ExitCode {
    match command {
        ReactorsCommand::List {
            reactor,
            json,
            config,
        } => with_config(config, move |config| {
            reactors::run(config, reactors::Request::List(reactor), json)
        }),
        ReactorsCommand::Redrive {
            id,
            reactor,
            json,
            config,
            ..
        } => with_config(config, move |config| {
            let request = reactors::Request::Redrive {
                reactor,
                dead_letter: id,
            };
            reactors::run(config, request, json)
        }),
    }
}

fn run_audit(command: AuditCommand) -> ExitCode {
    match command {
        AuditCommand::Verify {
            export: Some(folder),
            key,
            json,
            ..
        } => finish(audit::verify_export(&folder, key.as_deref(), json)),
        AuditCommand::Verify {
            config,
            key,
            checkpoints,
            json,
            ..
        } => {
            let options = audit::VerifyOptions {
                key,
                checkpoints,
                json,
            };
            with_config(config, move |config| audit::verify(config, options))
        }
        AuditCommand::Export {
            config,
            out,
            from,
            to,
        } => with_config(config, move |config| {
            audit::export(config, audit::ExportOptions { out, from, to })
        }),
        AuditCommand::Key { config } => with_config(config, |config| async move { audit::key(&config) }),
        AuditCommand::Checkpoint { config } => {
            with_config(config, |config| async move { audit::checkpoint(&config) })
        }
    }
}

fn run_storage(command: StorageCommand) -> ExitCode {
    let StorageCommand::Collect {
        dry_run,
        older_than,
        json,
        config,
    } = command;
    let options = storage::CollectOptions {
        dry_run,
        older_than,
        json,
    };
    with_config(config, move |config| storage::collect(config, options))
}

fn write_contracts(folder: &Path) -> anyhow::Result<ExitCode> {
    for path in contracts::write(folder)? {
        say!("{}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads the configuration; every problem of it is printed at once.
fn read_config(args: ConfigArgs) -> Result<Config, String> {
    let mut sources = Sources {
        file: args.config,
        data: args.data.map(|folder| folder.display().to_string()),
        listen: args.listen,
        ..Sources::of_environment()
    };
    args.set.iter().for_each(|pair| sources.set(pair));
    if let Some(folder) = named_data_folder(&sources) {
        // What is named as its folder comes before the file in it.
        refuse_no_folder(&folder).map_err(|error| error.to_string())?;
    }
    let links = sources.service_links();
    if !links.is_empty() {
        complain!(
            "warning: set by a Kubernetes service or a Docker link, and passed over: {}; `enableServiceLinks: false` in \
             the pod keeps such variables out",
            links.join(", ")
        );
    }
    let mut config = Config::load(&sources).map_err(|problems| problems.to_string())?;
    // The folder is handed to other processes, so it must not depend on the current folder.
    config.general.data_dir =
        std::path::absolute(&config.general.data_dir).map_err(|error| format!("data_dir: {error}"))?;
    Ok(config)
}

/// The data folder that a flag or the environment names.
fn named_data_folder(sources: &Sources) -> Option<PathBuf> {
    let flag = sources.flags.iter().rev().find(|(key, _)| key == "data_dir");
    let named = sources.data.as_ref().or(flag.map(|(_, folder)| folder));
    let named = named.map(PathBuf::from);
    let mut variables = sources.environment.iter();
    named.or_else(|| {
        let variable = variables.find(|(name, folder)| name == "ANNEAL_DATA_DIR" && !folder.is_empty());
        variable.map(|(_, folder)| PathBuf::from(folder))
    })
}

fn with_config<F, W>(args: ConfigArgs, work: W) -> ExitCode
where
    W: FnOnce(Config) -> F,
    F: Future<Output = anyhow::Result<ExitCode>>,
{
    match read_config(args) {
        Ok(config) => finish(block_on(work(config))),
        Err(problems) => {
            complain!("error: {problems}");
            ExitCode::from(USAGE)
        }
    }
}

fn block_on<F: Future<Output = anyhow::Result<ExitCode>>>(work: F) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(8 << 20)
        .build()
        .context("cannot start the runtime")?;
    let outcome = runtime.block_on(work);
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    outcome
}

fn finish(outcome: anyhow::Result<ExitCode>) -> ExitCode {
    let code = outcome.unwrap_or_else(|error| {
        if error.is::<Gone>() {
            return ExitCode::SUCCESS;
        }
        complain!("error: {}", told(&error));
        match error.is::<Problems>() {
            true => ExitCode::from(USAGE),
            false => ExitCode::FAILURE,
        }
    });
    match output::close() {
        Ok(()) => code,
        Err(error) => {
            complain!("error: the answer cannot be written: {error}");
            ExitCode::FAILURE
        }
    }
}
