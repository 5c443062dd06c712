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

use crate::{
    aggregate::LoadError,
    aggregate_cache::AggregateCache,
    authz::{self, Circumstances, Denied, Principal, ReadRights},
    bounded::BoundedRecording,
    clock::Clock,
    decision::{LoadedState, NewEvents},
    event_store::{Append, AppendError, Appended, EventStore, Metadata, Position, StoreError},
    expectation::Expectation,
    id::Ids,
    loading,
    recording::Recording,
    request::{FirstResult, Request},
};

pub use crate::command::{Command, Context, Decision, ExecuteError, Refused};

/// How often a decision is taken anew when another writer came first.
const ATTEMPTS: u32 = 16;
/// How often an append of unknown outcome is repeated; event ids make that safe.
const RETRIES: u32 = 3;

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
    for attempt in 0..ATTEMPTS {
        let loaded = load(ports, principal, command, conditions).await?;
        let circumstances = Circumstances::at(ports.clock.now()).from(meta.address.clone());
        let permitted = match current(ports, principal, &loaded) {
            Ok(current) => check_permission(&current, command, &loaded, &circumstances)?.map(|()| current),
            Err(denied) => Err(denied),
        };
        let current = match permitted {
            Ok(current) => current,
            Err(denied) => return Err(refuse(ports, principal, meta, denied).await),
        };
        if let Some(first) = check_conditions(ports, &loaded, conditions).await? {
            return Ok(Executed::Before(first));
        }
        let outcome = decide(ports, &current, command, &loaded)?;
        let refusal = outcome.1;
        let request = conditions.request.as_ref().filter(|_| refusal.is_none());
        match record(ports, meta, &loaded, outcome.0, request).await? {
            Some(position) => {
                let executed = Executed::Now(position);
                return refusal.map_or(Ok(executed), |reason| Err(ExecuteError::Refused(reason)));
            }
            None => backoff(attempt).await,
        }
    }
    Err(ExecuteError::Busy)
}

/// The first result of the request, if it was carried out before; otherwise the expected version must be there.
///
/// The request is looked for after the load: a state that holds what the request did is never decided on again.
async fn check_conditions<R>(
    ports: &Ports,
    loaded: &LoadedState,
    conditions: &Conditions,
) -> Result<Option<FirstResult>, ExecuteError<R>> {
    if let Some(request) = &conditions.request
        && let Some(first) = request.recall(ports.store.as_ref()).await?
    {
        return Ok(Some(first));
    }
    match &conditions.expected {
        Some(expected) if !expected.holds(loaded) => Err(ExecuteError::VersionConflict),
        _ => Ok(None),
    }
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
    circumstances: &Circumstances,
) -> Result<Result<(), Denied>, ExecuteError<C::Refusal>> {
    drop(loaded.take_undeclared()); // while naming streams, looking at those not loaded yet is fine
    let required = command.requires(loaded);
    if let Some(stream) = loaded.take_undeclared() {
        return Err(ExecuteError::Defect(format!(
            "is permitted by {stream} without naming it"
        )));
    }
    Ok(authz::permit(principal, &required, circumstances))
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

/// Records `new_events`, and with them the request that they carry out; the position to wait for, or nothing when
/// another writer came first.
async fn record<R>(
    ports: &Ports,
    meta: &Metadata,
    loaded: &LoadedState,
    new_events: NewEvents,
    request: Option<&Request>,
) -> Result<Option<Position>, ExecuteError<R>> {
    if new_events.is_empty() {
        return Ok(Some(ports.store.known_head()));
    }
    let mut writes = loaded.writes(new_events, ports.ids.as_ref());
    let completed = request.map(|request| request.completed(ports.ids.as_ref()));
    writes.extend(
        completed
            .transpose()
            .map_err(|error| ExecuteError::Defect(error.to_string()))?,
    );
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

/// Loads what the rights, the command and the conditions name.
async fn load<C: Command>(
    ports: &Ports,
    principal: &Principal,
    command: &C,
    conditions: &Conditions,
) -> Result<LoadedState, LoadError> {
    loading::load(ports.store.as_ref(), &ports.aggregates, |loaded, reads| {
        if let Principal::User(known) = principal {
            ports.rights.reads(known, loaded, reads);
        }
        if let Some(expected) = &conditions.expected {
            expected.reads(reads);
        }
        command.reads(loaded, reads);
    })
    .await
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
    let recorded = record(ports, meta, &LoadedState::default(), new_events, None).await?;
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
