//! What a role is, apart from how it came to be.
//!
//! One rule: permissions and roles are named, never numbered, so that a recorded definition reads for itself.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{payload::Leaves, quota::Quotas};

/// What a role gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Leaves)]
pub struct RoleDefinition {
    /// Its unique name.
    #[plain]
    pub name: String,
    /// What it is for, in one sentence.
    #[plain]
    pub description: String,
    /// Names of its permissions.
    #[plain]
    pub permissions: BTreeSet<String>,
    /// Its quotas.
    pub quotas: Quotas,
    /// Names of the roles that its holders may grant, when they hold `roles.grant`.
    #[plain]
    pub may_grant: BTreeSet<String>,
}
