//! The one write path: load → permit → decide → append.
//!
//! What a stream folds into is remembered ([`AggregateCache`]), so that only what is new of it is loaded.
//!
//! The rule: nothing but [`execute`] appends to the log (`tests/it/architecture.rs` proves it). Loading
//! comes before permitting because who may act depends on what the resource is; nothing of what was
//! loaded leaves this function before the permission is given.

use std::time::Duration;

use time::OffsetDateTime;

use crate::{
    access::denial::{DenialEvent, Denials},
    aggregate::DecodeError,
    aggregate_cache::{AggregateCache, Folded},
    authz::{self, Denied, Principal, Requirement},
    clock::Clock,
    event_store::{
        Append, AppendError, Appended, EventStore, Metadata, Position, RecordedEvent, StoreError, StreamId,
    },
    id::Ids,
    world::{Changes, Reads, World},
};

/// How often a decision is taken anew when another writer came first.
const ATTEMPTS: u32 = 16;
/// How often an append of unknown outcome is repeated; event ids make that safe.
const RETRIES: u32 = 3;

/// What a decision may know besides the recorded facts.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The moment of the decision.
    pub now: OffsetDateTime,
    /// Who acts.
    pub principal: &'a Principal,
}

/// A refusal, and the facts that shall be recorded all the same (a failed login is a fact).
#[derive(Debug)]
pub struct Refused<R> {
    /// Why.
    pub reason: R,
    /// What is recorded of it.
    pub record: Changes,
}

impl<R> From<R> for Refused<R> {
    fn from(reason: R) -> Self {
        Self {
            reason,
            record: Changes::none(),
        }
    }
}

/// What a command comes to.
pub type Decision<R> = Result<Changes, Refused<R>>;

/// An intention, named in the imperative. May be refused.
pub trait Command: Send + Sync {
    /// Why the answer may be no: business reasons only.
    type Refusal: std::error::Error + Send + Sync;

    /// Names the streams that the decision looks at. Called again with what was loaded, until it names
    /// nothing new, so that one stream may lead to another.
    fn reads(&self, world: &World, reads: &mut Reads);

    /// What the principal must be permitted to do, and to what.
    fn requires(&self, world: &World) -> Requirement;

    /// The business rule. Pure.
    ///
    /// # Errors
    /// The refusal, with the facts to be recorded about it.
    fn decide(&self, world: &World, context: &Context<'_>) -> Decision<Self::Refusal>;
}

/// Why a command brought nothing about.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError<R> {
    /// The principal may not. Recorded when it is a user.
    #[error(transparent)]
    Denied(Denied),
    /// The business rule said no.
    #[error("{0}")]
    Refused(R),
    /// Others keep changing the same things, or the store has too much to do. Try again.
    #[error("too many changes to the same things at once, try again")]
    Busy,
    /// The log holds what this build cannot read.
    #[error(transparent)]
    Undecodable(#[from] DecodeError),
    /// The command reads a stream that it does not name: a defect of the command.
    #[error("defective command: {0}")]
    Defect(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What the write path needs of its surroundings.
#[derive(Clone)]
pub struct Ports {
    /// The log.
    pub store: std::sync::Arc<dyn EventStore>,
    /// Time.
    pub clock: std::sync::Arc<dyn Clock>,
    /// Fresh ids.
    pub ids: std::sync::Arc<dyn Ids>,
    /// What the log's streams fold into, as far as it is remembered.
    pub aggregates: AggregateCache,
}

impl Ports {
    /// The ports to this log, with nothing remembered of it yet.
    #[must_use]
    pub fn new(
        store: std::sync::Arc<dyn EventStore>,
        clock: std::sync::Arc<dyn Clock>,
        ids: std::sync::Arc<dyn Ids>,
    ) -> Self {
        Self {
            store,
            clock,
            ids,
            aggregates: AggregateCache::default(),
        }
    }
}

/// Runs `command` for `principal`.
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
        let world = load(ports, command).await?;
        check_permission(ports, principal, meta, command, &world).await?;
        let (changes, refusal) = decide(ports, principal, command, &world)?;
        match record(ports, meta, &world, changes).await? {
            Some(position) => {
                return refusal.map_or(Ok(position), |reason| Err(ExecuteError::Refused(reason)));
            }
            None => backoff(attempt).await,
        }
    }
    Err(ExecuteError::Busy)
}

/// Refuses what the principal may not do. A user's denial is recorded.
async fn check_permission<C: Command>(
    ports: &Ports,
    principal: &Principal,
    meta: &Metadata,
    command: &C,
    world: &World,
) -> Result<(), ExecuteError<C::Refusal>> {
    drop(world.take_undeclared()); // while naming streams, looking at those not loaded yet is fine
    let required = command.requires(world);
    if let Some(stream) = world.take_undeclared() {
        return Err(ExecuteError::Defect(format!(
            "is permitted by {stream} without naming it"
        )));
    }
    let Err(denied) = authz::permit(principal, &required) else {
        return Ok(());
    };
    // What people and their programs were refused matters to an auditor. Strangers are turned away at
    // the doors; a worker that lost a race for a lease has done nothing wrong.
    if principal.user().is_some() {
        record_denial(ports, principal, meta, &denied).await?;
    }
    Err(ExecuteError::Denied(denied))
}

/// The facts to be recorded, and the refusal if there is one.
type Outcome<R> = (Changes, Option<R>);

/// What is to be recorded, and the refusal that it comes with, if it is one.
fn decide<C: Command>(
    ports: &Ports,
    principal: &Principal,
    command: &C,
    world: &World,
) -> Result<Outcome<C::Refusal>, ExecuteError<C::Refusal>> {
    let context = Context {
        now: ports.clock.now(),
        principal,
    };
    let decision = command.decide(world, &context);
    if let Some(stream) = world.take_undeclared() {
        return Err(ExecuteError::Defect(format!("reads {stream} without naming it")));
    }
    let (changes, refusal) = match decision {
        Ok(changes) => (changes, None),
        Err(Refused { reason, record }) => (record, Some(reason)),
    };
    match changes.defect() {
        Some(defect) => Err(ExecuteError::Defect(defect.to_owned())),
        None => Ok((changes, refusal)),
    }
}

/// Records `changes`; the position to wait for, or nothing when another writer came first.
async fn record<R>(
    ports: &Ports,
    meta: &Metadata,
    world: &World,
    changes: Changes,
) -> Result<Option<Position>, ExecuteError<R>> {
    if changes.is_empty() {
        return Ok(Some(ports.store.known_head()));
    }
    let writes = world.writes(changes, ports.ids.as_ref());
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

async fn load<C: Command>(ports: &Ports, command: &C) -> Result<World, ExecuteError<C::Refusal>> {
    let mut world = World::default();
    loop {
        let mut reads = Reads::default();
        command.reads(&world, &mut reads);
        let missing = world.missing(&reads);
        if missing.is_empty() {
            return Ok(world);
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
            if let Some(folded) = world.resume(&reads, stream.clone(), known, events)? {
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
    for _ in 0..RETRIES {
        match ports.store.append(append.clone()).await {
            Err(AppendError::Store(StoreError::Unavailable(_))) => {}
            answer => return answer,
        }
    }
    ports.store.append(append).await
}

async fn record_denial<R>(
    ports: &Ports,
    principal: &Principal,
    meta: &Metadata,
    denied: &Denied,
) -> Result<(), ExecuteError<R>> {
    let event = DenialEvent::PermissionDenied {
        action: denied.action.name().to_owned(),
        resource: denied.resource.clone(),
        rule: denied.rule.to_owned(),
    };
    let writes = World::default().writes(
        Changes::record::<Denials>(principal.actor(), &event),
        ports.ids.as_ref(),
    );
    match append(
        ports,
        Append {
            writes,
            meta: meta.clone(),
        },
    )
    .await
    {
        Ok(_) => Ok(()),
        Err(AppendError::Store(error)) => Err(ExecuteError::Store(error)),
        Err(AppendError::Overloaded) => Err(ExecuteError::Busy),
        Err(other) => Err(ExecuteError::Defect(other.to_string())),
    }
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

/// How long a caller may reasonably wait for [`execute`]; doors use it as their deadline.
pub const DEADLINE: Duration = Duration::from_secs(20);
