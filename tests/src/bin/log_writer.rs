//! A process that appends to the event log of a test: `log_writer <database url> <writer>... <appends>`.
//!
//! The rule: each writer owns one stream and prints, per acknowledged append, `<event id> <position>`; it ends
//! with an error as soon as anything is refused. Used by `tests/it/event_store/processes.rs`.

use std::{io::Write as _, process::ExitCode, sync::Arc};

use anyhow::{Context as _, Result, bail};
use domain::{
    clock::SystemClock,
    event_store::{Append, EventStore, Expected, Metadata, NewEvent, StreamId, StreamWrite},
    id::{Ids as _, SystemIds},
};
use event_store::postgres::{PostgresEventStore, Settings, address};
use serde_json::value::RawValue;

/// Events per append.
const EVENTS: u64 = 2;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("log_writer: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, writers @ .., appends] = arguments.as_slice() else {
        bail!("say the database's URL, the writers and the number of appends");
    };
    let appends: u64 = appends.parse().context("the number of appends")?;
    let options = address(url).context("the URL")?;
    let store = PostgresEventStore::start(options, Settings::default(), Arc::new(SystemClock)).await?;
    let all = writers.iter().map(|writer| write(&*store, writer, appends));
    futures::future::try_join_all(all).await?;
    Ok(())
}

async fn write(store: &dyn EventStore, writer: &str, appends: u64) -> Result<()> {
    for n in 0..appends {
        let events: Vec<NewEvent> = (0..EVENTS).map(|_| event(n)).collect::<Result<_>>()?;
        let ids: Vec<_> = events.iter().map(|event| event.id).collect();
        let append = Append {
            writes: vec![StreamWrite {
                stream: StreamId::new("test.counter", writer),
                expected: Expected::after((n * EVENTS).checked_sub(1)),
                events,
            }],
            meta: Metadata::default(),
        };
        let landed = store.append(append).await?;
        let mut out = std::io::stdout().lock();
        for id in ids {
            writeln!(out, "{id} {}", landed.position)?;
        }
        out.flush()?;
    }
    Ok(())
}

fn event(n: u64) -> Result<NewEvent> {
    Ok(NewEvent {
        id: SystemIds.next(),
        kind: "test.Counted".to_owned(),
        schema_version: 1,
        data: RawValue::from_string(n.to_string())?,
    })
}
