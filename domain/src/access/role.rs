//! Roles: a name, permissions, quotas, and which roles their holders may grant.

pub use super::role_definition::RoleDefinition;

use super::builtin;
use crate::{
    aggregate::{Aggregate, event},
    authz::Requirement,
    decision::{LoadedState, NewEvents, ReadSet},
    execute::{Command, Context, Decision},
};

/// A role as defined. Streams are keyed by the role's name.
#[derive(Clone, Debug, Default)]
pub struct Role {
    /// What it is, once defined.
    pub definition: Option<RoleDefinition>,
}

/// Facts about a role.
#[event(context = "access", subject = nobody)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoleEvent {
    /// It was defined, or defined anew.
    #[event(name = "RoleDefined")]
    Defined(RoleDefinition),
}

impl Aggregate for Role {
    const CATEGORY: &'static str = "access.role";
    type Event = RoleEvent;
    fn evolve(&mut self, event: &RoleEvent) {
        let RoleEvent::Defined(definition) = event;
        self.definition = Some(definition.clone());
    }
}

/// Defines the built-in roles that are not defined yet. Done by the system at each start; a built-in role
/// that an administrator has changed stays as it is.
#[derive(Clone, Copy, Debug)]
pub struct SeedRoles;

/// Seeding is never refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SeedRefusal {}

impl Command for SeedRoles {
    type Refusal = SeedRefusal;

    fn reads(&self, _: &LoadedState, reads: &mut ReadSet) {
        for role in builtin::roles() {
            reads.read::<Role>(&role.name);
        }
    }

    fn requires(&self, _: &LoadedState) -> Requirement {
        Requirement::System
    }

    fn decide(&self, loaded: &LoadedState, _: &Context<'_>) -> Decision<SeedRefusal> {
        let undefined = builtin::roles().into_iter().filter(|role| {
            let known: Role = loaded.get(&role.name);
            known.definition.is_none()
        });
        Ok(undefined.fold(NewEvents::none(), |changes, role| {
            changes.and::<Role>(role.name.clone(), &RoleEvent::Defined(role))
        }))
    }
}
