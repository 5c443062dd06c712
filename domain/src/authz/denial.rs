//! Denied attempts, one stream per actor.
//!
//! One rule: every refusal that matters to an auditor is a fact, once per actor, action, resource and hour, and the
//! others are counted ([`crate::bounded`]). They are recorded as facts of the context `access`, whose names they keep.

use serde::{Deserialize, Serialize};

use crate::{
    aggregate::{Aggregate, Event},
    bounded::Count,
    personal::{KindFields, Subject},
};

/// What was denied to one actor. Keeps nothing: it is there to be read in the log.
#[derive(Clone, Debug, Default)]
pub struct Denials;

/// Facts about denials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "data")]
pub enum DenialEvent {
    /// An action was not permitted.
    #[serde(rename = "access.PermissionDenied")]
    PermissionDenied {
        /// The permission that was needed.
        action: String,
        /// The resource, as named at the edge.
        resource: String,
        /// The rule that decided.
        rule: String,
    },
    /// Further denials of the actor were only counted.
    #[serde(rename = "access.DenialsLeftOut")]
    LeftOut(Count),
}

impl Event for DenialEvent {
    const FIELDS: &'static [KindFields] = &[
        KindFields::of("access.PermissionDenied", Subject::Actor).plain(&["action", "resource", "rule"]),
        KindFields::of("access.DenialsLeftOut", Subject::Nobody).plain(&["count", "since", "until"]),
    ];
}

impl Aggregate for Denials {
    const CATEGORY: &'static str = "access.denials";
    type Event = DenialEvent;
    fn evolve(&mut self, _: &DenialEvent) {}
}
