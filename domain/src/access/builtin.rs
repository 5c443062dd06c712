//! The built-in roles as the specification lists them. They are seeded as events and never special-cased,
//! except that `admin` may not lose its last member.

use std::collections::BTreeSet;

use super::role_definition::RoleDefinition;
use crate::{authz::Action, quota::Quotas};

/// The role whose last member stays.
pub const ADMIN: &str = "admin";
/// The role of new accounts.
pub const GUEST: &str = "guest";

const GUEST_GETS: &[&str] = &[
    "projects.create",
    "projects.read",
    "projects.update",
    "projects.delete",
    "experiments.create",
    "experiments.read",
    "experiments.update",
    "experiments.delete",
    "datasets.create",
    "datasets.read",
    "datasets.update",
    "datasets.delete",
    "models.read",
    "training.create",
    "training.read",
    "training.update",
];
const ENGINEER_I_GETS: &[&str] = &[
    "projects.",
    "experiments.",
    "datasets.",
    "models.",
    "training.create",
    "training.read",
    "training.update",
    "training.delete",
    "hybrid_training.",
    "external_apis.create",
    "external_apis.read",
    "external_apis.update",
    "external_apis.delete",
    "api.",
];
const ENGINEER_II_GETS: &[&str] = &["training.advanced", "training.distributed", "hpo."];
const MANAGER_GETS: &[&str] = &[
    "users.read",
    "users.invite",
    "roles.read",
    "roles.grant",
    "organizations.read",
    "organizations.stats",
    "audit.read",
];
const PREMIUM_GETS: &[&str] = &[
    "models.",
    "training.",
    "external_apis.create",
    "external_apis.read",
    "external_apis.update",
    "datasets.create",
    "datasets.read",
    "datasets.update",
    "hybrid_training.create",
    "hybrid_training.read",
    "hybrid_training.update",
];
const DEVELOPER_GETS: &[&str] = &[
    "models.create",
    "models.read",
    "models.update",
    "training.create",
    "training.read",
    "training.update",
    "external_apis.create",
    "external_apis.read",
    "external_apis.update",
    "datasets.create",
    "datasets.read",
    "datasets.update",
    "api.access",
    "api.key_management",
];
const USER_GETS: &[&str] = &[
    "models.read",
    "models.create",
    "training.create",
    "training.read",
    "datasets.read",
];
const POWER_USER_GETS: &[&str] = &[
    "projects.create",
    "projects.read",
    "experiments.create",
    "experiments.read",
    "datasets.create",
    "datasets.read",
    "models.create",
    "models.read",
    "models.export",
    "training.create",
    "training.read",
    "training.update",
    "hpo.",
];
const ANALYST_GETS: &[&str] = &[
    "projects.read",
    "experiments.read",
    "models.read",
    "training.read",
    "datasets.read",
];
const VIEWER_GETS: &[&str] = &["projects.read", "experiments.read", "training.read"];

const GUEST_QUOTAS: Quotas = limits(1, 1, 1, 10, 10);
const ENGINEER_I_QUOTAS: Quotas = limits(10, 20, 3, 100, 100);
const ENGINEER_II_QUOTAS: Quotas = limits(50, 100, 10, 500, 500);
const MANAGER_QUOTAS: Quotas = Quotas {
    projects: None,
    datasets: None,
    concurrent_jobs: Some(20),
    storage_gb: Some(1000),
    gpu_hours: None,
};

const fn limits(projects: u32, datasets: u32, jobs: u32, storage_gb: u32, gpu_hours: u32) -> Quotas {
    Quotas {
        projects: Some(projects),
        datasets: Some(datasets),
        concurrent_jobs: Some(jobs),
        storage_gb: Some(storage_gb),
        gpu_hours: Some(gpu_hours),
    }
}

/// Permissions by name, or by prefix where the pattern ends in a dot.
fn permissions(patterns: &[&[&str]]) -> BTreeSet<String> {
    let wanted = |name: &str| {
        patterns
            .iter()
            .copied()
            .flatten()
            .any(|pattern| *pattern == name || (pattern.ends_with('.') && name.starts_with(pattern)))
    };
    Action::ALL
        .iter()
        .map(|action| action.name())
        .filter(|name| wanted(name))
        .map(str::to_owned)
        .collect()
}

fn role(
    name: &str,
    description: &str,
    patterns: &[&[&str]],
    quotas: Quotas,
    may_grant: &[&str],
) -> RoleDefinition {
    RoleDefinition {
        name: name.to_owned(),
        description: description.to_owned(),
        permissions: permissions(patterns),
        quotas,
        may_grant: may_grant.iter().map(|name| (*name).to_owned()).collect(),
    }
}

/// Names of all built-in roles.
pub const NAMES: [&str; 11] = [
    ADMIN,
    "manager",
    "engineer_ii",
    "engineer_i",
    GUEST,
    "premium_user",
    "developer",
    "user",
    "power_user",
    "analyst",
    "viewer",
];

/// The definitions of all built-in roles, in the order of [`NAMES`].
#[must_use]
pub fn roles() -> Vec<RoleDefinition> {
    [leading(), engineering(), developing(), observing()].concat()
}

/// The roles that look after other accounts.
fn leading() -> Vec<RoleDefinition> {
    let everything: Vec<&str> = Action::ALL.iter().map(|action| action.name()).collect();
    let managed = [ENGINEER_I_GETS, ENGINEER_II_GETS, MANAGER_GETS];
    let granted_by_managers = [GUEST, "engineer_i", "engineer_ii"];
    vec![
        role(
            ADMIN,
            "Administers everything.",
            &[&everything],
            Quotas::UNLIMITED,
            &NAMES,
        ),
        role(
            "manager",
            "Leads a team.",
            &managed,
            MANAGER_QUOTAS,
            &granted_by_managers,
        ),
    ]
}

/// The roles that managers grant: training within projects.
fn engineering() -> Vec<RoleDefinition> {
    vec![
        role(
            "engineer_ii",
            "Trains with every setting.",
            &[ENGINEER_I_GETS, ENGINEER_II_GETS],
            ENGINEER_II_QUOTAS,
            &[],
        ),
        role(
            "engineer_i",
            "Trains and shares models.",
            &[ENGINEER_I_GETS],
            ENGINEER_I_QUOTAS,
            &[],
        ),
        role(
            GUEST,
            "Tries things out: one project, one dataset.",
            &[GUEST_GETS],
            GUEST_QUOTAS,
            &[],
        ),
    ]
}

/// The roles of people who train on their own account; managers do not grant them.
fn developing() -> Vec<RoleDefinition> {
    vec![
        role(
            "premium_user",
            "Trains and shares models, without projects.",
            &[PREMIUM_GETS],
            ENGINEER_II_QUOTAS,
            &[],
        ),
        role(
            "developer",
            "Builds on the API.",
            &[DEVELOPER_GETS],
            ENGINEER_I_QUOTAS,
            &[],
        ),
        role(
            "user",
            "Trains on given datasets.",
            &[USER_GETS],
            ENGINEER_I_QUOTAS,
            &[],
        ),
        role(
            "power_user",
            "Trains, searches and exports.",
            &[POWER_USER_GETS],
            ENGINEER_II_QUOTAS,
            &[],
        ),
    ]
}

/// The roles that change nothing.
fn observing() -> Vec<RoleDefinition> {
    vec![
        role(
            "analyst",
            "Reads experiments and runs inference; never trains.",
            &[ANALYST_GETS],
            ENGINEER_I_QUOTAS,
            &[],
        ),
        role(
            "viewer",
            "Reads dashboards only.",
            &[VIEWER_GETS],
            Quotas::NOTHING,
            &[],
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::{NAMES, permissions, roles};
    use crate::authz::Action;

    #[test]
    fn every_name_has_its_definition() {
        let defined: Vec<String> = roles().into_iter().map(|role| role.name).collect();
        assert_eq!(defined, NAMES);
    }

    #[test]
    fn every_pattern_names_at_least_one_permission() {
        for list in [
            super::GUEST_GETS,
            super::ENGINEER_I_GETS,
            super::ENGINEER_II_GETS,
            super::MANAGER_GETS,
        ] {
            for pattern in list {
                assert!(!permissions(&[&[pattern]]).is_empty(), "{pattern} names nothing");
            }
        }
    }

    #[test]
    fn an_analyst_never_trains() {
        let analyst = roles()
            .into_iter()
            .find(|role| role.name == "analyst")
            .expect("built in");
        assert!(!analyst.permissions.contains(Action::TrainingCreate.name()));
    }
}
