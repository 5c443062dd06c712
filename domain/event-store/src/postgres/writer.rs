//! The one task of a process that appends: group commit.
//!
//! The rule: an answer is given only after COMMIT returned, or after the log was asked. Whatever waits is
//! taken at once, without a timer; while one batch is being flushed to disk, the next one gathers.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use domain::{
    clock::{Clock, to_micros},
    event_store::{AppendError, Appended, Expected, StoreError},
};
use sqlx::postgres::PgConnectOptions;
use time::OffsetDateTime;
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc, oneshot};
use uuid::Uuid;

use super::{
    Settings,
    decide::{Decision, Memory, Placed, Snapshot, decide},
    failure::WriteFailure,
    recent::Recent,
    session::{Head, Session},
    tail::KnownHead,
};
use crate::prepared::Prepared;

/// Most appends in one batch.
const BATCH_APPENDS: usize = 512;
/// A batch takes no further append once it has this many bytes.
const BATCH_BYTES: usize = 4 << 20;
/// How often the log may be found elsewhere than its head row says before it counts as damaged.
const MOVED_AT_MOST: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

type Answer = Result<Appended, AppendError>;

/// An append that waits for its answer.
pub(super) struct Request {
    pub(super) prepared: Arc<Prepared>,
    pub(super) answer: oneshot::Sender<Answer>,
    /// Its share of the queue's bytes.
    pub(super) _room: OwnedSemaphorePermit,
}

/// What keeps the writer from recording while it tries again, if it is more than a broken connection.
#[derive(Clone, Default)]
pub(super) struct Obstacle(Arc<Mutex<Option<StoreError>>>);

impl Obstacle {
    pub(super) fn get(&self) -> Option<StoreError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, obstacle: Option<StoreError>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = obstacle;
    }
}

/// See the module.
pub(super) struct Writer {
    pub(super) options: PgConnectOptions,
    pub(super) settings: Settings,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) queue: mpsc::Receiver<Request>,
    pub(super) closing: Arc<Notify>,
    pub(super) head: KnownHead,
    pub(super) recent: Recent,
    pub(super) obstacle: Obstacle,
    pub(super) session: Option<Session>,
    pub(super) memory: Memory,
}

impl Writer {
    /// Works until the store is closed or dropped and nothing waits any more.
    pub(super) async fn run(mut self) {
        while let Some(batch) = self.gather().await {
            self.record(batch).await;
        }
    }

    async fn gather(&mut self) -> Option<Vec<Request>> {
        let first = loop {
            tokio::select! {
                first = self.queue.recv() => break first?,
                // What waits already is still taken; recv then ends with None.
                () = self.closing.notified() => self.queue.close(),
            }
        };
        let mut bytes = first.prepared.bytes;
        let mut batch = vec![first];
        while batch.len() < BATCH_APPENDS && bytes < BATCH_BYTES {
            let Ok(next) = self.queue.try_recv() else { break };
            bytes += next.prepared.bytes;
            batch.push(next);
        }
        metrics::gauge!("event_store_queue_depth").set(self.queue.len() as f64);
        Some(batch)
    }

    /// Answers every request of `batch`. A request that cannot be stored is found by halving.
    async fn record(&mut self, batch: Vec<Request>) {
        let mut work = vec![batch];
        while let Some(mut batch) = work.pop() {
            if let Some(why) = self.record_or_blame(&mut batch).await {
                if batch.len() == 1 {
                    answer_all(
                        &mut batch,
                        &AppendError::Malformed(format!("PostgreSQL refuses it: {why}")),
                    );
                } else {
                    let later = batch.split_off(batch.len() / 2);
                    work.extend([later, batch]);
                }
            }
        }
    }

    /// Tries until every request is answered or its caller has gone; gives back why PostgreSQL refuses the
    /// content, if it does.
    async fn record_or_blame(&mut self, batch: &mut Vec<Request>) -> Option<String> {
        let mut suspect = false;
        let mut moved = 0;
        let mut pause = FIRST_PAUSE;
        loop {
            batch.retain(|request| !request.answer.is_closed());
            if batch.is_empty() {
                return None;
            }
            let attempt = self.attempt(batch, suspect).await;
            self.obstacle.set(match &attempt {
                Err(WriteFailure::ReadOnly(why)) => Some(StoreError::ReadOnly(why.clone())),
                _ => None,
            });
            match attempt {
                Ok(answers) => {
                    answer_each(batch, answers);
                    fail::fail_point!("append.answered");
                    return None;
                }
                Err(WriteFailure::Poison(why)) => return Some(why),
                Err(WriteFailure::Refused(why)) => {
                    tracing::error!(%why, appends = batch.len(), "the event store refuses to record");
                    answer_all(batch, &AppendError::Store(why));
                    return None;
                }
                Err(WriteFailure::IdTaken) => suspect = true,
                Err(WriteFailure::Moved(why)) => {
                    moved += 1;
                    if moved >= MOVED_AT_MOST {
                        let why = format!("its head row is not at its last event: {why}");
                        answer_all(batch, &AppendError::Store(StoreError::Corrupt(why)));
                        return None;
                    }
                }
                Err(WriteFailure::Lost(why) | WriteFailure::ReadOnly(why)) => {
                    tracing::warn!(%why, appends = batch.len(), "the event store is out of reach, trying again");
                    metrics::counter!("event_store_reconnects_total").increment(1);
                    // Perhaps it was recorded: the next attempt looks the ids up first.
                    suspect = true;
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// One transaction. Afterwards the session is ready for the next one, or gone.
    async fn attempt(&mut self, batch: &[Request], suspect: bool) -> Result<Vec<Answer>, WriteFailure> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => Session::open(&self.options, self.settings.statement_limit).await?,
        };
        match self.transact(&mut session, batch, suspect).await {
            Ok(answers) => {
                self.session = Some(session);
                Ok(answers)
            }
            // A connection in an unknown state is not used again.
            Err(lost @ (WriteFailure::Lost(_) | WriteFailure::ReadOnly(_))) => Err(lost),
            Err(trouble) => {
                self.memory.forget();
                self.session = session.roll_back().await.is_ok().then_some(session);
                Err(trouble)
            }
        }
    }

    async fn transact(
        &mut self,
        session: &mut Session,
        batch: &[Request],
        suspect: bool,
    ) -> Result<Vec<Answer>, WriteFailure> {
        let head = lock(session).await?;
        self.memory.stand_at(head.position);
        let streams = batch
            .iter()
            .flat_map(|request| &request.prepared.writes)
            .map(|write| &write.stream);
        session.learn(&mut self.memory.ends, streams).await?;
        let at = to_micros(self.clock.now()).max(head.at);
        let known = HashMap::new();
        let snapshot = Snapshot {
            ends: &self.memory.ends,
            known: &known,
            head: head.position,
            at,
        };
        let Decision {
            answers,
            placed,
            moved,
            ..
        } = decide_after_look_up(session, batch, suspect, snapshot).await?;
        metrics::counter!("event_store_conflicts_total").increment(count_conflicts(&answers));
        if placed.is_empty() {
            session.roll_back().await?;
            self.memory.keep(head.position, []);
            return Ok(answers);
        }
        let head = commit(session, &head, &placed, at).await?;
        self.memory.keep(head.position, moved);
        // Before the head moves: whoever it wakes finds them here.
        self.recent.push(&placed, at);
        self.head.advance(head.position);
        metrics::histogram!("event_store_batch_events").record(placed.len() as f64);
        Ok(answers)
    }
}

/// Begins the transaction of a batch.
async fn lock(session: &mut Session) -> Result<Head, WriteFailure> {
    fail::fail_point!("append.before_lock", |_| Err(WriteFailure::Lost(
        "append.before_lock".to_owned()
    )));
    let head = session.lock().await?;
    fail::fail_point!("append.after_lock", |_| Err(WriteFailure::Lost(
        "append.after_lock".to_owned()
    )));
    Ok(head)
}

/// Decides `batch` on `snapshot`, with the ids looked up that may be in the log already.
async fn decide_after_look_up<'a>(
    session: &mut Session,
    batch: &'a [Request],
    suspect: bool,
    snapshot: Snapshot<'_, '_>,
) -> Result<Decision<'a>, WriteFailure> {
    let appends = || batch.iter().map(|request| &request.prepared);
    let suspects = appends().filter(|_| suspect).flat_map(|append| append.ids());
    let expected = unknown_ends(batch, snapshot);
    let known = session
        .look_up(&suspects.chain(expected.iter().copied()).collect::<Vec<_>>())
        .await?;
    let first = decide(
        appends(),
        Snapshot {
            known: &known,
            ..snapshot
        },
    );
    // A stream that has moved on may have been moved by the first try of this very append.
    let mut conflicting = conflicting(appends().filter(|_| !suspect), &first);
    if conflicting.is_empty() {
        return Ok(first);
    }
    conflicting.extend(expected);
    let found = session.look_up(&conflicting).await?;
    Ok(decide(
        appends(),
        Snapshot {
            known: &found,
            ..snapshot
        },
    ))
}

/// The events that `batch` expects at the end of streams of which it is not known which event that is, as after another
/// process has appended.
fn unknown_ends(batch: &[Request], snapshot: Snapshot<'_, '_>) -> Vec<Uuid> {
    let writes = batch.iter().flat_map(|request| &request.prepared.writes);
    let unknown = writes.filter_map(|write| match write.expected {
        Expected::At { id, .. } => {
            let end = snapshot.ends.get(&write.stream).copied().flatten();
            end.is_some_and(|last| last.id.is_none()).then_some(id)
        }
        Expected::Any | Expected::NoStream | Expected::Exact(_) => None,
    });
    unknown.collect()
}

/// Records `placed` after `head`, for good; the new head.
async fn commit(
    session: &mut Session,
    head: &Head,
    placed: &[Placed<'_>],
    at: OffsetDateTime,
) -> Result<Head, WriteFailure> {
    fail::fail_point!("append.before_insert", |_| Err(WriteFailure::Lost(
        "append.before_insert".to_owned()
    )));
    let head = session.write(head, placed, at).await?;
    fail::fail_point!("append.before_commit", |_| Err(WriteFailure::Lost(
        "append.before_commit".to_owned()
    )));
    session.commit().await?;
    fail::fail_point!("append.after_commit", |_| Err(WriteFailure::Lost(
        "append.after_commit".to_owned()
    )));
    Ok(head)
}

/// Ids of the appends that conflict.
fn conflicting<'a>(appends: impl Iterator<Item = &'a Arc<Prepared>>, decision: &Decision<'_>) -> Vec<Uuid> {
    appends
        .zip(&decision.answers)
        .filter(|(_, answer)| matches!(answer, Err(AppendError::Conflict { .. })))
        .flat_map(|(append, _)| append.ids())
        .collect()
}

fn count_conflicts(answers: &[Answer]) -> u64 {
    answers
        .iter()
        .filter(|answer| matches!(answer, Err(AppendError::Conflict { .. })))
        .count() as u64
}

/// A caller that has gone needs no answer.
fn answer_each(batch: &mut Vec<Request>, answers: Vec<Answer>) {
    for (request, answer) in batch.drain(..).zip(answers) {
        drop(request.answer.send(answer));
    }
}

fn answer_all(batch: &mut Vec<Request>, error: &AppendError) {
    let answers = vec![Err(error.clone()); batch.len()];
    answer_each(batch, answers);
}
