//! Whose the personal data of an event are.

use crate::{event_store::Metadata, id::UserId};

/// Whose data the personal fields of an event are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The person whose bare id stands in this field of the payload; nobody's when it is null.
    Field(&'static str),
    /// The person whose id is the key of the stream.
    StreamKey,
    /// The person who acted.
    Actor,
    /// Nobody's: the event is not about a person.
    Nobody,
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Field(field) => write!(f, "the user in `{field}`"),
            Self::StreamKey => f.write_str("the user of the stream"),
            Self::Actor => f.write_str("the actor"),
            Self::Nobody => f.write_str("nobody"),
        }
    }
}

/// The user who acted, or for whom somebody else did.
#[must_use]
pub fn acting_person(meta: &Metadata) -> Option<UserId> {
    let user = |actor: &str| actor.strip_prefix("user:")?.parse().ok();
    user(&meta.actor).or_else(|| meta.on_behalf_of.as_deref().and_then(user))
}
