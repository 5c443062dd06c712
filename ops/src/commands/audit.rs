//! `anneal audit`: what an auditor can run.
//!
//! The rule: nothing here changes anything. Exit code 3 means that something is not what was recorded, 1 that
//! it could not be found out.

mod export;
mod report;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use anyhow::Context;
use domain::clock::SystemClock;
use event_store::{
    integrity::{CheckpointFolder, Exported, Verifier, export::ExportError, is_note, read_verifier},
    postgres::{Evidence, PostgresEventStore, Settings, VerifyError, address},
};

use crate::{
    complain,
    config::Config,
    output, say,
    system::{checkpoint_folder, evidence, key_file, only_in_postgres, own_verifier},
};

pub use export::{ExportOptions, export};
use report::{Progress, damaged, whole};

/// How long the connections may take to close.
const CLOSE: Duration = Duration::from_secs(5);

/// The log of the configuration's database, whether the system is up or down.
async fn open(config: &Config) -> anyhow::Result<(super::database::Opened, Arc<PostgresEventStore>)> {
    only_in_postgres(config.events.url.0.as_deref().unwrap_or_default(), "anneal audit")?;
    let opened = super::database::open(config).await?;
    let options = address(&opened.events)?;
    let store = PostgresEventStore::start(options, Settings::default(), Arc::new(SystemClock)).await?;
    Ok((opened, store))
}

/// The key that was given: as it is written, or the file that holds it.
fn given_verifier(key: &str) -> anyhow::Result<Verifier> {
    match Verifier::read(key) {
        Ok(verifier) => Ok(verifier),
        Err(_) if Path::new(key).symlink_metadata().is_ok() => Ok(read_verifier(Path::new(key))?),
        Err(error) => Err(error).context("--key is neither a public key nor a file that holds one"),
    }
}

/// Options of `anneal audit verify`.
#[derive(Clone, Debug, Default)]
pub struct VerifyOptions {
    /// The public key.
    pub key: Option<String>,
    /// A folder of exported checkpoints.
    pub checkpoints: Option<PathBuf>,
    /// Answer in JSON.
    pub json: bool,
}

/// Checks the whole log in the database: chain, tree, and all signed checkpoints.
///
/// # Errors
/// When it cannot be read to its end, or nothing can be checked for want of the key.
pub async fn verify(config: Config, options: VerifyOptions) -> anyhow::Result<ExitCode> {
    let mut evidence = evidence(&config)?;
    if let Some(key) = &options.key {
        evidence.verifier = Some(given_verifier(key)?);
    }
    if let Some(folder) = options.checkpoints {
        evidence = given_checkpoints(&folder, evidence)?;
    } else if evidence.exported.is_empty() {
        complain!(
            "warning: no checkpoint is in {}: nothing outside of the database vouches for the log. Give the folder of \
             exported checkpoints with --checkpoints",
            checkpoint_folder(&config).display()
        );
    }
    // Which is no fault of the log, and is to be seen.
    for faulty in &evidence.faulty {
        complain!("warning: {faulty}; this says nothing about the log, and the file was left out");
    }
    let (opened, store) = open(&config).await?;
    let begun = std::time::Instant::now();
    let shown = Progress::show(evidence.progress.clone(), options.json);
    let verified = match evidence.verifier {
        // Whoever takes the key away must not thereby get a log that counts as whole.
        None if !evidence.exported.is_empty() => Err(anyhow::anyhow!(
            "the log's public key is missing; give it with --key"
        )),
        _ => Ok(store.audit(&evidence).await),
    };
    drop(shown);
    store.close(CLOSE).await;
    opened.close().await?;
    match verified? {
        Ok(verified) if verified.signed > 0 && evidence.verifier.is_none() => {
            anyhow::bail!("the log has signed checkpoints, but its public key is missing; give it with --key")
        }
        Ok(verified) => Ok(whole(&verified, &evidence.faulty, begun.elapsed(), options.json)),
        Err(VerifyError::Fault(fault)) => Ok(damaged(&fault.to_string(), options.json)),
        Err(VerifyError::Store(error)) => Err(error.into()),
    }
}

/// `evidence` with the checkpoints in the folder that was named, which must hold one.
fn given_checkpoints(folder: &Path, evidence: Evidence) -> anyhow::Result<Evidence> {
    anyhow::ensure!(folder.is_dir(), "{} is no folder", folder.display());
    let Exported { notes, faulty } = CheckpointFolder::new(folder.to_owned()).contents()?;
    if !notes.iter().any(|note| is_note(note)) {
        let why = match faulty.is_empty() {
            true => String::new(),
            false => format!(" that can be read: {}", faulty.join("; ")),
        };
        anyhow::bail!("no checkpoint in {}{why}", folder.display());
    }
    Ok(Evidence {
        exported: notes,
        faulty,
        ..evidence
    })
}

/// Checks an export, without a database: only the files and the public key.
///
/// # Errors
/// When the files cannot be read.
pub fn verify_export(folder: &Path, key: Option<&str>, json: bool) -> anyhow::Result<ExitCode> {
    let key = key.context("give the log's public key: --key FILE or --key '<name>+<id>+<key>'")?;
    let verifier = given_verifier(key)?;
    let begun = std::time::Instant::now();
    let progress = Arc::new(AtomicU64::new(0));
    let shown = Progress::show(progress.clone(), json);
    let verified = event_store::integrity::export::verify(folder, &verifier, &progress);
    drop(shown);
    match verified {
        Ok(verified) => Ok(report::whole_export(&verified, begun.elapsed(), json)),
        Err(error @ (ExportError::Fault(_) | ExportError::File { .. })) => {
            Ok(damaged(&error.to_string(), json))
        }
        Err(error) => Err(error.into()),
    }
}

/// Prints the public key.
///
/// # Errors
/// When there is none yet.
pub fn key(config: &Config) -> anyhow::Result<ExitCode> {
    let verifier = own_verifier(config)?;
    let verifier = verifier.with_context(|| {
        format!(
            "{} does not exist; the first `anneal up` makes it",
            key_file(config).display()
        )
    })?;
    say!("{verifier}");
    Ok(ExitCode::SUCCESS)
}

/// Prints the newest exported checkpoint, if it verifies.
///
/// # Errors
/// When there is none, or it does not count.
pub fn checkpoint(config: &Config) -> anyhow::Result<ExitCode> {
    let folder = checkpoint_folder(config);
    let missing = || format!("no checkpoint is in {} yet", folder.display());
    let verifier = own_verifier(config)?.with_context(missing)?;
    let newest = CheckpointFolder::new(folder.clone()).latest(&verifier)?;
    output::say(format_args!("{}", newest.with_context(missing)?.note));
    Ok(ExitCode::SUCCESS)
}
