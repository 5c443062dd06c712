//! Samples of the events of access lists.

use time::macros::datetime;

use super::{id, samples_of};
use crate::{
    authz::{Party, PartyRole},
    id::{ModelId, OrganizationId, UserId},
    sharing::access_list::AccessListEvent,
};

const USER: UserId = UserId(id(1));

samples_of! {
    AccessListEvent {
        Granted => AccessListEvent::Granted {
            resource: model(),
            party: Party::User(USER),
            role: PartyRole::Viewer,
            until: Some(datetime!(2027-01-01 0:00 UTC)),
            granted_by: UserId(id(2)),
        },
        Revoked => AccessListEvent::Revoked {
            resource: model(),
            party: Party::User(USER),
        },
    } also {
        "organization" => AccessListEvent::Granted {
            resource: model(),
            party: Party::Organization(OrganizationId(id(3))),
            role: PartyRole::Editor,
            until: None,
            granted_by: UserId(id(2)),
        },
    }
}

fn model() -> String {
    ModelId(id(7)).to_string()
}
