//! Who holds which roles (AC-2). That an active administrator stays is in [`crate::administrators`].

use std::collections::BTreeSet;

use super::{
    administrators::{ADMINISTRATORS, Administrators, AdministratorsEvent},
    builtin::ADMIN,
    role::Role,
};
use crate::{
    administrators,
    aggregate::{Aggregate, event},
    authz::{Action, Principal, Requirement, Resource},
    decision::{LoadedState, NewEvents, ReadSet},
    execute::{Command, Context, Decision},
    id::UserId,
    text::{self, TextProblem},
};

/// The roles of one user. Streams are keyed by the user.
#[derive(Clone, Debug, Default)]
pub struct Assignments {
    /// Names of the roles held.
    pub roles: BTreeSet<String>,
    /// Whether there is such a user: every account gets a role in the append that registers it.
    pub known: bool,
}

/// Facts about one user's roles.
#[event(context = "access", subject = user)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AssignmentEvent {
    /// The user got a role.
    #[event(name = "RoleGranted")]
    Granted {
        /// The user.
        user: UserId,
        /// The role's name.
        #[plain]
        role: String,
        /// The reason.
        #[personal]
        reason: String,
    },
    /// The user lost a role.
    #[event(name = "RoleRemoved")]
    Removed {
        /// The user.
        user: UserId,
        /// The role's name.
        #[plain]
        role: String,
        /// The reason.
        #[personal]
        reason: String,
    },
}

impl Aggregate for Assignments {
    const CATEGORY: &'static str = "access.assignments";
    type Event = AssignmentEvent;
    fn evolve(&mut self, event: &AssignmentEvent) {
        self.known = true;
        match event {
            AssignmentEvent::Granted { role, .. } => self.roles.insert(role.clone()),
            AssignmentEvent::Removed { role, .. } => self.roles.remove(role),
        };
    }
}

/// Why roles stay as they are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantRefusal {
    /// No such role.
    #[error("there is no role '{0}'")]
    UnknownRole(String),
    /// No such user.
    #[error("there is no such user")]
    UnknownUser,
    /// AC-2: outside of what the granter's roles may grant.
    #[error("your roles do not let you grant or remove '{0}'")]
    BeyondOwnGrants(String),
    /// AC-2: nobody changes their own roles.
    #[error("nobody can change their own roles")]
    OwnRoles,
    /// The last active administrator stays.
    #[error("this is the last active administrator; make somebody else an administrator first")]
    LastAdministrator,
    /// A reason is missing.
    #[error("say why, in at most 500 characters")]
    ReasonMissing,
    /// The reason is too long, or would steer a terminal.
    #[error(transparent)]
    Reason(#[from] TextProblem),
}

/// Gives a role to a user.
#[derive(Clone, Debug)]
pub struct GrantRole {
    /// To whom.
    pub user: UserId,
    /// The role's name.
    pub role: String,
    /// The reason.
    pub reason: String,
}

/// Takes a role from a user.
#[derive(Clone, Debug)]
pub struct RemoveRole {
    /// From whom.
    pub user: UserId,
    /// The role's name.
    pub role: String,
    /// The reason.
    pub reason: String,
}

fn reads(user: UserId, role: &str, reads: &mut ReadSet) {
    reads
        .read::<Assignments>(user)
        .read::<Role>(role)
        .read::<Administrators>(ADMINISTRATORS);
}

/// The checks that granting and removing have in common.
fn check(
    loaded: &LoadedState,
    principal: &Principal,
    user: UserId,
    role: &str,
    reason: &str,
) -> Result<(), GrantRefusal> {
    if loaded.get::<Role>(role).definition.is_none() {
        return Err(GrantRefusal::UnknownRole(role.to_owned()));
    }
    if !loaded.get::<Assignments>(user).known {
        return Err(GrantRefusal::UnknownUser);
    }
    if text::reason(reason)?.is_empty() {
        return Err(GrantRefusal::ReasonMissing);
    }
    if let Principal::User(granter) = principal {
        if granter.user == user {
            return Err(GrantRefusal::OwnRoles);
        }
        if !granter.may_grant.contains(role) && !granter.permissions.contains(&Action::SystemAdmin) {
            return Err(GrantRefusal::BeyondOwnGrants(role.to_owned()));
        }
    }
    Ok(())
}

fn requires() -> Requirement {
    Requirement::one(Action::RolesGrant, Resource::kind("roles"))
}

impl Command for GrantRole {
    type Refusal = GrantRefusal;

    fn reads(&self, _: &LoadedState, all: &mut ReadSet) {
        reads(self.user, &self.role, all);
    }

    fn requires(&self, _: &LoadedState) -> Requirement {
        requires()
    }

    fn decide(&self, loaded: &LoadedState, context: &Context<'_>) -> Decision<GrantRefusal> {
        check(loaded, context.principal, self.user, &self.role, &self.reason)?;
        if loaded.get::<Assignments>(self.user).roles.contains(&self.role) {
            return Ok(NewEvents::none());
        }
        let Self { user, role, reason } = self.clone();
        let changes =
            NewEvents::record::<Assignments>(self.user, &AssignmentEvent::Granted { user, role, reason });
        Ok(if self.role == ADMIN {
            changes.and::<Administrators>(ADMINISTRATORS, &AdministratorsEvent::Joined { user })
        } else {
            changes
        })
    }
}

impl Command for RemoveRole {
    type Refusal = GrantRefusal;

    fn reads(&self, loaded: &LoadedState, all: &mut ReadSet) {
        reads(self.user, &self.role, all);
        if self.role == ADMIN {
            administrators::read_witness(loaded, self.user, all);
        }
    }

    fn requires(&self, _: &LoadedState) -> Requirement {
        requires()
    }

    fn decide(&self, loaded: &LoadedState, context: &Context<'_>) -> Decision<GrantRefusal> {
        check(loaded, context.principal, self.user, &self.role, &self.reason)?;
        if !loaded.get::<Assignments>(self.user).roles.contains(&self.role) {
            return Ok(NewEvents::none());
        }
        if self.role == ADMIN && administrators::is_last(loaded, self.user) {
            return Err(GrantRefusal::LastAdministrator.into());
        }
        let Self { user, role, reason } = self.clone();
        let changes =
            NewEvents::record::<Assignments>(self.user, &AssignmentEvent::Removed { user, role, reason });
        Ok(if self.role == ADMIN {
            changes.and::<Administrators>(ADMINISTRATORS, &AdministratorsEvent::Left { user })
        } else {
            changes
        })
    }
}
