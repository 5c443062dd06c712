//! Process managers: what follows from an event beyond its own append (NO-3, E1).
//!
//! One rule: a reactor is pure. It is shown an event and what the log says now, and answers with effects; it is asked again
//! for each try, so that nothing is kept but ids, and what has become pointless is not done. The [`runner`] owns checkpoint,
//! lease, tries, dead letters and metrics.
//!
//! Effects are done **at least once**: each has an id made of its event, by which a repeat is the same command, or a mail
//! with the same `Message-ID`. A new reactor answers events from its first start on, unless it says otherwise.

pub mod datasets;
pub mod effect;
pub mod identity;
pub mod runner;

use std::sync::Arc;

use domain::{
    aggregate::DecodeError,
    decision::{LoadedState, ReadSet},
    event_store::RecordedEvent,
    identity::keys::IdentityKeys,
};
use time::OffsetDateTime;

pub use effect::{Act, Call, CommandEffect, Effect, EffectError, effect_id};

/// From which event on a reactor that was never there answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// From its first start on: what was before is not made up for.
    FirstStart,
    /// From the beginning of the log. For what must be done however long ago it was decided; `react` has to see that it was
    /// done, and do nothing.
    Beginning,
}

/// What a reaction may use besides event and state, as a decision gets clock and principal.
pub struct Context<'a> {
    /// Time of the reaction.
    pub now: OffsetDateTime,
    /// What is made with the secret key of this installation.
    pub keys: &'a dyn IdentityKeys,
}

/// Why a reaction has no effects to tell.
#[derive(Debug, thiserror::Error)]
pub enum ReactError {
    /// This build cannot read the event, or a stream that it leads to.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// It cannot be done here, in one of the program's own sentences.
    #[error("{0}")]
    Impossible(&'static str),
}

/// A process manager.
pub trait Reactor: Send + Sync + 'static {
    /// Its name, `<context>.<what for>`: that of its checkpoint. Never renamed.
    const NAME: &'static str;
    /// The kinds of event that it answers.
    const KINDS: &'static [&'static str];
    /// From when on.
    const SINCE: Since = Since::FirstStart;

    /// Declares what of the log the reaction rests on. Called again with what was loaded until it declares nothing new.
    fn reads(event: &RecordedEvent, loaded: &LoadedState, context: &Context<'_>, reads: &mut ReadSet);

    /// What is to be done about `event` now. Pure.
    ///
    /// # Errors
    /// [`ReactError`]; the event is looked at again later, and given up in the end.
    fn react(
        event: &RecordedEvent,
        loaded: &LoadedState,
        context: &Context<'_>,
    ) -> Result<Vec<Effect>, ReactError>;
}

/// A reactor of any type.
pub trait AnyReactor: Send + Sync {
    /// See [`Reactor::NAME`].
    fn name(&self) -> &'static str;
    /// See [`Reactor::KINDS`].
    fn kinds(&self) -> &'static [&'static str];
    /// See [`Reactor::SINCE`].
    fn since(&self) -> Since;
    /// See [`Reactor::reads`].
    fn reads(&self, event: &RecordedEvent, loaded: &LoadedState, context: &Context<'_>, reads: &mut ReadSet);
    /// See [`Reactor::react`].
    ///
    /// # Errors
    /// As there.
    fn react(
        &self,
        event: &RecordedEvent,
        loaded: &LoadedState,
        context: &Context<'_>,
    ) -> Result<Vec<Effect>, ReactError>;
}

impl<R: Reactor> AnyReactor for R {
    fn name(&self) -> &'static str {
        R::NAME
    }
    fn kinds(&self) -> &'static [&'static str] {
        R::KINDS
    }
    fn since(&self) -> Since {
        R::SINCE
    }
    fn reads(&self, event: &RecordedEvent, loaded: &LoadedState, context: &Context<'_>, reads: &mut ReadSet) {
        R::reads(event, loaded, context, reads);
    }
    fn react(
        &self,
        event: &RecordedEvent,
        loaded: &LoadedState,
        context: &Context<'_>,
    ) -> Result<Vec<Effect>, ReactError> {
        R::react(event, loaded, context)
    }
}

/// Every reactor of the system. What goes over all of them takes them from here: the runner, the simulation, the lists.
#[must_use]
pub fn all() -> Vec<Arc<dyn AnyReactor>> {
    vec![
        Arc::new(identity::Registrations),
        Arc::new(identity::Erasures),
        Arc::new(datasets::Uploads),
    ]
}
