//! Denied attempts, one stream per actor.
//!
//! One rule: every refusal that matters to an auditor is a fact, once per actor, action, resource and hour, and the
//! others are counted ([`crate::bounded`]). They are recorded as facts of the context `access`, whose names they keep.

use crate::{
    aggregate::{Aggregate, event},
    bounded::Count,
};

/// What was denied to one actor. Keeps nothing: it is there to be read in the log.
#[derive(Clone, Debug, Default)]
pub struct Denials;

/// Facts about denials.
#[event(context = "access", subject = actor)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DenialEvent {
    /// An action was not permitted.
    #[event(failure)]
    PermissionDenied {
        /// The permission that was needed.
        #[plain]
        action: String,
        /// The resource, as named at the edge.
        #[plain]
        resource: String,
        /// The rule that decided.
        #[plain]
        rule: String,
    },
    /// Further denials of the actor were only counted.
    #[event(name = "DenialsLeftOut", subject = nobody, failure)]
    LeftOut(Count),
}

impl Aggregate for Denials {
    const CATEGORY: &'static str = "access.denials";
    type Event = DenialEvent;
    fn evolve(&mut self, _: &DenialEvent) {}
}
