//! Claims: what makes an e-mail address or a username unique (ID-2).
//!
//! One stream per claimed value. Registration reads it and is checked at its exact revision, so of two
//! registrations exactly one wins, whatever crashes; and as claim and account land in one append, there is
//! no abandoned claim.

use serde::{Deserialize, Serialize};

use crate::{
    aggregate::{Aggregate, Event},
    id::UserId,
    personal::{KindFields, Subject},
};

/// The key of a claim: a keyed hash of scope and normalised value, made where the key is known. The log
/// never sees the value through it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimKey(pub String);

impl std::fmt::Display for ClaimKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// One claimed value.
#[derive(Clone, Debug, Default)]
pub struct Claim {
    /// Who holds it.
    pub holder: Option<UserId>,
}

/// Facts about a claimed value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "data")]
pub enum ClaimEvent {
    /// Somebody took it.
    #[serde(rename = "identity.ClaimTaken")]
    Taken {
        /// Who.
        user: UserId,
        /// What kind of value: `username` or `email`.
        scope: String,
    },
    /// It is free again: its holder was erased.
    #[serde(rename = "identity.ClaimReleased")]
    Released {
        /// Who held it.
        user: UserId,
        /// What kind of value: `username` or `email`.
        scope: String,
    },
}

impl Event for ClaimEvent {
    const FIELDS: &'static [KindFields] = &[
        KindFields::of("identity.ClaimTaken", Subject::Field("user")).plain(&["user", "scope"]),
        KindFields::of("identity.ClaimReleased", Subject::Field("user")).plain(&["user", "scope"]),
    ];
}

impl Aggregate for Claim {
    const CATEGORY: &'static str = "identity.claim";
    type Event = ClaimEvent;
    fn evolve(&mut self, event: &ClaimEvent) {
        self.holder = match event {
            ClaimEvent::Taken { user, .. } => Some(*user),
            ClaimEvent::Released { .. } => None,
        };
    }
}
