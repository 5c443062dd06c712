//! One pass over the log for all shadows that are being built.
//!
//! The rule: reading, folding and writing go on at the same time, each a bounded step ahead of the next; what is
//! in memory at any time is at most three pages, the rows that the limit allows, and what is being written.

use std::{collections::BTreeSet, sync::Arc};

use domain::event_store::{EventStore, Filter, Page, Position, RecordedEvent, StoreError};
use sqlx::{PgConnection, PgPool};
use tokio::{sync::mpsc, task::AbortHandle, time::Instant};

use super::{
    Limits, RebuildError, connect, index,
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

/// The events of a page with the categories of their streams, which each projection asks for.
type Categorized<'p> = [(&'p str, &'p RecordedEvent)];

fn categorized(page: &Page) -> Vec<(&str, &RecordedEvent)> {
    let each = page.events.iter().map(|event| (event.stream.category(), event));
    each.collect()
}

impl Running {
    /// The events that it folds next, up to `to`.
    fn new_events<'p>(&self, events: &Categorized<'p>, to: Position) -> Vec<&'p RecordedEvent> {
        let categories = self.projector.categories();
        events
            .iter()
            .filter(|(category, _)| categories.is_empty() || categories.contains(category))
            .map(|(_, event)| *event)
            .filter(|event| event.position > self.position && event.position <= to)
            .collect()
    }

    /// Folds the events of a page that lie after its position and not after `to`, where the page may end.
    fn fold(&mut self, events: &Categorized<'_>, to: Position) {
        for event in self.new_events(events, to) {
            if let Err(error) = self.builder.fold(event) {
                self.failed = Some((event.position, error.to_string()));
                return;
            }
        }
        self.position = self.position.max(to);
    }

    /// Hands out what is to be written of it. `keep`: its rows stay in memory.
    fn take(&mut self, keep: bool) -> Vec<Write> {
        match self.builder.take(self.complete, keep) {
            Ok(writes) => writes,
            Err(error) => {
                self.failed = Some((self.position, error.to_string()));
                Vec::new()
            }
        }
    }

    /// The keys that must be loaded before a page can be folded.
    fn missing(&mut self, events: &Categorized<'_>, to: Position) -> BTreeSet<String> {
        let mut keys = BTreeSet::new();
        for event in self.new_events(events, to) {
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
        let events = categorized(page);
        for one in running.iter_mut().filter(|one| one.failed.is_none()) {
            let keys = one.missing(&events, to);
            if !keys.is_empty() {
                writer.settle().await?;
                // Without its key, all of the table is read for each page.
                if let Some(table) = one.projector.tables().first() {
                    index::add_key(&mut *reader, *table).await?;
                }
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
        let batch = fold_page(&mut moved, &page, to, all, limits);
        (moved, batch)
    });
    let (moved, batch) = work.await.map_err(|_| RebuildError::Interrupted)?;
    *running = moved;
    Ok(batch)
}

fn fold_page(running: &mut [Running], page: &Page, to: Position, all: bool, limits: Limits) -> Batch {
    let (events, to) = (categorized(page), page.next.min(to));
    let mut batch = Batch::default();
    let mut moved = Vec::new();
    for one in running.iter_mut().filter(|one| one.failed.is_none()) {
        let before = one.position;
        one.fold(&events, to);
        if one.failed.is_none() && one.position > before {
            moved.push(one);
        }
    }
    let limit = leaving(&moved, limits.memory);
    for one in moved {
        let leave = one.builder.size() >= limit;
        if !(all || leave || one.builder.full(limits.memory)) {
            continue;
        }
        let writes = one.take(!leave);
        // A shadow whose rows are all written stands here; one with rows in memory only, does not.
        if one.failed.is_none() && (all || !writes.is_empty()) {
            batch.checkpoints.push((one.projector.name(), one.position));
        }
        batch.writes.extend(writes);
    }
    batch
}

/// Shadows of this size have to give up memory: the largest ones, so that the others together keep three quarters of
/// `limit`. None while all of them keep less.
fn leaving(running: &[&mut Running], limit: usize) -> usize {
    let mut sizes: Vec<usize> = running.iter().map(|one| one.builder.size()).collect();
    let mut total: usize = sizes.iter().sum();
    if total <= limit {
        return usize::MAX;
    }
    sizes.sort_unstable();
    while let Some(size) = sizes.pop() {
        total -= size;
        if total <= limit / 4 * 3 {
            return size.max(1);
        }
    }
    1
}

/// Folds `page` up to `to` inside the transaction of `connection`, which holds the lock on the live table.
pub(super) async fn fold_locked(
    connection: &mut PgConnection,
    lease: Lease,
    running: &mut Running,
    page: &Page,
    to: Position,
) -> Result<(), RebuildError> {
    let events = categorized(page);
    let missing = running.missing(&events, to);
    if !missing.is_empty() {
        running.builder.load(&mut *connection, missing).await?;
    }
    running.fold(&events, page.next.min(to));
    let writes = match running.failed {
        None => running.take(true),
        Some(_) => Vec::new(),
    };
    if let Some(failure) = running.failure() {
        return Err(failure);
    }
    writer::apply(&mut *connection, &running.projector.tables(), writes).await?;
    writer::move_checkpoints(connection, lease, &[(running.projector.name(), running.position)]).await
}
