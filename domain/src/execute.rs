//! The one write path: load → permit → decide → append.
//!
//! Folded streams are cached ([`AggregateCache`]), so that only new events are loaded.
//!
//! Rights are part of what is loaded ([`ReadRights`]), so the append checks the streams that they come from.
//!
//! The rule: nothing but [`execute`] appends to the log (`tests/it/architecture.rs` proves it). Loading
//! comes before permitting because who may act depends on what the resource is; nothing of what was
//! loaded leaves this function before the permission is given.

mod denials;

use std::time::Duration;

pub use denials::record_denial;
use time::OffsetDateTime;

use crate::{
    aggregate::DecodeError,
    aggregate_cache::{AggregateCache, Folded},
    authz::{self, Denied, Principal, ReadRights, Requirement},
    bounded::BoundedRecording,
    clock::Clock,
    decision::{LoadedState, NewEvents, ReadSet},
    event_store::{
        Append, AppendError, Appended, EventStore, Metadata, Position, RecordedEvent, StoreError, StreamId,
    },
    id::Ids,
    recording::Recording,
};

/// How often a decision is taken anew when another writer came first.
const ATTEMPTS: u32 = 16;
/// How often an append of unknown outcome is repeated; event ids make that safe.
const RETRIES: u32 = 3;

/// What a decision may use besides the loaded state.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Time of the decision.
    pub now: OffsetDateTime,
    /// The actor.
    pub principal: &'a Principal,
}

/// A refusal, with events to record nevertheless (a failed login is recorded).
#[derive(Debug)]
pub struct Refused<R> {
    /// The reason.
    pub reason: R,
    /// The events to record.
    pub record: NewEvents,
}

impl<R> From<R> for Refused<R> {
    fn from(reason: R) -> Self {
        Self {
            reason,
            record: NewEvents::none(),
        }
    }
}

/// The result of a decision.
pub type Decision<R> = Result<NewEvents, Refused<R>>;

/// A command, named in the imperative. It may be refused.
pub trait Command: Send + Sync {
    /// Business reasons for refusing the command.
    type Refusal: std::error::Error + Send + Sync;

    /// Declares the streams that the decision reads. Called again with the loaded state until it declares nothing
    /// new, so that one stream may lead to another.
    fn reads(&self, loaded: &LoadedState, reads: &mut ReadSet);

    /// What the principal must be permitted to do, and to what.
    fn requires(&self, loaded: &LoadedState) -> Requirement;

    /// The business rule. Pure.
    ///
    /// # Errors
    /// The refusal, with the events to record about it.
    fn decide(&self, loaded: &LoadedState, context: &Context<'_>) -> Decision<Self::Refusal>;
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError<R> {
    /// The principal may not. Recorded or counted when it is a user.
    #[error(transparent)]
    Denied(Denied),
    /// The business rule refused it.
    #[error("{0}")]
    Refused(R),
    /// Concurrent writers keep changing the same streams, or the store is overloaded. Try again.
    #[error("too many concurrent changes to the same resource, try again")]
    Busy,
    /// The log contains an event that this build cannot decode.
    #[error(transparent)]
    Undecodable(#[from] DecodeError),
    /// The command reads a stream that it does not declare: a defect of the command.
    #[error("defective command: {0}")]
    Defect(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
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
    for attempt in 0..ATTEMPTS {
        let loaded = load(ports, principal, command).await?;
        let permitted = match current(ports, principal, &loaded) {
            Ok(current) => check_permission(&current, command, &loaded)?.map(|()| current),
            Err(denied) => Err(denied),
        };
        let current = match permitted {
            Ok(current) => current,
            Err(denied) => return Err(refuse(ports, principal, meta, denied).await),
        };
        let (new_events, refusal) = decide(ports, &current, command, &loaded)?;
        match record(ports, meta, &loaded, new_events).await? {
            Some(position) => {
                return refusal.map_or(Ok(position), |reason| Err(ExecuteError::Refused(reason)));
            }
            None => backoff(attempt).await,
        }
    }
    Err(ExecuteError::Busy)
}

/// Who acts, with the rights that were loaded.
fn current(ports: &Ports, principal: &Principal, loaded: &LoadedState) -> Result<Principal, Denied> {
    let Principal::User(known) = principal else {
        return Ok(principal.clone());
    };
    let current = ports.rights.current(known, loaded, ports.clock.now())?;
    Ok(Principal::User(Box::new(current)))
}

/// Whether the principal may. The outer error is a defect of the command.
fn check_permission<C: Command>(
    principal: &Principal,
    command: &C,
    loaded: &LoadedState,
) -> Result<Result<(), Denied>, ExecuteError<C::Refusal>> {
    drop(loaded.take_undeclared()); // while naming streams, looking at those not loaded yet is fine
    let required = command.requires(loaded);
    if let Some(stream) = loaded.take_undeclared() {
        return Err(ExecuteError::Defect(format!(
            "is permitted by {stream} without naming it"
        )));
    }
    Ok(authz::permit(principal, &required))
}

/// The error of a denial, once that is recorded if it is a user's. What people and their programs were refused matters to
/// an auditor. Strangers are turned away at the transports; a worker that lost a race for a lease has done nothing wrong.
async fn refuse<R>(ports: &Ports, principal: &Principal, meta: &Metadata, denied: Denied) -> ExecuteError<R> {
    if principal.user().is_none() {
        return ExecuteError::Denied(denied);
    }
    match record_denial(ports, &principal.actor(), meta, &denied).await {
        Ok(()) => ExecuteError::Denied(denied),
        Err(error) => error,
    }
}

/// The facts to be recorded, and the refusal if there is one.
type Outcome<R> = (NewEvents, Option<R>);

/// What is to be recorded, and the refusal that it comes with, if it is one.
fn decide<C: Command>(
    ports: &Ports,
    principal: &Principal,
    command: &C,
    loaded: &LoadedState,
) -> Result<Outcome<C::Refusal>, ExecuteError<C::Refusal>> {
    let context = Context {
        now: ports.clock.now(),
        principal,
    };
    let decision = command.decide(loaded, &context);
    if let Some(stream) = loaded.take_undeclared() {
        return Err(ExecuteError::Defect(format!("reads {stream} without naming it")));
    }
    let (new_events, refusal) = match decision {
        Ok(new_events) => (new_events, None),
        Err(Refused { reason, record }) => (record, Some(reason)),
    };
    match new_events.defect() {
        Some(defect) => Err(ExecuteError::Defect(defect.to_owned())),
        None => Ok((new_events, refusal)),
    }
}

/// Records `new_events`; the position to wait for, or nothing when another writer came first.
async fn record<R>(
    ports: &Ports,
    meta: &Metadata,
    loaded: &LoadedState,
    new_events: NewEvents,
) -> Result<Option<Position>, ExecuteError<R>> {
    if new_events.is_empty() {
        return Ok(Some(ports.store.known_head()));
    }
    let writes = loaded.writes(new_events, ports.ids.as_ref());
    let meta = meta.clone();
    match append(ports, Append { writes, meta }).await {
        Ok(appended) => Ok(Some(appended.position)),
        Err(AppendError::Conflict { stream, actual }) => {
            // A state that is merely behind is brought up to date by the next load.
            ports.aggregates.forget_beyond(&stream, actual);
            Ok(None)
        }
        Err(AppendError::Overloaded) => Err(ExecuteError::Busy),
        Err(AppendError::Store(error)) => Err(ExecuteError::Store(error)),
        Err(error @ (AppendError::IdReused { .. } | AppendError::Malformed(_))) => {
            Err(ExecuteError::Defect(error.to_string()))
        }
    }
}

async fn load<C: Command>(
    ports: &Ports,
    principal: &Principal,
    command: &C,
) -> Result<LoadedState, ExecuteError<C::Refusal>> {
    let mut loaded = LoadedState::default();
    loop {
        let mut reads = ReadSet::default();
        if let Principal::User(known) = principal {
            ports.rights.reads(known, &loaded, &mut reads);
        }
        command.reads(&loaded, &mut reads);
        let missing = loaded.missing(&reads);
        if missing.is_empty() {
            return Ok(loaded);
        }
        let ticket = ports.aggregates.ticket();
        let remembered = |stream: &StreamId| ports.aggregates.get(stream, reads.kind(stream)?);
        let known: Vec<_> = missing.iter().map(remembered).collect();
        let after = |known: &Option<Folded>| {
            known
                .as_ref()
                .and_then(|known| known.revision)
                .map_or(0, |last| last + 1)
        };
        let wanted: Vec<_> = missing.into_iter().zip(known.iter().map(after)).collect();
        let histories = ports.store.load_many(&wanted).await?;
        whole(&wanted, &histories)?;
        for (((stream, _), known), events) in wanted.into_iter().zip(known).zip(&histories) {
            if let Some(folded) = loaded.resume(&reads, stream.clone(), known, events)? {
                ports.aggregates.keep(ticket, &stream, folded);
            }
        }
    }
}

/// Checks that each history begins where it was asked for: a state is exact or there is none.
fn whole(wanted: &[(StreamId, u64)], histories: &[Vec<RecordedEvent>]) -> Result<(), StoreError> {
    if histories.len() != wanted.len() {
        let (asked, answered) = (wanted.len(), histories.len());
        return Err(StoreError::Corrupt(format!(
            "{asked} streams were asked for, {answered} answered"
        )));
    }
    for ((stream, from), history) in wanted.iter().zip(histories) {
        let gap = history
            .iter()
            .zip(*from..)
            .find(|(event, revision)| event.revision != *revision);
        if let Some((_, revision)) = gap {
            return Err(StoreError::Corrupt(format!(
                "stream {stream} has no revision {revision}"
            )));
        }
    }
    Ok(())
}

/// Appends; an unknown outcome is resolved by appending the same events again.
async fn append(ports: &Ports, append: Append) -> Result<Appended, AppendError> {
    let mut answer = ports.store.append(append.clone()).await;
    for _ in 0..RETRIES {
        let Err(AppendError::Store(StoreError::Unavailable(_))) = answer else {
            break;
        };
        answer = ports.store.append(append.clone()).await;
    }
    ports.recording.note(&answer, ports.clock.now());
    answer
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
    let recorded = record(ports, meta, &LoadedState::default(), new_events).await?;
    recorded.ok_or(ExecuteError::Busy)
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
