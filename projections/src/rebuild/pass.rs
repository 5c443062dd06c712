//! One pass over the log for all shadows that are being built.
//!
//! The rule: reading, folding and writing go on at the same time, each a bounded step ahead of the next; what is
//! in memory at any time is at most a few pages and the rows that the limit allows.

use std::{collections::BTreeSet, sync::Arc};

use domain::event_store::{EventStore, Filter, Page, Position, RecordedEvent, StoreError};
use sqlx::{PgConnection, PgPool};
use tokio::{sync::mpsc, task::AbortHandle, time::Instant};

use super::{
    Limits, RebuildError, connect,
    writer::{self, Batch, Writer},
};
use crate::{
    lease::Lease,
    read_model::{Builder, Described, Projector, Write},
};

/// How long rows stay only in memory: so much is folded again when the process ends.
const FLUSH_EACH: std::time::Duration = std::time::Duration::from_secs(30);

/// The shadow of one projection.
pub(super) struct Running {
    pub(super) projector: Arc<dyn Projector>,
    pub(super) builder: Box<dyn Builder>,
    /// How far it is folded.
    pub(super) position: Position,
    /// Whether its tables have their indexes.
    pub(super) complete: bool,
    /// The event that it cannot fold.
    pub(super) failed: Option<(Position, String)>,
}

impl Running {
    /// Folds what of `page` lies after its position and not after `to`. Returns what has to be written now.
    fn fold(&mut self, page: &Page, to: Position, all: bool, limits: Limits) -> Vec<Write> {
        let new_events: Vec<&RecordedEvent> = page
            .events
            .iter()
            .filter(|event| event.position > self.position && event.position <= to)
            .filter(|event| self.projector.wants(event))
            .collect();
        for event in &new_events {
            if let Err(error) = self.builder.fold(event) {
                self.failed = Some((event.position, error.to_string()));
                return Vec::new();
            }
        }
        let full = self.builder.full(limits.memory);
        let keep = !self.builder.crowded(limits.memory);
        let writes = match full || all {
            true => self.builder.take(self.complete, keep),
            false => Ok(Vec::new()),
        };
        match writes {
            Ok(writes) => {
                self.position = self.position.max(page.next.min(to));
                writes
            }
            Err(error) => {
                self.failed = Some((page.next.min(to), error.to_string()));
                Vec::new()
            }
        }
    }

    /// The keys that must be loaded before `page` can be folded.
    fn missing(&mut self, page: &Page, to: Position) -> BTreeSet<String> {
        let mut keys = BTreeSet::new();
        let new_events = page
            .events
            .iter()
            .filter(|event| event.position > self.position && event.position <= to)
            .filter(|event| self.projector.wants(event));
        for event in new_events {
            match self.builder.missing(event) {
                Ok(found) => keys.extend(found),
                Err(error) => {
                    self.failed = Some((event.position, error.to_string()));
                    return BTreeSet::new();
                }
            }
        }
        keys
    }

    /// What failed, if something did.
    pub(super) fn failure(&self) -> Option<RebuildError> {
        let (position, reason) = self.failed.as_ref()?;
        Some(RebuildError::Event {
            projection: self.projector.name(),
            position: *position,
            reason: reason.clone(),
        })
    }
}

/// Reads pages ahead; ends when dropped.
struct Prefetch {
    pages: mpsc::Receiver<Result<Page, StoreError>>,
    task: AbortHandle,
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Prefetch {
    fn start(store: Arc<dyn EventStore>, from: Position, to: Position, page: usize) -> Self {
        let (sender, pages) = mpsc::channel(1);
        let work = async move {
            let mut at = from;
            while at < to {
                let page = store.read_all(at, &Filter::all(), page).await;
                let next = page.as_ref().ok().map(|page| page.next).filter(|next| *next > at);
                if sender.send(page).await.is_err() {
                    return;
                }
                match next {
                    Some(next) => at = next,
                    None => return,
                }
            }
        };
        Self {
            pages,
            task: tokio::spawn(work).abort_handle(),
        }
    }

    async fn next(&mut self) -> Result<Option<Page>, RebuildError> {
        Ok(self.pages.recv().await.transpose()?)
    }
}

/// What a pass needs.
pub(super) struct Pass<'a> {
    pub(super) store: &'a Arc<dyn EventStore>,
    pub(super) pool: &'a PgPool,
    pub(super) lease: Lease,
    pub(super) limits: Limits,
}

fn tables(running: &[Running]) -> Vec<Described> {
    running.iter().flat_map(|one| one.projector.tables()).collect()
}

impl Pass<'_> {
    /// Folds all of `running` that are behind it up to exactly `to`, and writes everything. `heard` is told the
    /// position after each page. A shadow that fails is marked so; the others go on.
    pub(super) async fn run(
        &self,
        running: &mut Vec<Running>,
        to: Position,
        heard: &(dyn Fn(Position) + Sync),
    ) -> Result<(), RebuildError> {
        let behind = |one: &&Running| one.failed.is_none() && one.position < to;
        let Some(from) = running.iter().filter(behind).map(|one| one.position).min() else {
            return Ok(());
        };
        let mut writer = Writer::start(self.pool, self.lease, tables(running)).await?;
        let mut reader = connect(self.pool).await?;
        let mut ahead = Prefetch::start(self.store.clone(), from, to, self.limits.page);
        let mut flushed = Instant::now();
        let mut at = from;
        while at < to {
            let Some(page) = ahead.next().await? else {
                return Err(RebuildError::Ended(at));
            };
            if page.next <= at {
                return Err(RebuildError::Ended(at));
            }
            at = page.next.min(to);
            self.load(running, &page, to, &mut writer, &mut reader).await?;
            let all = at >= to || flushed.elapsed() >= FLUSH_EACH;
            if all {
                flushed = Instant::now();
            }
            let batch = fold(running, page, to, all, self.limits).await?;
            writer.write(batch).await?;
            heard(at);
        }
        writer.settle().await
    }

    /// As [`Pass::run`], for one.
    pub(super) async fn run_one(&self, running: Running, to: Position) -> Result<Running, RebuildError> {
        let mut alone = vec![running];
        self.run(&mut alone, to, &|_| ()).await?;
        alone.pop().ok_or(RebuildError::Interrupted)
    }

    /// Loads the rows that the page needs and that have left memory.
    async fn load(
        &self,
        running: &mut [Running],
        page: &Page,
        to: Position,
        writer: &mut Writer,
        reader: &mut PgConnection,
    ) -> Result<(), RebuildError> {
        for one in running.iter_mut().filter(|one| one.failed.is_none()) {
            let keys = one.missing(page, to);
            if !keys.is_empty() {
                writer.settle().await?;
                one.builder.load(&mut *reader, keys).await?;
            }
        }
        Ok(())
    }
}

/// Folds one page beside the runtime: it is work for a processor, and others want to go on.
async fn fold(
    running: &mut Vec<Running>,
    page: Page,
    to: Position,
    all: bool,
    limits: Limits,
) -> Result<Batch, RebuildError> {
    let mut moved = std::mem::take(running);
    let work = tokio::task::spawn_blocking(move || {
        let mut batch = Batch {
            writes: Vec::new(),
            checkpoints: Vec::new(),
        };
        for one in moved.iter_mut().filter(|one| one.failed.is_none()) {
            let before = one.position;
            let writes = one.fold(&page, to, all, limits);
            // A shadow whose rows are all written stands here; one with rows in memory only, does not.
            if one.failed.is_none() && one.position > before && (all || !writes.is_empty()) {
                batch.checkpoints.push((one.projector.name(), one.position));
            }
            batch.writes.extend(writes);
        }
        (moved, batch)
    });
    let (moved, batch) = work.await.map_err(|_| RebuildError::Interrupted)?;
    *running = moved;
    Ok(batch)
}

/// Folds `page` up to `to` inside the transaction of `connection`, which holds the lock on the live table.
pub(super) async fn fold_locked(
    connection: &mut PgConnection,
    lease: Lease,
    running: &mut Running,
    page: &Page,
    to: Position,
) -> Result<(), RebuildError> {
    let missing = running.missing(page, to);
    if !missing.is_empty() {
        running.builder.load(&mut *connection, missing).await?;
    }
    let writes = running.fold(page, to, true, Limits::default());
    if let Some(failure) = running.failure() {
        return Err(failure);
    }
    writer::apply(&mut *connection, &running.projector.tables(), writes).await?;
    writer::move_checkpoints(connection, lease, &[(running.projector.name(), running.position)]).await
}
