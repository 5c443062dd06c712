//! Carries out what was decided: destroys the keys of erased persons, has the read models rebuilt, and records
//! the receipt (AU-7).
//!
//! The rule: every step may be repeated, so a crash at any point costs nothing but time. What is still to be
//! done is read from the log's own read model; which rebuilds were asked for stands in `person_erasure`. The
//! steps that all processes share are taken by one of them at a time; mails are removed by each from its own
//! folder.

use std::{sync::Arc, time::Duration};

use api::app::App;
use domain::{
    aggregate::Aggregate as _,
    authz::Principal,
    event_store::Metadata,
    execute::execute,
    id::UserId,
    identity::{
        erasure::CompleteErasure,
        user::{ErasureReceipt, User},
    },
};
use event_store::sealing::PersonKeys;
use projections::{identity::erasure, rebuild};
use sqlx::Row as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How often new erasures and finished rebuilds are looked for.
const LOOK: Duration = Duration::from_millis(500);
/// Wait after a failure.
const RETRY: Duration = Duration::from_secs(2);
/// Deadline of one round.
const DEADLINE: Duration = Duration::from_secs(60);
/// Deadline of one statement.
const STATEMENT: Duration = Duration::from_secs(5);
/// Key of the advisory lock of whoever takes the shared steps.
const LOCK: i64 = 0x616e_6e65_616c_0011;

/// Starts the eraser; it ends when `stop` is cancelled.
pub(super) fn start(app: App, keys: Arc<PersonKeys>, stop: CancellationToken) -> JoinHandle<()> {
    let mut eraser = Eraser {
        app,
        keys,
        local_after: 0,
        open: false,
        unread: false,
    };
    tokio::spawn(async move {
        loop {
            let wait = match tokio::time::timeout(DEADLINE, eraser.round()).await {
                Ok(Ok(())) => {
                    eraser.unread = false;
                    LOOK
                }
                Ok(Err(error)) => {
                    eraser.paused(&format!("{error:#}"));
                    RETRY
                }
                Err(_) => {
                    eraser.paused(&format!("it took longer than {} s", DEADLINE.as_secs()));
                    RETRY
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    })
}

struct Eraser {
    app: App,
    keys: Arc<PersonKeys>,
    /// What only this process has (mails in its outbox, folded states) is gone of everybody erased up to here.
    local_after: i64,
    /// Whether an erasure is under way, as far as is known.
    open: bool,
    /// Whether it was told that none can be looked for; once is enough.
    unread: bool,
}

async fn within<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> anyhow::Result<T> {
    Ok(tokio::time::timeout(STATEMENT, work).await??)
}

impl Eraser {
    /// Tells that a round failed: of an erasure only when there is one.
    fn paused(&mut self, error: &str) {
        match (self.open, std::mem::replace(&mut self.unread, !self.open)) {
            (true, _) => tracing::warn!(error, "an erasure paused, trying again"),
            (false, false) => tracing::warn!(
                error,
                "whether a person is to be erased cannot be read, trying again"
            ),
            (false, true) => tracing::debug!(
                error,
                "whether a person is to be erased cannot be read, trying again"
            ),
        }
    }

    async fn round(&mut self) -> anyhow::Result<()> {
        for erased in erasure::after(&self.app.database, self.local_after).await? {
            self.open = true;
            let removed = self.app.mailer.forget(erased.id).await?;
            if removed > 0 {
                tracing::info!(person = %erased.id, removed, "mails of an erased person were removed");
            }
            self.app.ports.aggregates.forget(&User::stream(erased.id));
            self.local_after = erased.position;
        }
        let open = erasure::under_way(&self.app.database).await?;
        self.open = !open.is_empty();
        if open.is_empty() {
            return Ok(());
        }
        let mut lock = self.app.database.begin().await?;
        let taken = sqlx::query_scalar("select pg_try_advisory_xact_lock($1)").bind(LOCK);
        if within(taken.fetch_one(&mut *lock)).await? {
            for erased in open {
                self.carry_on(erased.id).await?;
            }
        }
        within(lock.rollback()).await
    }

    /// Takes the steps that can be taken now.
    async fn carry_on(&self, person: UserId) -> anyhow::Result<()> {
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
            return Ok(());
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
        Ok(())
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
