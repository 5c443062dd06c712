//! The one write path: load → permit → decide → append.
//!
//! Folded streams are cached ([`AggregateCache`]), so that a command loads what is not known yet. Commands that write the
//! same stream take turns ([`WriteQueue`]).
//!
//! Rights are part of what is loaded ([`ReadRights`]), so the append checks the streams that they come from.
//!
//! The rule: nothing but [`execute`] appends to the log (`tests/it/architecture.rs` proves it). Loading
//! comes before permitting because who may act depends on what the resource is; nothing of what was
//! loaded leaves this function before the permission is given.

mod append;
mod denials;
mod run;

use std::time::Duration;

pub use denials::record_denial;

use self::{append::record, run::Run};
use crate::{
    aggregate_cache::AggregateCache,
    authz::{Principal, ReadRights},
    bounded::BoundedRecording,
    clock::Clock,
    decision::{LoadedState, NewEvents},
    event_store::{EventStore, Metadata, Position},
    expectation::Expectation,
    id::Ids,
    recording::Recording,
    request::{FirstResult, Request},
    write_queue::WriteQueue,
};

pub use crate::{
    command::{Command, Context, Decision, ExecuteError, Refused},
    loading::look,
};

/// What a client says beside its command (GQ-2).
#[derive(Default)]
pub struct Conditions {
    /// The request, which is carried out once however often it is sent.
    pub request: Option<Request>,
    /// The version that the thing must have.
    pub expected: Option<Expectation>,
}

/// How a command came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Executed {
    /// Now: at this position is its last event, or everything that was recorded before when there was nothing to do.
    Now(Position),
    /// Before, by the same request: nothing was recorded now.
    Before(FirstResult),
}

impl Executed {
    /// The position to wait for in order to see the wanted state.
    #[must_use]
    pub fn position(&self) -> Position {
        match self {
            Self::Now(position) | Self::Before(FirstResult { position, .. }) => *position,
        }
    }
}

/// Ports of the write path.
#[derive(Clone)]
pub struct Ports {
    /// The log.
    pub store: std::sync::Arc<dyn EventStore>,
    /// Time.
    pub clock: std::sync::Arc<dyn Clock>,
    /// Fresh ids.
    pub ids: std::sync::Arc<dyn Ids>,
    /// How the rights of accounts are read.
    pub rights: std::sync::Arc<dyn ReadRights>,
    /// What the log's streams fold into, as far as it is remembered.
    pub aggregates: AggregateCache,
    /// Whether the log takes what is appended.
    pub recording: Recording,
    /// What was recorded of refusals and reads within the hour.
    pub bounded: BoundedRecording,
    /// Who writes a stream at present, and who is next.
    pub queue: WriteQueue,
}

impl Ports {
    /// The ports to this log, with nothing remembered of it yet.
    #[must_use]
    pub fn new(
        store: std::sync::Arc<dyn EventStore>,
        clock: std::sync::Arc<dyn Clock>,
        ids: std::sync::Arc<dyn Ids>,
        rights: std::sync::Arc<dyn ReadRights>,
    ) -> Self {
        Self {
            store,
            clock,
            ids,
            rights,
            aggregates: AggregateCache::default(),
            recording: Recording::default(),
            bounded: BoundedRecording::default(),
            queue: WriteQueue::default(),
        }
    }
}

/// Runs `command` for `principal`. Of a user only the account and the session count: what they may do is read from the
/// log, with whatever the command reads, and checked by the append.
///
/// Answers with the position of the last recorded event, or with the last position known when there was
/// nothing to record: who waits for that position sees the wanted state.
///
/// # Errors
/// See [`ExecuteError`]. A user's denial is itself recorded.
pub async fn execute<C: Command>(
    ports: &Ports,
    principal: &Principal,
    meta: &Metadata,
    command: &C,
) -> Result<Position, ExecuteError<C::Refusal>> {
    let executed = execute_under(ports, principal, meta, command, &Conditions::default()).await?;
    Ok(executed.position())
}

/// Like [`execute`], under `conditions`. A request that was carried out before is answered with its first result, once
/// the principal is permitted anew. Outcomes without events, refusals among them, are not remembered.
///
/// # Errors
/// See [`ExecuteError`]. A user's denial is itself recorded.
pub async fn execute_under<C: Command>(
    ports: &Ports,
    principal: &Principal,
    meta: &Metadata,
    command: &C,
    conditions: &Conditions,
) -> Result<Executed, ExecuteError<C::Refusal>> {
    let run = Run::new(ports, (principal, meta), command, conditions);
    run.carry_out().await
}

/// Appends events that no state speaks against: what was denied, read or left out.
///
/// # Errors
/// [`ExecuteError`] without a refusal; then nothing is known to be recorded.
pub async fn record_events<R>(
    ports: &Ports,
    meta: &Metadata,
    new_events: NewEvents,
) -> Result<Position, ExecuteError<R>> {
    if let Some(defect) = new_events.defect() {
        return Err(ExecuteError::Defect(defect.to_owned()));
    }
    if new_events.is_empty() {
        return Ok(ports.store.known_head());
    }
    let decided = (&LoadedState::default(), ports.aggregates.ticket());
    let recorded = record(ports, meta, decided, new_events, None, &mut None).await?;
    recorded.map_err(|_| ExecuteError::Busy)
}

/// Yields a few times, more often the more attempts were lost; pure, so without a timer.
async fn backoff(attempt: u32) {
    for _ in 0..(1_u32 << attempt.min(6)) {
        yield_once().await;
    }
}

/// Lets other tasks run once.
async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if yielded {
            return std::task::Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

/// Deadline for callers of [`execute`]; the transports use it as theirs.
pub const DEADLINE: Duration = Duration::from_secs(20);
