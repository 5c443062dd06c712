//! One command on its way: decided on what is remembered, in its turn, recorded; decided anew on the log where that fails.
//!
//! The rule: a decision on remembered states counts only when the append proves it. What records nothing (a denial, a
//! refusal, nothing to do) proves nothing, and is decided again on the log before it is answered.
//!
//! Streams to be written are queued for ([`crate::write_queue`]) once the first decision tells which they are; who had to
//! wait decides again, on what those before have left in memory. Streams that are only checked are not queued for, unless
//! an append was lost there. A turn ends when the append has begun: the next one decides on what is predicted, and names
//! the event that leads there ([`crate::predicted`]). So an append in its turn can only be lost to another process, or with
//! one that was lost before it.

use std::collections::BTreeSet;

use super::{
    Command, Conditions, Context, ExecuteError, Executed, Ports, Refused, append::record,
    denials::record_denial,
};
use crate::{
    aggregate::LoadError,
    aggregate_cache::Ticket,
    authz::{self, Circumstances, Denied, Principal},
    decision::{LoadedState, NewEvents},
    event_store::{Metadata, StreamId},
    loading::{self, Basis},
    request::FirstResult,
    write_queue::Turn,
};

/// How often a decision is taken anew when another writer came first.
const ATTEMPTS: u32 = 16;
/// How often in all, with those that were decided on an append which was lost itself.
const TRIES: u32 = 64;

/// What a decision comes to.
enum Outcome<R> {
    /// This is to be recorded, and comes with a refusal if it is one.
    Record(NewEvents, Option<R>),
    /// Nothing is: it is so already, or the same request was carried out before.
    Nothing(Executed),
}

/// What a decision comes to, or why it fails.
type Decided<C> = Result<Outcome<<C as Command>::Refusal>, ExecuteError<<C as Command>::Refusal>>;

/// See the module.
pub(super) struct Run<'a, C> {
    pub(super) ports: &'a Ports,
    pub(super) principal: &'a Principal,
    pub(super) meta: &'a Metadata,
    pub(super) command: &'a C,
    pub(super) conditions: &'a Conditions,
    /// What was loaded last, and when that began.
    loaded: LoadedState,
    ticket: Ticket,
    /// Streams at which an append was lost.
    lost: BTreeSet<StreamId>,
    turn: Option<Turn>,
}

impl<'a, C: Command> Run<'a, C> {
    pub(super) fn new(
        ports: &'a Ports,
        (principal, meta): (&'a Principal, &'a Metadata),
        command: &'a C,
        conditions: &'a Conditions,
    ) -> Self {
        Self {
            ports,
            principal,
            meta,
            command,
            conditions,
            loaded: LoadedState::default(),
            ticket: ports.aggregates.ticket(),
            lost: BTreeSet::new(),
            turn: None,
        }
    }

    /// Carries the command out.
    pub(super) async fn carry_out(mut self) -> Result<Executed, ExecuteError<C::Refusal>> {
        let mut basis = Basis::Remembered;
        let (mut attempt, mut tries) = (0, 0);
        while attempt < ATTEMPTS && tries < TRIES {
            self.load(basis).await?;
            let (new_events, refusal) = match self.decide(basis).await {
                Ok(Outcome::Record(new_events, refusal)) => (new_events, refusal),
                _ if basis == Basis::Remembered => {
                    basis = Basis::Log;
                    continue;
                }
                Ok(Outcome::Nothing(executed)) => return Ok(executed),
                Err(ExecuteError::Denied(denied)) => return Err(self.refuse(denied).await),
                Err(error) => return Err(error),
            };
            if self.has_to_wait(&new_events).await? {
                basis = Basis::Remembered;
                continue;
            }
            let request = self.conditions.request.as_ref().filter(|_| refusal.is_none());
            let decided = (&self.loaded, self.ticket);
            // Who has lost once is alone under way: where another process writes too, the others would be lost with it.
            let mut kept = None;
            let turn = if tries == 0 { &mut self.turn } else { &mut kept };
            match record(self.ports, self.meta, decided, new_events, request, turn).await? {
                Ok(position) => {
                    let executed = Executed::Now(position);
                    return refusal.map_or(Ok(executed), |reason| Err(ExecuteError::Refused(reason)));
                }
                Err(stream) => {
                    self.lost.extend(self.loaded.holds(&stream).then_some(stream));
                    basis = Basis::Log;
                    super::backoff(attempt).await;
                    attempt += u32::from(!self.loaded.is_predicted());
                    tries += 1;
                }
            }
        }
        Err(ExecuteError::Busy)
    }

    /// Loads what the rights, the command and the conditions name.
    async fn load(&mut self, basis: Basis) -> Result<(), LoadError> {
        if basis == Basis::Log {
            self.ticket = self.ports.aggregates.ticket();
        }
        let (store, aggregates) = (self.ports.store.as_ref(), &self.ports.aggregates);
        let before = (basis, &self.loaded);
        self.loaded = loading::load(store, aggregates, before, |loaded, reads| {
            if let Principal::User(known) = self.principal {
                self.ports.rights.reads(known, loaded, reads);
            }
            if let Some(expected) = &self.conditions.expected {
                expected.reads(reads);
            }
            self.command.reads(loaded, reads);
        })
        .await?;
        Ok(())
    }

    /// Decides on what is loaded: first whether the principal may, then whether the conditions hold.
    async fn decide(&self, basis: Basis) -> Decided<C> {
        let current = self.current().map_err(ExecuteError::Denied)?;
        self.check_permission(&current)?;
        if let Some(first) = self.check_conditions(basis).await? {
            return Ok(Outcome::Nothing(Executed::Before(first)));
        }
        self.decide_as(&current)
    }

    /// Who acts, with the rights that were loaded.
    fn current(&self) -> Result<Principal, Denied> {
        let Principal::User(known) = self.principal else {
            return Ok(self.principal.clone());
        };
        let (rights, now) = (&self.ports.rights, self.ports.clock.now());
        let current = rights.current(known, &self.loaded, now)?;
        Ok(Principal::User(Box::new(current)))
    }

    /// Whether the principal may; otherwise a denial, or a defect of the command.
    fn check_permission(&self, principal: &Principal) -> Result<(), ExecuteError<C::Refusal>> {
        drop(self.loaded.take_undeclared()); // while naming streams, looking at those not loaded yet is fine
        let required = self.command.requires(&self.loaded);
        if let Some(stream) = self.loaded.take_undeclared() {
            return Err(ExecuteError::Defect(format!(
                "is permitted by {stream} without naming it"
            )));
        }
        let circumstances = Circumstances::at(self.ports.clock.now()).from(self.meta.address.clone());
        authz::permit(principal, &required, &circumstances).map_err(ExecuteError::Denied)
    }

    /// The first result of the request, if it was carried out before; otherwise the expected version must be there.
    ///
    /// On the log, the request is looked for after the load: a state that holds what the request did is never decided on
    /// again. On what is remembered it is not looked for, because the append finds it.
    async fn check_conditions(&self, basis: Basis) -> Result<Option<FirstResult>, ExecuteError<C::Refusal>> {
        if basis == Basis::Log
            && let Some(request) = &self.conditions.request
            && let Some(first) = request.recall(self.ports.store.as_ref()).await?
        {
            return Ok(Some(first));
        }
        match &self.conditions.expected {
            Some(expected) if !expected.holds(&self.loaded) => Err(ExecuteError::VersionConflict),
            _ => Ok(None),
        }
    }

    /// What the command decides; who may act, and under which conditions, has been looked at.
    fn decide_as(&self, principal: &Principal) -> Decided<C> {
        let now = self.ports.clock.now();
        let decision = self.command.decide(&self.loaded, &Context { now, principal });
        if let Some(stream) = self.loaded.take_undeclared() {
            return Err(ExecuteError::Defect(format!("reads {stream} without naming it")));
        }
        let (new_events, refusal) = match decision {
            Ok(new_events) => (new_events, None),
            Err(Refused { reason, record }) => (record, Some(reason)),
        };
        match (new_events.defect(), refusal) {
            (Some(defect), _) => Err(ExecuteError::Defect(defect.to_owned())),
            (None, Some(reason)) if new_events.is_empty() => Err(ExecuteError::Refused(reason)),
            (None, None) if new_events.is_empty() => {
                Ok(Outcome::Nothing(Executed::Now(self.ports.store.known_head())))
            }
            (None, refusal) => Ok(Outcome::Record(new_events, refusal)),
        }
    }

    /// Waits for the turn to write `new_events`, unless it is there. Whether what was loaded is behind then, so that it is
    /// to be decided again.
    async fn has_to_wait(&mut self, new_events: &NewEvents) -> Result<bool, ExecuteError<C::Refusal>> {
        let written = new_events.streams().filter(|stream| self.loaded.holds(stream));
        let mut wanted: BTreeSet<StreamId> = written.chain(&self.lost).cloned().collect();
        if let Some(turn) = &self.turn {
            if wanted.is_subset(turn.streams()) {
                return Ok(false);
            }
            wanted.extend(turn.streams().iter().cloned());
        }
        self.turn = None;
        let turn = self.ports.queue.enter(wanted).map_err(|_| ExecuteError::Busy)?;
        turn.come().await;
        let aggregates = &self.ports.aggregates;
        let behind = |(stream, revision)| {
            aggregates.is_further(stream, revision) || aggregates.predicted().is_further(stream, revision)
        };
        let behind = self.loaded.revisions().any(behind);
        self.turn = Some(turn);
        Ok(behind)
    }

    /// The error of a denial, once that is recorded if it is a user's. What people and their programs were refused matters
    /// to an auditor. Strangers are turned away at the transports; a worker that lost a race for a lease has done nothing
    /// wrong.
    async fn refuse(&self, denied: Denied) -> ExecuteError<C::Refusal> {
        if self.principal.user().is_none() {
            return ExecuteError::Denied(denied);
        }
        match record_denial(self.ports, &self.principal.actor(), self.meta, &denied).await {
            Ok(()) => ExecuteError::Denied(denied),
            Err(error) => error,
        }
    }
}
