//! Access lists: who has which part in a thing, until when, and by whom (PR-1, PR-4, PR-5).
//!
//! One rule: a list knows parties, not things; it lies beside the thing, under the thing's id.

use std::collections::BTreeMap;

use crate::{
    aggregate::{Aggregate, event},
    authz::{Party, Share},
};

/// The access list of one thing.
#[derive(Clone, Debug, Default)]
pub struct AccessList(BTreeMap<Party, Share>);

impl AccessList {
    /// What was given and not revoked; what is over by its time too.
    pub fn shares(&self) -> impl Iterator<Item = Share> {
        self.0.values().copied()
    }

    /// What was given to `party`.
    #[must_use]
    pub fn share(&self, party: Party) -> Option<Share> {
        self.0.get(&party).copied()
    }
}

/// Facts about an access list.
#[event(context = "sharing", subject = actor)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessListEvent {
    /// A party was given a part in the thing, in place of the one that it had.
    #[event(name = "AccessGranted")]
    Granted {
        /// The thing, by its id at the edge.
        #[plain]
        resource: String,
        /// To whom, as what, until when, and by whom.
        share: Share,
    },
    /// A party lost its part in the thing, or gave it up.
    #[event(name = "AccessRevoked")]
    Revoked {
        /// The thing, by its id at the edge.
        #[plain]
        resource: String,
        /// Whose part.
        party: Party,
    },
}

impl Aggregate for AccessList {
    const CATEGORY: &'static str = "sharing.access_list";
    type Event = AccessListEvent;
    fn evolve(&mut self, event: &AccessListEvent) {
        match *event {
            AccessListEvent::Granted { share, .. } => self.0.insert(share.party, share),
            AccessListEvent::Revoked { party, .. } => self.0.remove(&party),
        };
    }
}
