//! Giving others a part in a thing, and taking it back (PR-5).
//!
//! One rule: the decision reads thing, list and party, and the append checks them; so nothing is shared with somebody
//! who is being erased, and nothing by somebody who just lost the right to share.

use super::access_list::{AccessList, AccessListEvent};
use crate::{
    authz::{self, Action, Circumstances, Party, Principal, Requirement, Share, Shared},
    decision::{LoadedState, NewEvents, ReadSet},
    execute::{Command, Context, Decision},
    identity::{organization::Organization, user::User},
    projects::project::Project,
    shared,
};

/// The most users on one list.
const USERS: usize = 1_000;
/// The most projects and organisations on one list: each decision about the thing reads the lists of the projects.
const GROUPS: usize = 50;

/// What is wrong with a grant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantProblem {
    /// There is no such user, project or organisation, or the giver may not know that there is.
    #[error("there is no such {0}, or you do not see it")]
    UnknownParty(&'static str),
    /// The party created the thing.
    #[error("this user created it and has full access")]
    Founder,
    /// Things of this kind are shared with users only.
    #[error("{0} are shared with users only")]
    UsersOnly(&'static str),
    /// There is no such part in things of this kind.
    #[error("the roles in {kind} are {offered}, not {role}")]
    Role {
        /// The kind of thing.
        kind: &'static str,
        /// What there is.
        offered: String,
        /// What was asked for.
        role: &'static str,
    },
    /// It would be over before it begins.
    #[error("the expiry lies in the past; name a time to come, or none")]
    Expired,
    /// The list is full.
    #[error(
        "at most {USERS} users and {GROUPS} projects and organizations can be on one access list; share with a project instead"
    )]
    Full,
}

/// Everything that is wrong with a grant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct GrantRefusal(pub Vec<GrantProblem>);

/// Gives a party a part in a thing, in place of the one that it has. Giving the same again records nothing.
#[derive(Clone, Debug)]
pub struct GrantAccess<T: Shared> {
    /// The thing.
    pub resource: T::Id,
    /// To whom, as what, until when, and by whom: the caller.
    pub share: Share,
}

impl<T: Shared> GrantAccess<T> {
    fn party_problem(&self, loaded: &LoadedState, context: &Context<'_>) -> Option<GrantProblem> {
        match self.share.party {
            Party::User(user) if loaded.peek::<T>(self.resource)?.founder() == Some(user) => {
                Some(GrantProblem::Founder)
            }
            Party::User(user) => {
                let account = loaded.peek::<User>(user);
                let there = account.is_some_and(|account| account.profile.is_some() && !account.erased);
                (!there).then_some(GrantProblem::UnknownParty("user"))
            }
            _ if !T::GROUPS => Some(GrantProblem::UsersOnly(T::KIND)),
            Party::Project(project) => {
                let project = shared::resource::<Project>(project, loaded);
                let at = Circumstances::at(context.now);
                let seen = authz::decide(context.principal, Project::READ, &project, &at);
                seen.is_err().then_some(GrantProblem::UnknownParty("project"))
            }
            Party::Organization(organization) => {
                let own = match context.principal {
                    Principal::User(user) => user.organization == Some(organization),
                    _ => false,
                };
                let there = loaded
                    .peek::<Organization>(organization)
                    .is_some_and(|found| found.exists);
                let seen = there && (own || context.principal.holds(Action::SystemAdmin));
                (!seen).then_some(GrantProblem::UnknownParty("organization"))
            }
        }
    }

    fn problems(&self, loaded: &LoadedState, context: &Context<'_>) -> Vec<GrantProblem> {
        let mut found: Vec<GrantProblem> = self.party_problem(loaded, context).into_iter().collect();
        if !T::ROLES.contains(&self.share.role) {
            let offered: Vec<&str> = T::ROLES.iter().map(|role| role.name()).collect();
            found.push(GrantProblem::Role {
                kind: T::KIND,
                offered: offered.join(" and "),
                role: self.share.role.name(),
            });
        }
        if self.share.until.is_some_and(|until| until <= context.now) {
            found.push(GrantProblem::Expired);
        }
        let list: AccessList = loaded.get(self.resource);
        let is_user = |party: Party| matches!(party, Party::User(_));
        let alike = list
            .shares()
            .filter(|share| is_user(share.party) == is_user(self.share.party));
        let most = if is_user(self.share.party) { USERS } else { GROUPS };
        if list.share(self.share.party).is_none() && alike.count() >= most {
            found.push(GrantProblem::Full);
        }
        found
    }
}

impl<T: Shared> Command for GrantAccess<T> {
    type Refusal = GrantRefusal;

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

    fn decide(&self, loaded: &LoadedState, context: &Context<'_>) -> Decision<GrantRefusal> {
        let found = self.problems(loaded, context);
        if !found.is_empty() {
            return Err(GrantRefusal(found).into());
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

/// The party has no part in the thing that could be revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this user, project or organization is not on the access list")]
pub struct NotOnTheList;

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
    type Refusal = NotOnTheList;

    fn reads(&self, loaded: &LoadedState, reads: &mut ReadSet) {
        shared::read::<T>(self.resource, loaded, reads);
    }

    fn requires(&self, loaded: &LoadedState) -> Requirement {
        let action = if self.own { T::READ } else { T::SHARE };
        Requirement::one(action, shared::resource::<T>(self.resource, loaded))
    }

    fn decide(&self, loaded: &LoadedState, context: &Context<'_>) -> Decision<NotOnTheList> {
        let claimed = context.principal.user().map(Party::User) == Some(self.party);
        let list: AccessList = loaded.get(self.resource);
        if (self.own && !claimed) || list.share(self.party).is_none() {
            return Err(NotOnTheList.into());
        }
        let revoked = AccessListEvent::Revoked {
            resource: self.resource.to_string(),
            party: self.party,
        };
        Ok(NewEvents::record::<AccessList>(self.resource, &revoked))
    }
}
