//! Reservations: they make an e-mail address or a username unique (ID-2).
//!
//! One stream per reserved value. Registration reads it and is checked at its exact revision, so of two registrations
//! exactly one wins, whatever crashes; and as reservation and account are recorded in one append, no reservation is
//! ever orphaned.

use crate::{
    aggregate::{Aggregate, event},
    id::UserId,
};

/// The key of a reservation: a keyed hash of scope and normalised value, so that the log does not reveal the value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReservationKey(pub String);

impl std::fmt::Display for ReservationKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A reserved value.
#[derive(Clone, Debug, Default)]
pub struct Reservation {
    /// Who holds it.
    pub holder: Option<UserId>,
}

/// Events of a reserved value.
#[event(context = "identity", subject = user)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReservationEvent {
    /// It was reserved.
    #[event(name = "ClaimTaken")]
    Taken {
        /// The user.
        user: UserId,
        /// What kind of value: `username` or `email`.
        #[plain]
        scope: String,
    },
    /// It was released: its holder was erased.
    #[event(name = "ClaimReleased")]
    Released {
        /// Who held it.
        user: UserId,
        /// What kind of value: `username` or `email`.
        #[plain]
        scope: String,
    },
}

impl Aggregate for Reservation {
    const CATEGORY: &'static str = "identity.claim";
    type Event = ReservationEvent;
    fn evolve(&mut self, event: &ReservationEvent) {
        self.holder = match event {
            ReservationEvent::Taken { user, .. } => Some(*user),
            ReservationEvent::Released { .. } => None,
        };
    }
}
