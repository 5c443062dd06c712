//! `anneal verify`: whether everything that lies on the disk is whole.

use std::{path::PathBuf, process::ExitCode};

use serde_json::json;

use super::database;
use crate::{
    config::Config,
    say,
    system::only_in_postgres,
    verify::{self, AcknowledgementLog, Report, Subject},
};

/// Something is broken.
const DAMAGED: u8 = 3;

/// Checks log, read models, leases and files, whether the system is up or down. `acknowledged`: what clients
/// wrote down of the answers they got.
pub async fn run(config: Config, acknowledged: Option<PathBuf>, json: bool) -> anyhow::Result<ExitCode> {
    let events = config.events.url.0.as_deref().unwrap_or_default();
    only_in_postgres(events, "anneal verify")?;
    // A journal that cannot be read is found before a database is started.
    let acknowledgements = acknowledged
        .as_deref()
        .map(AcknowledgementLog::read)
        .transpose()?;
    let evidence = crate::system::evidence(&config)?;
    let log_key = crate::system::log_key_fault(&config)?;
    let opened = database::open(&config).await?;
    let subject = Subject {
        url: &opened.url,
        events: &opened.events,
        objects: crate::system::existing_objects(&config),
        data_dir: &config.general.data_dir,
        evidence,
        log_key,
        acknowledgements,
    };
    let outcome = verify::verify(subject).await;
    opened.close().await?;
    let report = outcome?;
    match json {
        true => say!("{}", in_json(&report)),
        false => print(&report),
    }
    Ok(match report.is_whole() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(DAMAGED),
    })
}

fn in_json(report: &Report) -> serde_json::Value {
    json!({
        "ok": report.is_whole(),
        "events": report.events,
        "checked": report.checked,
        "faults": report.faults,
        "notes": report.notes,
    })
}

fn print(report: &Report) {
    for invariant in &report.checked {
        let broken = report.faults.iter().any(|fault| fault.invariant == *invariant);
        say!(
            "{}  {}",
            if broken { "BROKEN" } else { "ok    " },
            invariant.text()
        );
    }
    for note in &report.notes {
        say!("note    {}: {}", note.invariant.text(), note.what);
    }
    for fault in &report.faults {
        say!("FAULT   {}: {}", fault.invariant.text(), fault.what);
    }
    match report.is_whole() {
        true => say!("Everything is whole: {} events.", report.events),
        false => say!(
            "SOMETHING IS BROKEN: {} faults. Keep the data as they are; see ops/guides/verify.md.",
            report.faults.len()
        ),
    }
}
