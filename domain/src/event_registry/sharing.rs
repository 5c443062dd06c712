//! Samples of the events of access lists.

use time::{OffsetDateTime, macros::datetime};

use super::{id, samples_of};
use crate::{
    authz::{Party, PartyRole, Share},
    id::{ModelId, OrganizationId, UserId},
    sharing::access_list::AccessListEvent,
};

const USER: UserId = UserId(id(1));

samples_of! {
    AccessListEvent {
        Granted => AccessListEvent::Granted {
            resource: model(),
            share: share(Party::User(USER), Some(datetime!(2027-01-01 0:00 UTC))),
        },
        Revoked => AccessListEvent::Revoked {
            resource: model(),
            party: Party::User(USER),
        },
    } also {
        "organization" => AccessListEvent::Granted {
            resource: model(),
            share: share(Party::Organization(OrganizationId(id(3))), None),
        },
    }
}

fn model() -> String {
    ModelId(id(7)).to_string()
}

fn share(party: Party, until: Option<OffsetDateTime>) -> Share {
    Share {
        party,
        role: PartyRole::Viewer,
        until,
        by: UserId(id(2)),
    }
}
