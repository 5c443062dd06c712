//! The list of everybody who holds `admin`.
//!
//! One rule: it is recorded in the same append as the assignment that changes it.

use std::collections::BTreeSet;

use crate::{
    aggregate::{Aggregate, event},
    id::UserId,
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
#[event(context = "access", subject = user)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdministratorsEvent {
    /// A user became an administrator.
    #[event(name = "AdministratorJoined")]
    Joined {
        /// The user.
        user: UserId,
    },
    /// A user is no longer an administrator.
    #[event(name = "AdministratorLeft")]
    Left {
        /// The user.
        user: UserId,
    },
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
