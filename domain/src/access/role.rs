//! Roles: a name, permissions, quotas, and which roles their holders may grant.

use serde::{Deserialize, Serialize};

pub use super::role_definition::RoleDefinition;

use super::builtin;
use crate::{
    aggregate::{Aggregate, Event},
    authz::Requirement,
    decision::{LoadedState, NewEvents, ReadSet},
    execute::{Command, Context, Decision},
    personal::{KindFields, Subject},
};

/// A role as defined. Streams are keyed by the role's name.
#[derive(Clone, Debug, Default)]
pub struct Role {
    /// What it is, once defined.
    pub definition: Option<RoleDefinition>,
}

/// Facts about a role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "data")]
pub enum RoleEvent {
    /// It was defined, or defined anew.
    #[serde(rename = "access.RoleDefined")]
    Defined(RoleDefinition),
}

impl Event for RoleEvent {
    const FIELDS: &'static [KindFields] = &[KindFields::of("access.RoleDefined", Subject::Nobody).plain(&[
        "name",
        "description",
        "permissions[]",
        "quotas.projects",
        "quotas.datasets",
        "quotas.concurrent_jobs",
        "quotas.storage_gb",
        "quotas.gpu_hours",
        "may_grant[]",
    ])];
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
