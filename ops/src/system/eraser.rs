//! Carries out what was decided: destroys the keys of erased persons, has the read models rebuilt, and records
//! the receipt (AU-7).
//!
//! The rule: every step may be repeated, so a crash at any point costs nothing but time. It is called by the reactor of
//! erasures until it is done; which rebuilds were asked for stands in `person_erasure`.

use std::{sync::Arc, time::Duration};

use api::app::App;
use domain::{
    authz::Principal,
    event_store::{BoxFuture, Metadata},
    execute::execute,
    id::UserId,
    identity::{erasure::CompleteErasure, user::ErasureReceipt},
};
use event_store::sealing::PersonKeys;
use projections::rebuild;
use sqlx::Row as _;
use workers::reactors::{
    Call, EffectError,
    runner::{Called, Calls},
};

/// Deadline of one statement.
const STATEMENT: Duration = Duration::from_secs(5);
/// Key of the advisory lock of whoever takes the steps.
const LOCK: i64 = 0x616e_6e65_616c_0011;

/// See the module.
pub(super) struct Eraser {
    app: App,
    keys: Arc<PersonKeys>,
}

impl Calls for Eraser {
    fn call(&self, call: Call) -> BoxFuture<'_, Result<Called, EffectError>> {
        let Call::CompleteErasure(person) = call;
        Box::pin(async move {
            self.carry_on(person).await.map_err(|error| {
                tracing::warn!(%person, error = format!("{error:#}"), "an erasure paused, trying again");
                EffectError::passing("a step of the erasure failed; see the log")
            })
        })
    }
}

async fn within<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> anyhow::Result<T> {
    Ok(tokio::time::timeout(STATEMENT, work).await??)
}

impl Eraser {
    /// The eraser of an application.
    pub(super) fn new(app: App, keys: Arc<PersonKeys>) -> Self {
        Self { app, keys }
    }

    /// Takes the steps that can be taken now, unless another process is at it.
    async fn carry_on(&self, person: UserId) -> anyhow::Result<Called> {
        let mut lock = within(self.app.database.begin()).await?;
        let taken = sqlx::query_scalar("select pg_try_advisory_xact_lock($1)").bind(LOCK);
        let taken: bool = within(taken.fetch_one(&mut *lock)).await?;
        let called = match taken {
            true => self.take_steps(person).await?,
            false => Called::UnderWay,
        };
        within(lock.rollback()).await?;
        Ok(called)
    }

    async fn take_steps(&self, person: UserId) -> anyhow::Result<Called> {
        fail::fail_point!("erasure.before_key_destroyed");
        let destroyed = self.keys.destroy(person).await?;
        fail::fail_point!("erasure.key_destroyed");
        let personal = projections::personal();
        // Only what began after the key was destroyed counts: so it is asked for after that, and noted then.
        if !self.asked(person).await? {
            within(rebuild::request(&self.app.database, &personal)).await?;
            fail::fail_point!("erasure.rebuild_requested");
            self.note_asked(person).await?;
        }
        if !within(rebuild::finished(&self.app.database, &personal)).await? {
            return Ok(Called::UnderWay);
        }
        let receipt = ErasureReceipt {
            key_id: destroyed.key_id,
            key_made_at: destroyed.made_at,
            destroyed_at: destroyed.destroyed_at,
            rebuilt: personal.into_iter().map(str::to_owned).collect(),
        };
        let principal = Principal::System("eraser");
        let meta = Metadata {
            actor: principal.actor(),
            ..Metadata::default()
        };
        let command = CompleteErasure {
            user: person,
            receipt,
        };
        fail::fail_point!("erasure.before_receipt");
        execute(&self.app.ports, &principal, &meta, &command).await?;
        fail::fail_point!("erasure.receipt_recorded");
        tracing::info!(%person, "a person was erased");
        Ok(Called::Done)
    }

    async fn asked(&self, person: UserId) -> anyhow::Result<bool> {
        let asked = sqlx::query("select exists (select from person_erasure where person = $1)");
        let row = within(asked.bind(person.to_string()).fetch_one(&self.app.database)).await?;
        Ok(row.try_get(0)?)
    }

    async fn note_asked(&self, person: UserId) -> anyhow::Result<()> {
        let note = sqlx::query(
            "insert into person_erasure (person, asked_at) values ($1, $2) on conflict do nothing",
        );
        let note = note.bind(person.to_string()).bind(self.app.now());
        within(note.execute(&self.app.database)).await?;
        Ok(())
    }
}
