//! The permissions, roles and quotas as the specification lists them, written by hand.
//!
//! The rule: nothing here is taken from the code under test, so whoever changes a built-in role or the permission_names has to
//! change this table too, and say why.

use std::collections::BTreeSet;

/// The permissions, `resource.action`.
const CATALOGUE: [&str; 59] = [
    "users.create",
    "users.read",
    "users.update",
    "users.delete",
    "users.invite",
    "roles.create",
    "roles.read",
    "roles.update",
    "roles.delete",
    "roles.grant",
    "projects.create",
    "projects.read",
    "projects.update",
    "projects.delete",
    "projects.invite",
    "experiments.create",
    "experiments.read",
    "experiments.update",
    "experiments.delete",
    "datasets.create",
    "datasets.read",
    "datasets.update",
    "datasets.delete",
    "datasets.share",
    "models.create",
    "models.read",
    "models.update",
    "models.delete",
    "models.share",
    "models.export",
    "models.deploy",
    "training.create",
    "training.read",
    "training.update",
    "training.delete",
    "training.advanced",
    "training.distributed",
    "hybrid_training.create",
    "hybrid_training.read",
    "hybrid_training.update",
    "hybrid_training.delete",
    "hpo.create",
    "hpo.read",
    "hpo.update",
    "external_apis.create",
    "external_apis.read",
    "external_apis.update",
    "external_apis.delete",
    "external_apis.share",
    "provider_keys.shared.read",
    "provider_keys.shared.manage",
    "api.access",
    "api.key_management",
    "notifications.manage",
    "quotas.manage",
    "organizations.read",
    "organizations.update",
    "organizations.stats",
    "audit.read",
];

/// Those of administrators only.
const OF_ADMINISTRATORS: [&str; 4] = ["audit.export", "system.admin", "system.config", "system.logs"];

/// All of them.
pub(crate) fn permission_names() -> BTreeSet<&'static str> {
    CATALOGUE.into_iter().chain(OF_ADMINISTRATORS).collect()
}

/// Limits in the order of the specification: projects, datasets, concurrent jobs, storage in GB, GPU hours a month.
pub(crate) type Limits = [Option<u32>; 5];

const NO_LIMITS: Limits = [None; 5];
const NOTHING: Limits = [Some(0); 5];
const SMALL: Limits = [Some(1), Some(1), Some(1), Some(10), Some(10)];
const MIDDLE: Limits = [Some(10), Some(20), Some(3), Some(100), Some(100)];
const LARGE: Limits = [Some(50), Some(100), Some(10), Some(500), Some(500)];
const OF_MANAGERS: Limits = [None, None, Some(20), Some(1000), None];

/// A built-in role.
pub(crate) struct Specified {
    pub(crate) name: &'static str,
    pub(crate) permissions: BTreeSet<&'static str>,
    pub(crate) may_grant: BTreeSet<&'static str>,
    pub(crate) limits: Limits,
}

/// `"projects: create read"` are `projects.create` and `projects.read`.
fn permissions(lists: &[&'static str]) -> BTreeSet<&'static str> {
    let mut found = BTreeSet::new();
    for list in lists {
        let (resource, verbs) = list.split_once(": ").expect("a resource and its actions");
        for verb in verbs.split(' ') {
            let name = format!("{resource}.{verb}");
            let known = CATALOGUE.into_iter().find(|known| *known == name);
            found.insert(known.unwrap_or_else(|| panic!("there is no {name}")));
        }
    }
    found
}

/// "projects, experiments, datasets, models (with share, export, deploy), training, external_apis own, api.*".
const ENGINEER_I: [&str; 8] = [
    "projects: create read update delete invite",
    "experiments: create read update delete",
    "datasets: create read update delete share",
    "models: create read update delete share export deploy",
    "training: create read update delete",
    // Read as a kind of training: what engineer_ii adds is named there, and hybrid training is not.
    "hybrid_training: create read update delete",
    "external_apis: create read update delete",
    "api: access key_management",
];

/// "all of engineer_i, plus training.advanced, training.distributed, hpo.*".
const ENGINEER_II: [&str; 2] = ["training: advanced distributed", "hpo: create read update"];

/// "users.read/invite, roles.grant, organizations.stats, audit.read of own organization"; granting needs to see the
/// roles, and statistics the organization that they are of.
const MANAGER: [&str; 4] = [
    "users: read invite",
    "roles: read grant",
    "organizations: read stats",
    "audit: read",
];

/// "own project and dataset within quota, basic training, no sharing, no invitations, no export".
const GUEST: [&str; 5] = [
    "projects: create read update delete",
    "experiments: create read update delete",
    "datasets: create read update delete",
    "models: read",
    "training: create read update",
];

/// "models.*, training.*, external_apis create/read/update, datasets create/read/update, hybrid_training
/// create/read/update".
const PREMIUM_USER: [&str; 5] = [
    "models: create read update delete share export deploy",
    "training: create read update delete advanced distributed",
    "external_apis: create read update",
    "datasets: create read update",
    "hybrid_training: create read update",
];

/// "models c/r/u, training c/r/u, external_apis c/r/u, datasets c/r/u, api.access, api.key_management".
const DEVELOPER: [&str; 5] = [
    "models: create read update",
    "training: create read update",
    "external_apis: create read update",
    "datasets: create read update",
    "api: access key_management",
];

/// "models read/create, training create/read, datasets.read".
const USER: [&str; 3] = ["models: read create", "training: create read", "datasets: read"];

/// "create and train, own + shared, hpo.*, models.export".
const POWER_USER: [&str; 6] = [
    "projects: create read",
    "experiments: create read",
    "datasets: create read",
    "models: create read export",
    "training: create read update",
    "hpo: create read update",
];

/// "read experiments, run inference, export reports; never trains".
const ANALYST: [&str; 5] = [
    "projects: read",
    "experiments: read",
    "models: read",
    "training: read",
    "datasets: read",
];

/// "read dashboards only".
const VIEWER: [&str; 3] = ["projects: read", "experiments: read", "training: read"];

/// The built-in roles, in the order of the specification.
pub(crate) fn roles() -> Vec<Specified> {
    let role = |name, lists: &[&[&'static str]], may_grant: &[&'static str], limits| Specified {
        name,
        permissions: permissions(&lists.concat()),
        may_grant: may_grant.iter().copied().collect(),
        limits,
    };
    let (one, two) = (&ENGINEER_I[..], &ENGINEER_II[..]);
    let mut roles = vec![
        role(
            "manager",
            &[one, two, &MANAGER],
            &["guest", "engineer_i", "engineer_ii"],
            OF_MANAGERS,
        ),
        role("engineer_ii", &[one, two], &[], LARGE),
        role("engineer_i", &[one], &[], MIDDLE),
        role("guest", &[&GUEST], &[], SMALL),
        role("premium_user", &[&PREMIUM_USER], &[], LARGE),
        role("developer", &[&DEVELOPER], &[], MIDDLE),
        role("user", &[&USER], &[], MIDDLE),
        role("power_user", &[&POWER_USER], &[], LARGE),
        role("analyst", &[&ANALYST], &[], MIDDLE),
        role("viewer", &[&VIEWER], &[], NOTHING),
    ];
    // "everything", and "any role".
    let administrator = Specified {
        name: "admin",
        permissions: permission_names(),
        may_grant: roles.iter().map(|role| role.name).chain(["admin"]).collect(),
        limits: NO_LIMITS,
    };
    roles.insert(0, administrator);
    roles
}
