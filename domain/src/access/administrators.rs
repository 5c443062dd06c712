//! The list of everybody who holds `admin`.
//!
//! One rule: it is recorded in the same append as the assignment that changes it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    aggregate::{Aggregate, Event},
    id::UserId,
    personal::{KindFields, Subject},
};

/// The one stream key of [`Administrators`].
pub const ADMINISTRATORS: &str = "all";

/// Everybody who holds `admin`, in one stream. Whether their accounts are active is in the accounts' own streams.
#[derive(Clone, Debug, Default)]
pub struct Administrators {
    /// Who they are.
    pub members: BTreeSet<UserId>,
}

/// Events of the list of administrators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "data")]
pub enum AdministratorsEvent {
    /// A user became an administrator.
    #[serde(rename = "access.AdministratorJoined")]
    Joined {
        /// The user.
        user: UserId,
    },
    /// A user is no longer an administrator.
    #[serde(rename = "access.AdministratorLeft")]
    Left {
        /// The user.
        user: UserId,
    },
}

impl Event for AdministratorsEvent {
    const FIELDS: &'static [KindFields] = &[
        KindFields::of("access.AdministratorJoined", Subject::Field("user")).plain(&["user"]),
        KindFields::of("access.AdministratorLeft", Subject::Field("user")).plain(&["user"]),
    ];
}

impl Aggregate for Administrators {
    const CATEGORY: &'static str = "access.administrators";
    type Event = AdministratorsEvent;
    fn evolve(&mut self, event: &AdministratorsEvent) {
        match event {
            AdministratorsEvent::Joined { user } => self.members.insert(*user),
            AdministratorsEvent::Left { user } => self.members.remove(user),
        };
    }
}
