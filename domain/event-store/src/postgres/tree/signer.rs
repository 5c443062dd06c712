//! The task that signs checkpoints while events come in.
//!
//! The rule: one process signs at a time (a session lock of the database), a checkpoint is recorded with its
//! tiles in one transaction before it is exported, and before anything is signed, the chain of the new events
//! and the consistency with the checkpoint before are verified. What does not fit ends the signing of this
//! process with an alarm; it never goes on by itself.

use std::{sync::Arc, time::Duration};

use domain::clock::Clock;
use sqlx::{Connection as _, PgConnection, postgres::PgConnectOptions};
use tokio::{sync::watch, time::Instant};

use super::{
    super::{
        connect::{Plans, become_app_role},
        failure::{describe, within},
        session::unsigned,
    },
    STATEMENT,
    events::{self, EventRows},
    nodes, rows,
    state::{Signed, SigningError, take_up},
};
use crate::integrity::{
    ChainedEvent, Checkpoint, CheckpointFolder, Fault, Signer, Tile, Tip, Tree, consistency_spans, leaf,
    leaf_hash, root_of, tiles_for, verify_consistency,
};

/// The session lock of the signer: "annealtr". Advisory locks belong to one database.
const LOCK: i64 = 0x616e_6e65_616c_7472;
/// Most events under one further checkpoint: what a transaction and memory have to bear.
const ROUND: u64 = 20_000;
/// Positions that are asked for at a time.
const PAGE: u64 = 2_048;
/// How long one round may take in the database.
const ROUND_LIMIT: Duration = Duration::from_secs(60);
/// How long to wait before trying again when another process signs, or the database fails.
const RETRY: Duration = Duration::from_secs(1);

/// Wait after the first export that failed, and the longest one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How signing goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SigningState {
    /// This process does not sign.
    Off,
    /// Another process signs.
    Standby,
    /// Everything up to this position is signed.
    Signed(u64),
    /// The database does not answer, or the folder of checkpoints cannot be used; signing goes on when that passes.
    Waiting(String),
    /// The log does not fit what was signed. Nothing is signed until somebody has looked and started anew.
    Alarm(String),
}

/// See the module.
pub(super) struct TreeSigner {
    pub(super) options: PgConnectOptions,
    pub(super) key: Signer,
    pub(super) folder: CheckpointFolder,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) interval: Duration,
    pub(super) told: watch::Sender<SigningState>,
    /// When the export that failed is tried again.
    pub(super) retry: Option<Retry>,
    /// Why the newest checkpoint cannot be exported.
    pub(super) export_failure: watch::Sender<Option<String>>,
    pub(super) stopped: watch::Receiver<bool>,
}

impl TreeSigner {
    /// Signs until it is stopped or has to give the alarm.
    pub(super) async fn run(mut self) {
        loop {
            match self.sign_while_leading().await {
                Ok(()) if self.ended() => return,
                // Another process signs.
                Ok(()) => self.tell(SigningState::Standby),
                Err(passing @ (SigningError::Database(_) | SigningError::Folder(_))) => {
                    let why = match passing {
                        SigningError::Database(error) => describe(&error),
                        SigningError::Folder(why) | SigningError::Alarm(why) => why,
                    };
                    if !matches!(*self.told.borrow(), SigningState::Waiting(_)) {
                        tracing::warn!(%why, "no checkpoints can be signed now, trying again");
                    }
                    self.tell(SigningState::Waiting(why));
                    // The last chance was this one.
                    if self.ended() {
                        return;
                    }
                }
                Err(SigningError::Alarm(why)) => {
                    tracing::error!(
                        %why,
                        "ALARM: the event log does not fit what was signed; no checkpoint is signed any more. Keep \
                         everything as it is and run `anneal audit verify`"
                    );
                    metrics::gauge!("audit_signing_alarm").set(1.0);
                    self.tell(SigningState::Alarm(why));
                    return;
                }
            }
            self.pause(RETRY.max(self.interval)).await;
        }
    }

    /// Whether it was stopped, or whoever could stop it has gone.
    fn ended(&self) -> bool {
        *self.stopped.borrow() || self.stopped.has_changed().is_err()
    }

    fn tell(&self, state: SigningState) {
        self.told.send_if_modified(|told| {
            let other = *told != state;
            *told = state;
            other
        });
    }

    /// Waits, or until it is stopped.
    async fn pause(&mut self, time: Duration) {
        // An error means that nobody is there to stop us: see `ended`.
        drop(tokio::time::timeout(time, self.stopped.wait_for(|stopped| *stopped)).await);
    }

    /// Returns when it was stopped, or at once when another process holds the lock.
    async fn sign_while_leading(&mut self) -> Result<(), SigningError> {
        let mut connection = within(STATEMENT, connect(&self.options)).await?;
        let locked = sqlx::query_scalar("select pg_try_advisory_lock($1)").bind(LOCK);
        let locked: bool = within(STATEMENT, locked.fetch_one(&mut connection)).await?;
        if !locked {
            return Ok(());
        }
        let mut signed = self
            .limited(take_up(&mut connection, self.key.verifier(), &self.folder))
            .await?;
        metrics::gauge!("audit_signing_alarm").set(0.0);
        loop {
            // Read before the round: what was recorded before the stop is signed by the round after it.
            let stopping = self.ended();
            loop {
                let more = self.limited(self.round(&mut connection, &mut signed)).await?;
                self.export(&mut signed, stopping).await;
                self.tell(SigningState::Signed(signed.tree.size()));
                // A long stretch that was recorded while nobody signed is exported as it goes.
                if !more {
                    break;
                }
            }
            if stopping {
                drop(connection.close().await);
                return Ok(());
            }
            self.pause(self.interval).await;
        }
    }

    async fn limited<T>(
        &self,
        work: impl Future<Output = Result<T, SigningError>>,
    ) -> Result<T, SigningError> {
        match tokio::time::timeout(ROUND_LIMIT, work).await {
            Ok(done) => done,
            Err(_) => Err(SigningError::Database(sqlx::Error::Io(std::io::Error::new(
                std::io::ErrorKind::TimedOut,
                "PostgreSQL did not answer in time",
            )))),
        }
    }

    /// Signs the next events, if there are any. Returns whether there may be more.
    async fn round(&self, connection: &mut PgConnection, signed: &mut Signed) -> Result<bool, SigningError> {
        let from = signed.tree.size();
        let end = sqlx::query_scalar::<_, i64>("select pos from event_head").fetch_one(&mut *connection);
        let end = unsigned(end.await?)?;
        if end == from {
            return Ok(false);
        }
        if end < from {
            return Err(SigningError::Alarm(format!(
                "the log ends at {end}, but {from} events are signed: it was cut off"
            )));
        }
        let to = end.min(from + ROUND);
        let mut growth = Growth {
            tip: signed.tip,
            tree: signed.tree.clone(),
            tiles: Vec::new(),
            fault: None,
        };
        let mut after = from;
        while after < to && growth.fault.is_none() {
            let until = (after + PAGE).min(to);
            events::read(connection, after, until, &mut growth).await?;
            after = until;
        }
        if let Some(fault) = &growth.fault {
            return Err(SigningError::Alarm(fault.to_string()));
        }
        if growth.tip.position != to {
            return Err(SigningError::Alarm(format!(
                "position {} is missing, although the head says {end}",
                growth.tip.position + 1
            )));
        }
        let checkpoint = self.record(connection, signed, &growth).await?;
        metrics::gauge!("audit_signed_position").set(to as f64);
        *signed = Signed {
            tip: growth.tip,
            tree: growth.tree,
            newest: Some(checkpoint),
            exported: signed.exported,
        };
        Ok(to < end)
    }

    /// Records tiles and checkpoint of `growth`, after the checkpoint before was looked at once more.
    async fn record(
        &self,
        connection: &mut PgConnection,
        signed: &Signed,
        growth: &Growth,
    ) -> Result<Checkpoint, SigningError> {
        let mut transaction = connection.begin().await?;
        let before = rows::newest(&mut transaction).await?;
        let same = match (&before, &signed.newest) {
            (None, None) => true,
            (Some(row), Some(newest)) => row.note == newest.note,
            _ => false,
        };
        if !same {
            return Err(SigningError::Alarm(
                "the newest recorded checkpoint is not the one that was signed last".to_owned(),
            ));
        }
        rows::insert_tiles(&mut transaction, &growth.tiles).await?;
        let size = growth.tree.size();
        if let Some(newest) = &signed.newest {
            let spans = consistency_spans(newest.size, size).unwrap_or_default();
            let tiles = nodes::tiles(&mut transaction, &tiles_for(&spans)).await?;
            let proof: Option<Vec<_>> = spans.iter().map(|span| root_of(span, &tiles)).collect();
            let (old, new) = ((newest.size, &newest.root), (size, &growth.tree.root()));
            if !proof.is_some_and(|proof| verify_consistency(old, new, &proof)) {
                return Err(SigningError::Alarm(format!(
                    "the tree of {size} events is not consistent with the signed one of {} events",
                    newest.size
                )));
            }
        }
        let checkpoint = Checkpoint::sign(size, growth.tree.root(), &self.key)
            .map_err(|error| SigningError::Alarm(format!("no checkpoint could be signed: {error}")))?;
        sqlx::query("insert into event_tree_head (size, root, note, at) values ($1, $2, $3, $4)")
            .bind(rows::signed(size)?)
            .bind(checkpoint.root.as_slice())
            .bind(&checkpoint.note)
            .bind(self.clock.now())
            .execute(&mut *transaction)
            .await?;
        fail::fail_point!("signer.before_commit");
        transaction.commit().await?;
        fail::fail_point!("signer.recorded");
        Ok(checkpoint)
    }

    /// Exports the newest checkpoint, if it is not yet. A folder that fails is tried again, each time after twice as
    /// long; `last`: it is tried in any case.
    async fn export(&mut self, signed: &mut Signed, last: bool) {
        let due = |retry: &Option<Retry>| last || retry.as_ref().is_none_or(Retry::is_due);
        let Some(newest) = signed
            .newest
            .as_ref()
            .filter(|newest| newest.size > signed.exported && due(&self.retry))
        else {
            return;
        };
        let (folder, checkpoint, at) = (self.folder.clone(), newest.clone(), self.clock.now());
        let added = tokio::task::spawn_blocking(move || folder.add(&checkpoint, at)).await;
        match added
            .map_err(|error| error.to_string())
            .and_then(|added| added.map_err(|error| error.to_string()))
        {
            Ok(()) => {
                fail::fail_point!("signer.exported");
                signed.exported = newest.size;
                metrics::gauge!("audit_export_failing").set(0.0);
                if self.retry.take().is_some() {
                    tracing::info!(size = newest.size, "checkpoints can be exported again");
                }
                self.export_failure.send_replace(None);
            }
            Err(error) => {
                metrics::gauge!("audit_export_failing").set(1.0);
                let retry = Retry::after(self.retry.take());
                let again = retry.pause.as_secs();
                tracing::error!(%error, "the newest checkpoint cannot be exported; trying again in {again} s");
                self.retry = Some(retry);
                self.export_failure.send_replace(Some(error));
            }
        }
    }
}

async fn connect(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    let mut connection = PgConnection::connect_with(options).await?;
    become_app_role(&mut connection, "60s", Plans::ByIndex).await?;
    Ok(connection)
}

/// When an export that failed is tried again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retry {
    at: Instant,
    pause: Duration,
}

impl Retry {
    /// After a failure, or one more after `before`.
    fn after(before: Option<Self>) -> Self {
        let pause = before.map_or(FIRST_PAUSE, |before| (before.pause * 2).min(LONGEST_PAUSE));
        Self {
            at: Instant::now() + pause,
            pause,
        }
    }

    fn is_due(&self) -> bool {
        Instant::now() >= self.at
    }
}

/// The tree as it grows by the events of a round.
struct Growth {
    tip: Tip,
    tree: Tree,
    tiles: Vec<Tile>,
    fault: Option<Fault>,
}

impl EventRows for Growth {
    async fn take(&mut self, batch: Vec<ChainedEvent>) -> Result<(), sqlx::Error> {
        for event in batch {
            let prints = event.prints();
            if self.fault.is_none() {
                self.fault = self.tip.advance_with(&event, &prints).err();
            }
            if self.fault.is_none() {
                self.tree
                    .push(leaf_hash(&leaf(&event.link(&prints))), &mut self.tiles);
            }
        }
        // Other tasks of this thread have their turn.
        tokio::task::yield_now().await;
        Ok(())
    }
}
