//! Keeps snapshots of the directory, and finds the one that a start goes on from.
//!
//! One rule: no request waits for it. A snapshot is made from the one before and what the log has after it, never from what
//! requests are answered from; only a start, which nobody waits for, keeps what it has folded itself. What cannot be
//! kept or used is told, and costs the next start time.

use std::{sync::Arc, time::Duration};

use domain::event_store::{EventStore, Position};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::{
    Directory, DirectoryError, FormError, catch_up,
    folded::Rights,
    snapshot::{Snapshot, SnapshotFault, SnapshotKey},
    table::{Entry, Table, within},
};

/// Key of the advisory lock of the process that makes a snapshot.
const LOCK: i64 = 0x616e_6e65_616c_0031;
/// How long an orderly stop waits for the last one.
const LAST: Duration = Duration::from_secs(5);

/// When snapshots are made.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotSettings {
    /// Events of the log from one to the next at least. It is more where there are more accounts and open sessions than
    /// that, so that what is written per event is bounded.
    pub every: u64,
    /// Events that an orderly stop makes one for.
    pub at_stop: u64,
    /// Time from one to the next at least.
    pub pause: Duration,
}

impl Default for SnapshotSettings {
    fn default() -> Self {
        Self {
            every: 20_000,
            at_stop: 1_000,
            pause: Duration::from_secs(10),
        }
    }
}

/// Where snapshots are kept, what proves them, and when they are made.
#[derive(Clone)]
pub struct Snapshots {
    table: Table,
    key: SnapshotKey,
    settings: SnapshotSettings,
}

/// Why no snapshot was kept.
#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Form(#[from] FormError),
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    #[error("the log does not tell what its chain is at position {0}")]
    NoChain(Position),
    #[error("it took too long")]
    TimedOut,
}

/// What a start goes on from.
#[derive(Default)]
pub(super) struct Restored {
    pub(super) rights: Rights,
    /// Up to where it is folded; the start of the log when no snapshot can be used.
    pub(super) kept: Position,
}

impl Snapshots {
    /// In the database of `pool`, proven by `key`.
    #[must_use]
    pub fn new(pool: PgPool, key: SnapshotKey, settings: SnapshotSettings) -> Self {
        let table = Table(pool);
        Self { table, key, settings }
    }

    /// The newest that can be used. Each that is newer and cannot be is told, with the reason.
    pub(super) async fn newest(&self, store: &dyn EventStore) -> Restored {
        let entries = match self.table.entries().await {
            Ok(entries) => entries,
            Err(error) => {
                tracing::warn!(%error, "snapshots of the access directory cannot be read; the log is folded instead");
                return Restored::default();
            }
        };
        for entry in entries {
            match self.open(store, &entry).await {
                Ok(Some(rights)) => {
                    let kept = entry.position;
                    return Restored { rights, kept };
                }
                Ok(None) => {}
                Err(why) => tracing::warn!(
                    position = entry.position.0,
                    %why,
                    "a snapshot of the access directory is not used; an older one or the log is instead"
                ),
            }
        }
        Restored::default()
    }

    async fn open(&self, store: &dyn EventStore, entry: &Entry) -> Result<Option<Rights>, SnapshotFault> {
        entry.check()?;
        match self.table.fetch(entry).await? {
            Some(snapshot) => snapshot.open(store, &self.key).await.map(Some),
            None => Ok(None),
        }
    }
}

/// Keeps the snapshots of one process's directory.
pub(super) struct Keeper {
    store: Arc<dyn EventStore>,
    snapshots: Snapshots,
    /// The position of the newest that is known.
    kept: Position,
    /// What the start has folded, to be kept first.
    first: Option<Snapshot>,
}

impl Keeper {
    /// A start has folded `rights` from `kept` up to `position`; if that was long, it is kept.
    pub(super) async fn new(
        store: Arc<dyn EventStore>,
        snapshots: Snapshots,
        rights: &Rights,
        (kept, position): (Position, Position),
    ) -> Self {
        let mut keeper = Self {
            store,
            snapshots,
            kept,
            first: None,
        };
        if position.0.saturating_sub(kept.0) >= keeper.due(rights.size()) {
            match keeper.seal(rights, position).await {
                Ok(first) => keeper.first = Some(first),
                Err(error) => {
                    tracing::warn!(%error, "no snapshot of the access directory is kept at this start");
                }
            }
        }
        keeper
    }

    /// Events after which another one is made.
    fn due(&self, size: usize) -> u64 {
        self.snapshots.settings.every.max(size as u64)
    }

    async fn seal(&self, rights: &Rights, position: Position) -> Result<Snapshot, KeepError> {
        let chain = self.chain(position).await?;
        Ok(Snapshot::of(rights, position, chain, &self.snapshots.key)?)
    }

    async fn chain(&self, position: Position) -> Result<[u8; 32], KeepError> {
        let chain = self
            .store
            .chain_hash(position)
            .await
            .map_err(DirectoryError::from)?;
        chain.ok_or(KeepError::NoChain(position))
    }

    /// Keeps snapshots until `stop` is cancelled, and then a last one.
    pub(super) async fn keep(mut self, directory: Directory, stop: CancellationToken) {
        if let Some(first) = self.first.take() {
            match self.snapshots.table.add(&first).await {
                Ok(()) => self.kept = first.position,
                Err(error) => tell(&error.into()),
            }
        }
        let mut folded = directory.folded.clone();
        loop {
            let next = self.kept.0.saturating_add(self.due(directory.size()));
            tokio::select! {
                () = stop.cancelled() => break,
                Ok(_) = folded.wait_for(|folded| folded.0 >= next) => {}
                else => break,
            }
            match self.advance(self.due(directory.size())).await {
                Err(KeepError::NoChain(_)) if self.kept == Position::START => {
                    tracing::info!(
                        "this log keeps no chain: the access directory folds it whole at each start"
                    );
                    return;
                }
                Err(error) => tell(&error),
                Ok(()) => {}
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(self.snapshots.settings.pause) => {}
            }
        }
        let at_stop = self.snapshots.settings.at_stop;
        if directory.folded.borrow().0.saturating_sub(self.kept.0) >= at_stop {
            let last = tokio::time::timeout(LAST, self.advance(at_stop)).await;
            if let Err(error) = last.unwrap_or(Err(KeepError::TimedOut)) {
                tell(&error);
            }
        }
    }

    /// Makes the next snapshot, unless another process does, or the newest lies no more than `least` events back.
    async fn advance(&mut self, least: u64) -> Result<(), KeepError> {
        let head = self.store.known_head();
        self.chain(head).await?;
        let mut lock = within(self.snapshots.table.0.acquire()).await?;
        // The lock is that of its session, and ends with it, however this ends.
        lock.close_on_drop();
        let taken = sqlx::query_scalar("select pg_try_advisory_lock($1)").bind(LOCK);
        let taken: bool = within(taken.fetch_one(&mut *lock)).await?;
        if !taken {
            return Ok(());
        }
        let Restored { mut rights, kept } = self.snapshots.newest(self.store.as_ref()).await;
        if head.0.saturating_sub(kept.0) < least {
            self.kept = kept;
            return Ok(());
        }
        let position = catch_up(self.store.as_ref(), &mut rights, kept).await?;
        let (chain, key) = (self.chain(position).await?, self.snapshots.key.clone());
        let made = tokio::task::spawn_blocking(move || Snapshot::of(&rights, position, chain, &key));
        let made = made.await.map_err(|_| KeepError::TimedOut)??;
        self.snapshots.table.add(&made).await?;
        self.kept = position;
        Ok(())
    }
}

fn tell(error: &KeepError) {
    tracing::warn!(%error, "no snapshot of the access directory was kept; the next start takes longer until one is");
}
