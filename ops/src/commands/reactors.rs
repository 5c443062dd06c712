//! `anneal reactors`: what was not delivered, and trying it again (NO-3).
//!
//! The rule: it works whether the system is up or down. A redrive is an event; whoever runs the reactors carries it out,
//! now or after the next start.

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use domain::{
    authz::Principal,
    clock::SystemClock,
    event_store::Metadata,
    execute::{Ports, execute},
    id::SystemIds,
    notifications::delivery::RedriveDeliveries,
    rights::LogRights,
};
use event_store::postgres::app_pool;
use projections::{
    notifications::delivery::{self, DeadLetterRow, ReactorRow},
    paging::PageRequest,
};
use serde_json::{Value, json};
use sqlx::PgPool;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::database;
use crate::{
    config::Config,
    say,
    system::{open_log, opened},
};

/// Dead letters that are listed at most; the rest is counted.
const LISTED: u32 = 100;

/// What is to be done.
pub enum Request {
    /// List reactors and dead letters: of one reactor, or of all.
    List(Option<String>),
    /// Try dead letters again: one, or all of the reactor, or of all reactors.
    Redrive {
        /// The reactor; all if `None`.
        reactor: Option<String>,
        /// The dead letter; all if `None`.
        dead_letter: Option<Uuid>,
    },
}

/// Does what is wanted.
///
/// # Errors
/// When the database or the log fails, or there is no such reactor or dead letter.
pub async fn run(config: Config, request: Request, json: bool) -> anyhow::Result<ExitCode> {
    let opened = database::open(&config).await?;
    let outcome = with_pool(&config, &opened, request, json).await;
    opened.close().await?;
    outcome.map(|()| ExitCode::SUCCESS)
}

async fn with_pool(
    config: &Config,
    opened: &database::Opened,
    request: Request,
    json: bool,
) -> anyhow::Result<()> {
    projections::database::migrate(&opened.url).await?;
    let pool = app_pool(&opened.url, 2).await?;
    let outcome = match request {
        Request::List(reactor) => list(&pool, reactor.as_deref(), json).await,
        Request::Redrive { reactor, dead_letter } => {
            redrive(config, opened, &pool, (reactor, dead_letter), json).await
        }
    };
    pool.close().await;
    outcome
}

async fn list(pool: &PgPool, reactor: Option<&str>, json: bool) -> anyhow::Result<()> {
    let mut reactors = delivery::reactors(pool).await?;
    if let Some(name) = reactor {
        reactors.retain(|row| row.reactor == name);
        anyhow::ensure!(!reactors.is_empty(), "there is no reactor {name}");
    }
    let page = delivery::dead(pool, reactor, false, &PageRequest::newest(LISTED, None)).await?;
    let all = delivery::count_dead(pool, reactor).await?;
    if json {
        let report = json!({
            "reactors": reactors.iter().map(reactor_json).collect::<Vec<_>>(),
            "deadLetters": page.rows.iter().map(dead_json).collect::<Result<Vec<_>, _>>()?,
            "deadLetterCount": all,
        });
        say!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    for row in &reactors {
        say!(
            "{}: read up to position {}; {} to be tried again, {} given up",
            row.reactor,
            row.position,
            row.waiting,
            row.dead
        );
    }
    if page.rows.is_empty() {
        say!("Nothing was given up.");
    }
    for row in &page.rows {
        say!(
            "{}  {} {} of position {} for {}: {} (tried {} times, given up {})",
            row.effect,
            row.reactor,
            row.kind,
            row.position,
            row.recipient.as_deref().unwrap_or("nobody"),
            row.failure,
            row.attempts,
            row.dead_at.format(&Rfc3339)?
        );
    }
    let left = all - i64::try_from(page.rows.len())?;
    if left > 0 {
        say!("… and {left} more");
    }
    Ok(())
}

fn reactor_json(row: &ReactorRow) -> Value {
    json!({ "name": row.reactor, "position": row.position, "waiting": row.waiting, "dead": row.dead })
}

fn dead_json(row: &DeadLetterRow) -> anyhow::Result<Value> {
    Ok(json!({
        "id": row.effect,
        "reactor": row.reactor,
        "kind": row.kind,
        "position": row.position,
        "recipient": row.recipient,
        "attempts": row.attempts,
        "reason": row.failure,
        "failedAt": row.failed_at.format(&Rfc3339)?,
        "givenUpAt": row.dead_at.format(&Rfc3339)?,
    }))
}

/// The reactors whose dead letters are wanted, as far as they have any.
async fn concerned(
    pool: &PgPool,
    (reactor, dead_letter): &(Option<String>, Option<Uuid>),
) -> anyhow::Result<Vec<String>> {
    let (mut names, reactors) = (Vec::new(), delivery::reactors(pool).await?);
    if let Some(name) = reactor
        .as_ref()
        .filter(|name| reactors.iter().all(|row| row.reactor != **name))
    {
        bail!("there is no reactor {name}; `anneal reactors list` shows those that there are");
    }
    for row in reactors {
        if reactor.as_ref().is_some_and(|name| *name != row.reactor) {
            continue;
        }
        let has = match dead_letter {
            Some(id) => delivery::is_dead(pool, &row.reactor, *id).await?,
            None => row.dead > 0,
        };
        names.extend(has.then_some(row.reactor));
    }
    if let (Some(id), true) = (dead_letter, names.is_empty()) {
        bail!("there is no dead letter {id}; `anneal reactors list` shows those that there are");
    }
    Ok(names)
}

async fn redrive(
    config: &Config,
    database: &database::Opened,
    pool: &PgPool,
    wanted: (Option<String>, Option<Uuid>),
    json: bool,
) -> anyhow::Result<()> {
    let concerned = concerned(pool, &wanted).await?;
    let store = open_log(&database.events, &database.url, Arc::new(SystemClock)).await?;
    let work = async {
        let data_dir = &config.general.data_dir;
        let log = opened(store.clone(), pool.clone(), data_dir).await?;
        let ports = Ports::new(
            log,
            Arc::new(SystemClock),
            Arc::new(SystemIds),
            Arc::new(LogRights),
        );
        let operator = Principal::System("operator");
        let meta = Metadata {
            actor: operator.actor(),
            ..Metadata::default()
        };
        for reactor in &concerned {
            let command = RedriveDeliveries {
                reactor: reactor.clone(),
                delivery: wanted.1,
            };
            let recorded = execute(&ports, &operator, &meta, &command).await;
            recorded.with_context(|| format!("cannot record the redrive of {reactor}"))?;
        }
        anyhow::Ok(())
    };
    let outcome = work.await;
    store.close(Duration::from_secs(5)).await;
    outcome?;
    if json {
        say!(
            "{}",
            serde_json::to_string_pretty(&json!({ "redriven": concerned }))?
        );
    } else if concerned.is_empty() {
        say!("Nothing was given up, so nothing is to be tried again.");
    } else {
        say!(
            "Recorded for {}; what was given up is tried again by the running system, or after its next start.",
            concerned.join(", ")
        );
    }
    Ok(())
}
