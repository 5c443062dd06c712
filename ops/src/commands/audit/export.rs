//! `anneal audit export`: the log as files that prove themselves.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use domain::clock::{Clock, SystemClock};
use event_store::{
    integrity::{export::ExportError, open_or_create, read_verifier},
    postgres::ExportOrder,
};

use super::{CLOSE, open, report::damaged};
use crate::{config::Config, say, system::key_file};

/// Options of `anneal audit export`.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// The folder to make.
    pub out: PathBuf,
    /// Position of the first event.
    pub from: Option<u64>,
    /// Position of the last event.
    pub to: Option<u64>,
}

/// Exports the log, or a part of it.
///
/// # Errors
/// When it cannot be done; nothing is left then.
pub async fn export(config: Config, options: ExportOptions) -> anyhow::Result<ExitCode> {
    let path = key_file(&config);
    let verifier = read_verifier(&path)
        .context("an export is signed with the log's key, which the first `anneal up` makes")?;
    // It is there, so none is made.
    let signer = open_or_create(&path, &verifier.key().name, None)?;
    let (opened, store) = open(&config).await?;
    let order = ExportOrder {
        target: &options.out,
        from: options.from,
        to: options.to,
        signer: &signer,
        now: SystemClock.now(),
    };
    let exported = store.export(order).await;
    store.close(CLOSE).await;
    opened.close().await?;
    match exported {
        Ok(manifest) => {
            say!(
                "Events {} to {} of {} are in {}.",
                manifest.from,
                manifest.to,
                manifest.origin,
                options.out.display()
            );
            say!("Check them anywhere with: anneal audit verify --export FOLDER --key '{verifier}'");
            Ok(ExitCode::SUCCESS)
        }
        Err(ExportError::Fault(fault)) => Ok(damaged(&fault.to_string(), false)),
        Err(error) => Err(error.into()),
    }
}
