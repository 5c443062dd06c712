//! One owner against many: 64 connections of one account, whose commands all write one ledger, against 64 accounts.
//!
//! The yardstick is the same mutation by 64 owners in the same round, and another person's `me` when nobody else asks.
//! Refusals for being busy, and answers that do not come in time, are counted; every other wrong answer ends the
//! measurement.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use domain::{
    access::ledger::{LedgerEvent, QuotaLedger},
    aggregate::{Aggregate as _, encode},
    event_store::{Append, Expected, Metadata, StreamWrite},
    id::{Ids as _, SystemIds, UserId},
    quota::Quota,
};
use futures::future::try_join_all;
use reqwest::{Client, Method, Request};
use serde_json::{Value, json};
use tests::harness::{self, TestApp};
use tokio::runtime::Runtime;

use crate::{
    application,
    load::clients,
    numbers::{median, milliseconds, percentile, rounded},
    scale::Scale,
};

/// Connections of one owner, and owners of one connection each.
const CONNECTIONS: usize = 64;
/// Events behind the single owners, least first.
const HISTORIES: [u64; 3] = [10, 3_000, 100_000];
/// How long a turn takes.
const TURN: Duration = Duration::from_millis(2_000);
/// Before anything counts.
const WARM_UP: Duration = Duration::from_millis(700);
/// How long the read models may take for what is seeded.
const CAUGHT_UP: Duration = Duration::from_secs(120);
const CREATE: &str = "mutation { createProject(input: { name: \"One of many\" }) { project { id name } userErrors { message } } }";
const ME: &str = "{ me { id username } }";

/// Measures on an application of its own.
pub(crate) async fn run(server: &Runtime, scale: Scale) -> Result<Value> {
    let app = application(server).await?;
    let (many, single, other) = people(&app, scale).await?;
    let (connections, onlooker) = (clients(CONNECTIONS)?, &clients(1)?[0]);
    let (mut yardstick, mut quiet) = (Side::default(), Vec::new());
    let mut hot: Vec<Side> = single.iter().map(|_| Side::default()).collect();
    let pairs = |owners: &[Request]| {
        let pair = |(n, client): (usize, &Client)| (client.clone(), owners[n % owners.len()].try_clone());
        connections.iter().enumerate().map(pair).collect::<Vec<_>>()
    };
    for owners in std::iter::once(&many).chain(&single) {
        drive(pairs(owners), WARM_UP).await?;
    }
    for _ in 0..scale.rounds {
        quiet.extend(look(onlooker, &other, TURN / 2).await?);
        yardstick.add(turn(pairs(&many), onlooker, &other).await?);
        for (owner, side) in single.iter().zip(&mut hot) {
            side.add(turn(pairs(owner), onlooker, &other).await?);
        }
    }
    server.spawn(app.stop()).await?;
    Ok(report(&yardstick, &hot, &quiet))
}

/// The mutations of 64 owners, those of one owner for each history, and a question of somebody else.
async fn people(app: &TestApp, scale: Scale) -> Result<(Vec<Request>, Vec<Vec<Request>>, Request)> {
    let mut many = Vec::new();
    for n in 0..CONNECTIONS {
        many.push(question(
            &app.person(&format!("owner{n}"), "manager").await,
            CREATE,
        )?);
    }
    let (mut single, mut owners) = (Vec::new(), Vec::new());
    for events in histories(scale) {
        let owner = app.person(&format!("single{events}"), "manager").await;
        single.push(vec![question(&owner, CREATE)?]);
        owners.push((owner.user_id.parse()?, *events));
    }
    let other = question(&app.person("other", "engineer_i").await, ME)?;
    // Last: a person is made by mutations, which wait for the read models to fold what is seeded.
    for (owner, events) in owners {
        seed(app, owner, events).await?;
    }
    let head = app.system.app.ports.store.head().await?;
    app.system.app.progress.wait_for_position(head, CAUGHT_UP).await?;
    Ok((many, single, other))
}

fn histories(scale: Scale) -> &'static [u64] {
    match scale.judged {
        true => &HISTORIES,
        false => &HISTORIES[..2],
    }
}

fn question(person: &harness::Client, document: &str) -> Result<Request> {
    let token = person.token.clone().unwrap_or_default();
    let request = person.request(Method::POST, "/graphql").bearer_auth(token);
    Ok(request.json(&json!({ "query": document })).build()?)
}

/// Records that `owner` has taken `count` projects.
async fn seed(app: &TestApp, owner: UserId, count: u64) -> Result<()> {
    let numbers: Vec<u64> = (0..count).collect();
    for some in numbers.chunks(1_000) {
        let event = |n: &u64| {
            let (quota, item) = (Quota::Projects, format!("prj_seeded_{n:08}"));
            encode(SystemIds.next(), &LedgerEvent::Taken { quota, item })
        };
        let write = StreamWrite {
            stream: QuotaLedger::stream(owner),
            expected: Expected::Any,
            events: some.iter().map(event).collect::<Result<_, _>>()?,
        };
        let (writes, meta) = (vec![write], Metadata::default());
        app.system.app.ports.store.append(Append { writes, meta }).await?;
    }
    Ok(())
}

/// What the mutations of a turn came to.
struct Load {
    latencies: Vec<f64>,
    refused: usize,
    took: Duration,
}

/// The turns of one side.
#[derive(Default)]
struct Side {
    rates: Vec<f64>,
    latencies: Vec<f64>,
    refused: usize,
    /// Another person's question beside it.
    beside: Vec<f64>,
}

impl Side {
    fn add(&mut self, (load, beside): (Load, Vec<f64>)) {
        self.rates
            .push(load.latencies.len() as f64 / load.took.as_secs_f64());
        self.latencies.extend(load.latencies);
        self.refused += load.refused;
        self.beside.extend(beside);
    }

    /// The median over the rounds of `other`'s rate divided by this one.
    fn slower_than(&self, other: &Self) -> f64 {
        let rounds = self.rates.iter().zip(&other.rates);
        median(rounds.map(|(own, other)| other / own).collect())
    }
}

type Asking = Vec<(Client, Option<Request>)>;

async fn turn(asking: Asking, onlooker: &Client, other: &Request) -> Result<(Load, Vec<f64>)> {
    tokio::try_join!(drive(asking, TURN), look(onlooker, other, TURN))
}

/// Has each ask its mutation for `time`.
async fn drive(asking: Asking, time: Duration) -> Result<Load> {
    let begun = Instant::now();
    let asking = asking.into_iter().map(|(client, request)| {
        tokio::spawn(async move {
            let (mut latencies, mut refused) = (Vec::new(), 0);
            while begun.elapsed() < time {
                let sent = Instant::now();
                match answer(&client, request.as_ref()).await? {
                    Some(text) if text.contains("\"userErrors\":[]") => {
                        latencies.push(milliseconds(sent.elapsed()));
                    }
                    Some(text) => {
                        ensure!(text.contains("\"UNAVAILABLE\""), "unexpected answer: {text}");
                        refused += 1;
                    }
                    None => refused += 1,
                }
            }
            Ok((latencies, refused))
        })
    });
    let (mut latencies, mut refused) = (Vec::new(), 0);
    for done in try_join_all(asking).await? {
        let (some, not) = done?;
        latencies.extend(some);
        refused += not;
    }
    let took = begun.elapsed();
    Ok(Load {
        latencies,
        refused,
        took,
    })
}

/// Milliseconds of each answer to `request`, one after the other for `time`.
async fn look(client: &Client, request: &Request, time: Duration) -> Result<Vec<f64>> {
    let (begun, mut latencies) = (Instant::now(), Vec::new());
    while begun.elapsed() < time {
        let sent = Instant::now();
        let text = answer(client, Some(request)).await?;
        let right = text.as_ref().is_none_or(|text| text.contains("\"other\""));
        ensure!(right, "unexpected answer: {text:?}");
        latencies.push(milliseconds(sent.elapsed()));
    }
    Ok(latencies)
}

/// The answer; `None` when none comes in time.
async fn answer(client: &Client, request: Option<&Request>) -> Result<Option<String>> {
    let request = request.and_then(Request::try_clone);
    let request = request.context("the request has a body of bytes")?;
    match client.execute(request).await {
        Ok(response) => Ok(Some(response.text().await?)),
        Err(error) if error.is_timeout() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn report(yardstick: &Side, hot: &[Side], quiet: &[f64]) -> Value {
    let quiet_p95 = percentile(quiet, 0.95);
    let row = |what: String, side: &Side| {
        json!({
            "what": what,
            "per_s": rounded(median(side.rates.clone())),
            "ratio": rounded(1.0 / side.slower_than(yardstick)),
            "p50_ms": rounded(percentile(&side.latencies, 0.5)),
            "p99_ms": rounded(percentile(&side.latencies, 0.99)),
            "unavailable": side.refused,
            "me_p50_ms": rounded(percentile(&side.beside, 0.5)),
            "me_p95_ms": rounded(percentile(&side.beside, 0.95)),
        })
    };
    let mut rows = vec![row(format!("{CONNECTIONS} owners"), yardstick)];
    for (side, events) in hot.iter().zip(HISTORIES) {
        rows.push(row(format!("one owner, {events} events behind"), side));
    }
    let slowest = hot
        .iter()
        .map(|side| side.slower_than(yardstick))
        .fold(0.0, f64::max);
    let growth = match hot {
        [least, .., most] => most.slower_than(least),
        _ => 1.0,
    };
    let beside = hot
        .iter()
        .map(|side| percentile(&side.beside, 0.95))
        .fold(0.0, f64::max);
    let refused: usize = hot.iter().chain([yardstick]).map(|side| side.refused).sum();
    json!({
        "unit": "mutations/s over 64 connections; ms",
        "rows": rows,
        "slowest": rounded(slowest),
        "growth": rounded(growth),
        "unavailable": refused,
        "me_quiet_p50_ms": rounded(percentile(quiet, 0.5)),
        "me_quiet_p95_ms": rounded(quiet_p95),
        "me_ratio": rounded(beside / quiet_p95),
        "me_against_many": rounded(beside / percentile(&yardstick.beside, 0.95)),
    })
}
