//! Giving others a part in a thing, and taking it back (PR-5).
//!
//! One rule: the decision reads thing, list and party, and the append checks them; so nothing is shared with somebody
//! who is being erased, and nothing by somebody who just lost the right to share.

use super::access_list::{AccessList, AccessListEvent};
use crate::{
    authz::{Action, Party, Requirement, Share, Shared},
    decision::{LoadedState, NewEvents, ReadSet},
    execute::{Command, Context, Decision},
    identity::{organization::Organization, user::User},
    problems::Problems,
    projects::project::Project,
    shared,
};

/// The most users on one list.
const USERS: usize = 1_000;
/// The most projects and organizations on one list: each decision about the thing reads the lists of the projects.
const GROUPS: usize = 50;

/// What is wrong with a change of an access list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessProblem {
    /// There is no such user, project or organization, or the giver may not know that there is.
    #[error("there is no such {0}, or you do not see it")]
    UnknownParty(&'static str),
    /// The party created the thing.
    #[error("this user created it and has full access")]
    Founder,
    /// Things of this kind are shared with users only.
    #[error("{0} are shared with users only")]
    UsersOnly(&'static str),
    /// There is no such part in things of this kind.
    #[error("the roles in {0} are {1}")]
    Role(&'static str, String),
    /// It would be over before it begins.
    #[error("the expiry lies in the past; name a time to come, or none")]
    Expired,
    /// The list is full.
    #[error(
        "at most {USERS} users and {GROUPS} projects and organizations can be on one access list; share with a project instead"
    )]
    Full,
    /// The party has no part in the thing that could be revoked.
    #[error("this user, project or organization is not on the access list")]
    NotOnTheList,
}

/// Gives a party a part in a thing, in place of the one that it has. Giving the same again records nothing.
#[derive(Clone, Debug)]
pub struct GrantAccess<T: Shared> {
    /// The thing.
    pub resource: T::Id,
    /// To whom, as what, until when, and by whom: the caller.
    pub share: Share,
}

impl<T: Shared> GrantAccess<T> {
    fn party_problem(&self, loaded: &LoadedState, context: &Context<'_>) -> Option<AccessProblem> {
        let (kind, known) = match self.share.party {
            Party::User(user) if loaded.peek::<T>(self.resource)?.founder() == Some(user) => {
                return Some(AccessProblem::Founder);
            }
            Party::User(user) => ("user", loaded.peek::<User>(user).is_some_and(User::is_present)),
            _ if !T::GROUPS => return Some(AccessProblem::UsersOnly(T::KIND)),
            Party::Project(project) => ("project", shared::sees::<Project>(project, loaded, context)),
            Party::Organization(organization) => {
                let found = loaded.peek::<Organization>(organization);
                let own = context.principal.organization() == Some(organization);
                let told = own || context.principal.holds(Action::SystemAdmin);
                ("organization", told && found.is_some_and(|found| found.exists))
            }
        };
        (!known).then_some(AccessProblem::UnknownParty(kind))
    }

    fn problems(&self, loaded: &LoadedState, context: &Context<'_>) -> Vec<AccessProblem> {
        let (party, list): (Party, AccessList) = (self.share.party, loaded.get(self.resource));
        let others = list.shares().map(|share| share.party);
        let alike = others.filter(|other| other.is_user() == party.is_user());
        let most = if party.is_user() { USERS } else { GROUPS };
        let is_full = list.share(party).is_none() && alike.count() >= most;
        let is_over = self.share.until.is_some_and(|until| until <= context.now);
        let offered: Vec<&str> = T::ROLES.iter().map(|role| role.name()).collect();
        let is_offered = T::ROLES.contains(&self.share.role);
        let found = [
            self.party_problem(loaded, context),
            (!is_offered).then(|| AccessProblem::Role(T::KIND, offered.join(" and "))),
            is_over.then_some(AccessProblem::Expired),
            is_full.then_some(AccessProblem::Full),
        ];
        found.into_iter().flatten().collect()
    }
}

impl<T: Shared> Command for GrantAccess<T> {
    type Refusal = Problems<AccessProblem>;

    fn reads(&self, loaded: &LoadedState, reads: &mut ReadSet) {
        shared::read::<T>(self.resource, loaded, reads);
        match self.share.party {
            Party::User(user) => drop(reads.read::<User>(user)),
            Party::Project(project) => shared::read::<Project>(project, loaded, reads),
            Party::Organization(organization) => drop(reads.read::<Organization>(organization)),
        }
    }

    fn requires(&self, loaded: &LoadedState) -> Requirement {
        Requirement::one(T::SHARE, shared::resource::<T>(self.resource, loaded))
    }

    fn decide(&self, loaded: &LoadedState, context: &Context<'_>) -> Decision<Problems<AccessProblem>> {
        let found = self.problems(loaded, context);
        if !found.is_empty() {
            return Err(Problems(found).into());
        }
        let present = loaded.get::<AccessList>(self.resource).share(self.share.party);
        if present.is_some_and(|share| share.same_part(&self.share)) {
            return Ok(NewEvents::none());
        }
        let (resource, share) = (self.resource.to_string(), self.share);
        let granted = AccessListEvent::Granted { resource, share };
        Ok(NewEvents::record::<AccessList>(self.resource, &granted))
    }
}

/// Takes back the part of a party in a thing. Everybody may give up their own.
#[derive(Clone, Debug)]
pub struct RevokeAccess<T: Shared> {
    /// The thing.
    pub resource: T::Id,
    /// Whose part.
    pub party: Party,
    /// The caller gives up a part of its own: whoever sees the thing may do that.
    pub own: bool,
}

impl<T: Shared> Command for RevokeAccess<T> {
    type Refusal = AccessProblem;

    fn reads(&self, loaded: &LoadedState, reads: &mut ReadSet) {
        shared::read::<T>(self.resource, loaded, reads);
    }

    fn requires(&self, loaded: &LoadedState) -> Requirement {
        let action = if self.own { T::READ } else { T::SHARE };
        Requirement::one(action, shared::resource::<T>(self.resource, loaded))
    }

    fn decide(&self, loaded: &LoadedState, context: &Context<'_>) -> Decision<AccessProblem> {
        let claimed = context.principal.user().map(Party::User) == Some(self.party);
        let list: AccessList = loaded.get(self.resource);
        if (self.own && !claimed) || list.share(self.party).is_none() {
            return Err(AccessProblem::NotOnTheList.into());
        }
        let (resource, party) = (self.resource.to_string(), self.party);
        let revoked = AccessListEvent::Revoked { resource, party };
        Ok(NewEvents::record::<AccessList>(self.resource, &revoked))
    }
}
