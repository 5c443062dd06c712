//! Fixtures: users, resources and times used by the tests.

use std::{collections::BTreeSet, sync::Arc};

use domain::{
    access::{
        administrators::{ADMINISTRATORS, Administrators, AdministratorsEvent},
        assignment::AssignmentEvent,
        builtin,
        ledger::LedgerEvent,
        quota::{Quota, Quotas},
    },
    authz::{AccountState, Action, Principal, UserPrincipal, Visibility},
    datasets::{
        dataset::{DatasetEvent, Version},
        format::{Format, Summary},
    },
    id::{DatasetId, ExperimentId, JobId, ModelId, ProjectId, SessionId, UserId, WorkerId},
    identity::user::{Profile, UserEvent, UserKind},
    models::model::{Lineage, ModelEvent, ModelFile, ModelKind, ModelVersion},
    projects::{experiment::ExperimentEvent, project::ProjectEvent},
};
use time::{OffsetDateTime, macros::datetime};
use uuid::Uuid;

use super::given_when_then::Given;

/// The present moment of the tests.
pub(crate) const NOW: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);

pub(crate) const ADA: UserId = UserId(Uuid::from_u128(0xada));
pub(crate) const BOB: UserId = UserId(Uuid::from_u128(0xb0b));
pub(crate) const ROOT: UserId = UserId(Uuid::from_u128(0xadd));
pub(crate) const SESSION: SessionId = SessionId(Uuid::from_u128(0x5e5));
pub(crate) const PROJECT: ProjectId = ProjectId(Uuid::from_u128(0x13));
pub(crate) const EXPERIMENT: ExperimentId = ExperimentId(Uuid::from_u128(0xe4));
pub(crate) const DATASET: DatasetId = DatasetId(Uuid::from_u128(0xda7a));
pub(crate) const BASE: ModelId = ModelId(Uuid::from_u128(0xba5e));
pub(crate) const MODEL: ModelId = ModelId(Uuid::from_u128(0x30de1));
pub(crate) const JOB: JobId = JobId(Uuid::from_u128(0x10b));
pub(crate) const WORKER: WorkerId = WorkerId(Uuid::from_u128(0x31));
pub(crate) const OTHER_WORKER: WorkerId = WorkerId(Uuid::from_u128(0x32));

/// A signed-in, active user with these built-in roles.
pub(crate) fn user(user: UserId, roles: &[&str]) -> Principal {
    let held = |name: &str| roles.contains(&name);
    let definitions: Vec<_> = builtin::roles()
        .into_iter()
        .filter(|role| held(&role.name))
        .collect();
    assert_eq!(definitions.len(), roles.len(), "unknown role among {roles:?}");
    let permissions = definitions.iter().flat_map(|role| &role.permissions);
    Principal::User(Box::new(UserPrincipal {
        user,
        session: Some(SESSION),
        organization: None,
        account: AccountState::Active,
        roles: Arc::new(roles.iter().map(|name| (*name).to_owned()).collect()),
        permissions: Arc::new(permissions.filter_map(|name| Action::named(name)).collect()),
        may_grant: Arc::new(
            definitions
                .iter()
                .flat_map(|role| role.may_grant.clone())
                .collect::<BTreeSet<_>>(),
        ),
        quotas: definitions
            .iter()
            .fold(Quotas::NOTHING, |sum, role| sum.or(role.quotas)),
    }))
}

/// The same user with other quotas.
pub(crate) fn with_quotas(principal: Principal, quotas: Quotas) -> Principal {
    match principal {
        Principal::User(user) => Principal::User(Box::new(UserPrincipal { quotas, ..*user })),
        other => other,
    }
}

/// The same user with another account state.
pub(crate) fn in_state(principal: Principal, account: AccountState) -> Principal {
    match principal {
        Principal::User(user) => Principal::User(Box::new(UserPrincipal { account, ..*user })),
        other => other,
    }
}

/// Ada, an engineer: the owner of everything below.
pub(crate) fn ada() -> Principal {
    user(ADA, &["engineer_i"])
}

/// Bob, an engineer without a part in Ada's things.
pub(crate) fn bob() -> Principal {
    user(BOB, &["engineer_i"])
}

/// The administrator.
pub(crate) fn root() -> Principal {
    user(ROOT, &["admin"])
}

pub(crate) fn profile(name: &str) -> Profile {
    Profile {
        username: name.to_owned(),
        email: format!("{name}@example.org"),
        first_name: None,
        last_name: None,
        organization: None,
        department: None,
    }
}

/// An account with a password and a proven address.
pub(crate) fn registered(user: UserId, name: &str) -> Vec<UserEvent> {
    vec![
        UserEvent::Registered {
            user,
            account: UserKind::Local,
            profile: profile(name),
        },
        UserEvent::PasswordSet {
            verifier: "$argon2id$now".to_owned(),
        },
        UserEvent::EmailVerified {
            email: format!("{name}@example.org"),
        },
    ]
}

pub(crate) fn granted(user: UserId, role: &str) -> AssignmentEvent {
    AssignmentEvent::Granted {
        user,
        role: role.to_owned(),
        reason: "joins the team".to_owned(),
    }
}

pub(crate) fn taken(quota: Quota, item: impl std::fmt::Display) -> LedgerEvent {
    LedgerEvent::Taken {
        quota,
        item: item.to_string(),
    }
}

pub(crate) fn project_created() -> ProjectEvent {
    ProjectEvent::Created {
        project: PROJECT,
        owner: ADA,
        name: "Corpus".to_owned(),
        description: String::new(),
    }
}

pub(crate) fn experiment_created() -> ExperimentEvent {
    ExperimentEvent::Created {
        experiment: EXPERIMENT,
        project: PROJECT,
        created_by: ADA,
        name: "First".to_owned(),
        description: String::new(),
    }
}

pub(crate) fn dataset_created(visibility: Visibility) -> DatasetEvent {
    DatasetEvent::Created {
        dataset: DATASET,
        owner: ADA,
        name: "Poems".to_owned(),
        description: String::new(),
        visibility,
    }
}

pub(crate) fn dataset_version(version: u32, sha256: &str) -> Version {
    Version {
        version,
        sha256: sha256.to_owned(),
        bytes: 1_000,
        format: Format::PlainText,
        summary: Summary {
            samples: 3,
            lines: 3,
            bytes: 1_000,
            ..Summary::default()
        },
        file_name: "poems.txt".to_owned(),
    }
}

pub(crate) fn base_registered(content: ModelKind, visibility: Visibility) -> ModelEvent {
    ModelEvent::Registered {
        model: BASE,
        owner: ADA,
        name: "Base".to_owned(),
        description: String::new(),
        content,
        visibility,
    }
}

pub(crate) fn imported() -> ModelVersion {
    ModelVersion {
        merged: None,
        version: 1,
        sha256: "base-hash".to_owned(),
        artifact: "models/base".to_owned(),
        files: vec![ModelFile {
            name: "config.json".to_owned(),
            sha256: "c0".to_owned(),
            bytes: 10,
        }],
        lineage: Lineage::Imported {
            origin: "gpt2".to_owned(),
        },
    }
}

impl Given {
    /// Ada's project with its experiment, her dataset in one version, and her full base model.
    pub(crate) fn a_project_with_data(self) -> Self {
        self.stream::<domain::projects::project::Project>(PROJECT, [project_created()])
            .stream::<domain::projects::experiment::Experiment>(EXPERIMENT, [experiment_created()])
            .stream::<domain::datasets::dataset::Dataset>(
                DATASET,
                [
                    dataset_created(Visibility::Private),
                    DatasetEvent::VersionAdded(dataset_version(1, "first")),
                ],
            )
            .stream::<domain::models::model::Model>(
                BASE,
                [
                    base_registered(ModelKind::Full, Visibility::Private),
                    ModelEvent::VersionAdded(imported()),
                ],
            )
    }

    /// These are the administrators.
    pub(crate) fn administrators(self, members: &[UserId]) -> Self {
        let joined = members
            .iter()
            .map(|user| AdministratorsEvent::Joined { user: *user });
        self.stream::<Administrators>(ADMINISTRATORS, joined)
    }
}
