//! `anneal audit`: what an auditor can run.

use std::{process::ExitCode, sync::Arc, time::Duration};

use domain::clock::SystemClock;
use event_store::postgres::{PostgresEventStore, Settings, VerifyError, address};

use crate::config::Config;

/// The log is damaged.
const DAMAGED: u8 = 3;

/// Checks the hash chain of the whole log, whether the system is up or down.
pub async fn verify(config: Config, json: bool) -> anyhow::Result<ExitCode> {
    let opened = super::database::open(&config).await?;
    let store = PostgresEventStore::start(
        address(&opened.events)?,
        Settings::default(),
        Arc::new(SystemClock),
    )
    .await?;
    let begun = std::time::Instant::now();
    let verified = store.verify().await;
    let seconds = begun.elapsed().as_secs_f64();
    store.close(Duration::from_secs(5)).await;
    opened.close().await?;
    Ok(match verified {
        Ok(tip) => {
            let hash = hex::encode(tip.hash);
            match json {
                true => println!(
                    r#"{{"ok":true,"events":{},"hash":"{hash}","seconds":{seconds:.3}}}"#,
                    tip.position
                ),
                false => println!(
                    "The log is whole: {} events, last hash {hash} ({seconds:.1} s).",
                    tip.position
                ),
            }
            ExitCode::SUCCESS
        }
        Err(VerifyError::Store(error)) => return Err(error.into()),
        Err(VerifyError::Fault(error)) => {
            match json {
                true => println!(
                    "{}",
                    serde_json::json!({ "ok": false, "error": error.to_string() })
                ),
                false => println!("THE LOG IS DAMAGED: {error}"),
            }
            ExitCode::from(DAMAGED)
        }
    })
}
