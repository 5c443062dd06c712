//! Appends with `cqrs-es` on PostgreSQL, for comparison. Behind the feature of that name.
//!
//! The rule: only what the crate itself does to record one event, on its own table: a transaction with one insert,
//! which a taken sequence number refuses. It keeps no order over the log and no hash chain.

use anyhow::{Context as _, Result};
use cqrs_es::{
    Aggregate, DomainEvent,
    event_sink::EventSink,
    persist::{PersistedEventRepository as _, SerializedEvent},
};
use domain::event_store::StreamId;
use postgres_es::PostgresEventRepository;
use serde::{Deserialize, Serialize};
use sqlx_of_postgres_es::{Pool, Postgres, postgres::PgPoolOptions};

use crate::counter::{KIND, payload};

/// What it is called in the figures.
pub(crate) const NAME: &str = "cqrs_es";
/// Its table, from `db/init.sql` of the crate.
const TABLE: &str = "create table if not exists events (
    aggregate_type text not null,
    aggregate_id   text not null,
    sequence       bigint check (sequence >= 0) not null,
    event_type     text not null,
    event_version  text not null,
    payload        json not null,
    metadata       json not null,
    primary key (aggregate_type, aggregate_id, sequence))";

/// Its event log.
pub(crate) struct Log {
    pool: Pool<Postgres>,
    events: PostgresEventRepository,
}

impl Log {
    /// Connects, and makes the table.
    pub(crate) async fn open(url: &str, connections: u32) -> Result<Self> {
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .connect(url)
            .await?;
        sqlx_of_postgres_es::query(TABLE).execute(&pool).await?;
        let events = PostgresEventRepository::new(pool.clone());
        Ok(Self { pool, events })
    }

    /// Records the event with the number `n` of `stream`, counted from 0.
    pub(crate) async fn append(&self, stream: StreamId, n: u64) -> Result<()> {
        let event = SerializedEvent::new(
            stream.key().to_owned(),
            usize::try_from(n)? + 1,
            Counter::TYPE.to_owned(),
            KIND.to_owned(),
            "1.0".to_owned(),
            serde_json::from_str(&payload(n))?,
            serde_json::json!({ "actor": "user:bench" }),
        );
        self.events
            .persist::<Counter>(&[event], None)
            .await
            .context("cqrs-es")
    }

    /// Disconnects.
    pub(crate) async fn close(self) {
        self.pool.close().await;
    }
}

/// The crate wants to know an aggregate; nothing is asked of it.
#[derive(Default, Serialize, Deserialize)]
struct Counter;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Counted;

impl DomainEvent for Counted {
    fn event_type(&self) -> String {
        KIND.to_owned()
    }

    fn event_version(&self) -> String {
        "1.0".to_owned()
    }
}

impl Aggregate for Counter {
    const TYPE: &'static str = "counter";
    type Command = ();
    type Event = Counted;
    type Error = std::convert::Infallible;
    type Services = ();

    async fn handle(&mut self, (): (), (): &(), _: &EventSink<Self>) -> Result<(), Self::Error> {
        Ok(())
    }

    fn apply(&mut self, _: Counted) {}
}
