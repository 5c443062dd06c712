//! Samples of the events of access lists.

use time::{OffsetDateTime, macros::datetime};

use super::{id, samples_of};
use crate::{
    authz::{Party, PartyRole, Share},
    id::{ModelId, OrganizationId, UserId},
    sharing::access_list::AccessListEvent,
};

const USER: Party = Party::User(UserId(id(1)));
const ORGANIZATION: Party = Party::Organization(OrganizationId(id(3)));

samples_of! {
    AccessListEvent {
        Granted => granted(USER, Some(datetime!(2027-01-01 0:00 UTC))),
        Revoked => AccessListEvent::Revoked {
            resource: model(),
            party: USER,
        },
    } also {
        "organization" => granted(ORGANIZATION, None),
    }
}

fn model() -> String {
    ModelId(id(7)).to_string()
}

fn granted(party: Party, until: Option<OffsetDateTime>) -> AccessListEvent {
    let (resource, role, by) = (model(), PartyRole::Viewer, UserId(id(2)));
    let share = Share {
        party,
        role,
        until,
        by,
    };
    AccessListEvent::Granted { resource, share }
}
