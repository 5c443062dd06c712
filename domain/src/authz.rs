//! Who may do what: one closed catalogue of actions, one pure decision with its reason (AC-3).
//!
//! Every command and every read goes through [`decide`]; nothing else decides. Callers state the facts of
//! the resource ([`Resource`]); the policy alone knows what follows from them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    access::quota::Quotas,
    id::{OrganizationId, SessionId, UserId, WorkerId},
};

/// Declares the catalogue: variant, name and one sentence for each permission.
macro_rules! actions {
    ($($variant:ident $name:literal $doc:literal)+) => {
        /// Everything that can be asked for; at the same time the catalogue of permissions.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Action { $(#[doc = $doc] $variant),+ }

        impl Action {
            /// The whole catalogue.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The permission's stable name, `resource.action`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// What it permits, in one sentence.
            #[must_use]
            pub const fn description(self) -> &'static str {
                match self { $(Self::$variant => $doc),+ }
            }
        }
    };
}

actions! {
    UsersCreate "users.create" "Create accounts for others."
    UsersRead "users.read" "See the accounts of others."
    UsersUpdate "users.update" "Change the accounts of others, deactivate and reactivate them."
    UsersDelete "users.delete" "Delete accounts."
    UsersInvite "users.invite" "Invite people."
    RolesCreate "roles.create" "Define custom roles."
    RolesRead "roles.read" "See the roles and who holds them."
    RolesUpdate "roles.update" "Change custom roles."
    RolesDelete "roles.delete" "Retire custom roles."
    RolesGrant "roles.grant" "Grant and remove the roles that one's own roles may grant."
    ProjectsCreate "projects.create" "Create projects."
    ProjectsRead "projects.read" "See one's own and joined projects."
    ProjectsUpdate "projects.update" "Change projects."
    ProjectsDelete "projects.delete" "Delete projects."
    ProjectsInvite "projects.invite" "Invite people into projects."
    ExperimentsCreate "experiments.create" "Create experiments in one's projects."
    ExperimentsRead "experiments.read" "See the experiments of one's projects."
    ExperimentsUpdate "experiments.update" "Change experiments."
    ExperimentsDelete "experiments.delete" "Delete experiments."
    DatasetsCreate "datasets.create" "Create datasets and upload versions of them."
    DatasetsRead "datasets.read" "See and download one's own and joined datasets."
    DatasetsUpdate "datasets.update" "Change datasets."
    DatasetsDelete "datasets.delete" "Delete datasets."
    DatasetsShare "datasets.share" "Share datasets."
    ModelsCreate "models.create" "Register models."
    ModelsRead "models.read" "See and query one's own and shared models."
    ModelsUpdate "models.update" "Change models and add versions."
    ModelsDelete "models.delete" "Delete models."
    ModelsShare "models.share" "Share models."
    ModelsExport "models.export" "Download and export models."
    ModelsDeploy "models.deploy" "Deploy models to serving targets."
    TrainingCreate "training.create" "Start training jobs."
    TrainingRead "training.read" "See training jobs."
    TrainingUpdate "training.update" "Pause, resume and cancel training jobs."
    TrainingDelete "training.delete" "Delete training jobs."
    TrainingAdvanced "training.advanced" "Use the advanced training settings."
    TrainingDistributed "training.distributed" "Train on several devices."
    HybridTrainingCreate "hybrid_training.create" "Start hybrid training."
    HybridTrainingRead "hybrid_training.read" "See hybrid training."
    HybridTrainingUpdate "hybrid_training.update" "Change and cancel hybrid training."
    HybridTrainingDelete "hybrid_training.delete" "Delete hybrid training."
    HpoCreate "hpo.create" "Start campaigns of hyper-parameter search."
    HpoRead "hpo.read" "See campaigns."
    HpoUpdate "hpo.update" "Change and cancel campaigns."
    ExternalApisCreate "external_apis.create" "Create provider configurations."
    ExternalApisRead "external_apis.read" "See provider configurations."
    ExternalApisUpdate "external_apis.update" "Change provider configurations."
    ExternalApisDelete "external_apis.delete" "Delete provider configurations."
    ExternalApisShare "external_apis.share" "Share provider configurations."
    ProviderKeysSharedRead "provider_keys.shared.read" "See the shared provider keys, masked."
    ProviderKeysSharedManage "provider_keys.shared.manage" "Keep the shared provider keys."
    ApiAccess "api.access" "Use the API with service keys."
    ApiKeyManagement "api.key_management" "Create and revoke one's service keys."
    NotificationsManage "notifications.manage" "Manage notification defaults."
    QuotasManage "quotas.manage" "Change the quotas of users."
    OrganizationsRead "organizations.read" "See organisations."
    OrganizationsUpdate "organizations.update" "Change organisations."
    OrganizationsStats "organizations.stats" "See the statistics of one's organisation."
    AuditRead "audit.read" "Read the audit log; without system.admin that of one's own organisation."
    AuditExport "audit.export" "Export the audit log."
    SystemAdmin "system.admin" "Administer the system; sees and may do everything, on record."
    SystemConfig "system.config" "Change the configuration."
    SystemLogs "system.logs" "Read the system's logs."
}

impl Action {
    /// The action of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|action| action.name() == name)
    }

    /// What stands after the last dot: `read`, `create`, …
    #[must_use]
    pub fn verb(self) -> &'static str {
        self.name().rsplit('.').next().unwrap_or_default()
    }

    /// Whether owning a resource is enough, without the permission: seeing it, changing it, ending it.
    /// What makes new things or carries things out of the house always needs the permission.
    #[must_use]
    pub fn comes_with_ownership(self) -> bool {
        matches!(self.verb(), "read" | "update" | "delete")
    }
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// How far an account may act.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountState {
    /// Everything that its roles permit.
    Active,
    /// Its e-mail is not verified: only its own profile (ID-3).
    #[default]
    Unverified,
    /// Nothing (ID-5).
    Deactivated,
}

/// A signed-in person or program: what the decision needs to know of it.
#[derive(Clone, Debug)]
pub struct UserPrincipal {
    /// The account.
    pub user: UserId,
    /// The session it acts in; `None` for keys and for operator commands.
    pub session: Option<SessionId>,
    /// Its organisation.
    pub organization: Option<OrganizationId>,
    /// How far it may act.
    pub account: AccountState,
    /// Names of its roles.
    pub roles: BTreeSet<String>,
    /// The permissions of its roles, added up.
    pub permissions: BTreeSet<Action>,
    /// The roles it may grant.
    pub may_grant: BTreeSet<String>,
    /// The most generous quotas of its roles.
    pub quotas: Quotas,
}

/// Who acts.
#[derive(Clone, Debug)]
pub enum Principal {
    /// Nobody signed in.
    Anonymous,
    /// A person or a program with an account.
    User(Box<UserPrincipal>),
    /// A worker: may report on the jobs that it leases, nothing else.
    Worker(WorkerId),
    /// A part of the system itself, named.
    System(&'static str),
}

impl Principal {
    /// The actor as recorded with events.
    #[must_use]
    pub fn actor(&self) -> String {
        match self {
            Self::Anonymous => "anonymous".to_owned(),
            Self::User(user) => format!("user:{}", user.user),
            Self::Worker(worker) => format!("worker:{worker}"),
            Self::System(part) => format!("system:{part}"),
        }
    }

    /// The account, when a user acts.
    #[must_use]
    pub fn user(&self) -> Option<UserId> {
        match self {
            Self::User(user) => Some(user.user),
            _ => None,
        }
    }

    /// Whether it holds `action` by its roles.
    #[must_use]
    pub fn holds(&self, action: Action) -> bool {
        matches!(self, Self::User(user) if user.permissions.contains(&action))
    }

    /// Its quotas; unlimited for the system.
    #[must_use]
    pub fn quotas(&self) -> Quotas {
        match self {
            Self::User(user) => user.quotas,
            Self::Anonymous | Self::Worker(_) | Self::System(_) => Quotas::UNLIMITED,
        }
    }
}

/// Who can see a resource that is not granted to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// Owner and members only.
    #[default]
    Private,
    /// Everybody who is signed in may read.
    Public,
}

/// The facts of what is acted on.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Its id or name at the edge, for the record.
    pub name: String,
    /// Whether there is such a thing.
    pub exists: bool,
    /// Whether things of this kind belong to somebody; if not, the permission alone decides.
    pub owned: bool,
    /// Who owns it.
    pub owners: Vec<UserId>,
    /// Who takes part in it.
    pub members: Vec<UserId>,
    /// Who else sees it.
    pub visibility: Visibility,
    /// When a worker acts: the worker that holds it now.
    pub leased_to: Option<WorkerId>,
}

impl Resource {
    /// A kind of thing as a whole, when something new is made, or a thing that belongs to nobody.
    #[must_use]
    pub fn kind(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            exists: true,
            owned: false,
            owners: Vec::new(),
            members: Vec::new(),
            visibility: Visibility::Private,
            leased_to: None,
        }
    }

    /// Something of `owner`; `None` when there is no such thing.
    #[must_use]
    pub fn of(name: impl std::fmt::Display, owner: Option<UserId>) -> Self {
        Self {
            exists: owner.is_some(),
            owned: true,
            owners: owner.into_iter().collect(),
            ..Self::kind(&name.to_string())
        }
    }

    /// With these members.
    #[must_use]
    pub fn with_members(self, members: impl IntoIterator<Item = UserId>) -> Self {
        Self {
            members: members.into_iter().collect(),
            ..self
        }
    }

    /// Seen by `visibility`.
    #[must_use]
    pub fn seen_by(self, visibility: Visibility) -> Self {
        Self { visibility, ..self }
    }

    /// Leased to `worker`.
    #[must_use]
    pub fn leased_to(self, worker: Option<WorkerId>) -> Self {
        Self {
            leased_to: worker,
            ..self
        }
    }
}

/// What a command needs permitted.
#[derive(Clone, Debug)]
pub enum Requirement {
    /// Everybody may try; the reason why is given.
    Open(&'static str),
    /// Only the named parts of the system itself.
    System,
    /// This worker, and the system.
    Worker(WorkerId),
    /// The worker that holds the lease of this job, and the system; not its owner: people do not report.
    LeaseOf(Resource),
    /// All of these.
    All(Vec<(Action, Resource)>),
}

impl Requirement {
    /// One action on one resource.
    #[must_use]
    pub fn one(action: Action, resource: Resource) -> Self {
        Self::All(vec![(action, resource)])
    }
}

/// How a denial is worded to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concealment {
    /// It may not even know that the resource exists.
    NotFound,
    /// It sees the resource but may not do this.
    Forbidden,
    /// It has to sign in first.
    Unauthenticated,
}

/// A "no" with its reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{action} on {resource} is denied: {reason}")]
pub struct Denied {
    /// What was asked for.
    pub action: Action,
    /// On what.
    pub resource: String,
    /// The rule that decided; a stable name.
    pub rule: &'static str,
    /// Why, in words for the caller.
    pub reason: String,
    /// What the caller may learn of it.
    pub concealment: Concealment,
}

/// A "yes" with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// The rule that decided; a stable name.
    pub rule: &'static str,
    /// Why, in words.
    pub reason: String,
}

impl Allowed {
    fn by(rule: &'static str, reason: impl Into<String>) -> Self {
        Self {
            rule,
            reason: reason.into(),
        }
    }
}

/// Checks everything that is required.
///
/// # Errors
/// The first denial.
pub fn permit(principal: &Principal, requirement: &Requirement) -> Result<(), Denied> {
    match requirement {
        Requirement::Open(_) => Ok(()),
        Requirement::System if matches!(principal, Principal::System(_)) => Ok(()),
        Requirement::Worker(_) | Requirement::LeaseOf(_) if matches!(principal, Principal::System(_)) => {
            Ok(())
        }
        Requirement::Worker(worker) if matches!(principal, Principal::Worker(own) if own == worker) => Ok(()),
        Requirement::LeaseOf(job) if matches!(principal, Principal::Worker(_)) => {
            decide(principal, Action::TrainingUpdate, job).map(|_| ())
        }
        Requirement::System | Requirement::Worker(_) | Requirement::LeaseOf(_) => Err(Denied {
            action: Action::SystemAdmin,
            resource: "system".to_owned(),
            rule: "system_only",
            reason: "only the system itself does this".to_owned(),
            concealment: Concealment::Forbidden,
        }),
        Requirement::All(list) => list
            .iter()
            .try_for_each(|(action, resource)| decide(principal, *action, resource).map(|_| ())),
    }
}

/// The one access decision: may `principal` do `action` to `resource`, and by which rule?
///
/// # Errors
/// The denial, with the rule and the reason.
pub fn decide(principal: &Principal, action: Action, resource: &Resource) -> Result<Allowed, Denied> {
    let no = |rule, reason: &str, concealment| {
        Err(Denied {
            action,
            resource: resource.name.clone(),
            rule,
            reason: reason.to_owned(),
            concealment,
        })
    };
    let user = match principal {
        Principal::System(_) if !resource.exists => {
            return no("absent", "there is no such thing", Concealment::NotFound);
        }
        Principal::System(part) => return Ok(Allowed::by("system", format!("done by the system's {part}"))),
        Principal::Worker(worker)
            if action == Action::TrainingUpdate && resource.leased_to == Some(*worker) =>
        {
            return Ok(Allowed::by("lease", "the worker holds the lease of this job"));
        }
        Principal::Worker(_) => {
            return no(
                "lease",
                "a worker acts only on the job that it leases",
                Concealment::Forbidden,
            );
        }
        Principal::Anonymous => return no("anonymous", "sign in first", Concealment::Unauthenticated),
        Principal::User(user) => user,
    };
    decide_for_user(user, action, resource).map_or_else(|(rule, why, how)| no(rule, &why, how), Ok)
}

type Refusal = (&'static str, String, Concealment);

fn decide_for_user(user: &UserPrincipal, action: Action, resource: &Resource) -> Result<Allowed, Refusal> {
    let owner = resource.owners.contains(&user.user);
    match user.account {
        AccountState::Active => {}
        AccountState::Deactivated => {
            return Err((
                "deactivated",
                "the account is deactivated".to_owned(),
                Concealment::Unauthenticated,
            ));
        }
        AccountState::Unverified if owner && resource.name == user.user.to_string() => {}
        AccountState::Unverified => {
            let why = "verify the e-mail address first".to_owned();
            return Err(("unverified", why, Concealment::Forbidden));
        }
    }
    if !resource.exists {
        return Err((
            "absent",
            "there is no such thing".to_owned(),
            Concealment::NotFound,
        ));
    }
    let held = user.permissions.contains(&action);
    if owner && (held || action.comes_with_ownership()) {
        return Ok(Allowed::by("owner", "the user owns it"));
    }
    // After ownership, so that this rule says: an administrator at what belongs to others (AC-4).
    if user.permissions.contains(&Action::SystemAdmin) {
        return Ok(Allowed::by(
            "administrator",
            "the system.admin permission allows everything",
        ));
    }
    if !resource.owned {
        return match held {
            true => Ok(Allowed::by("role", format!("a role of the user holds {action}"))),
            false => Err((
                "role",
                format!("none of the user's roles holds {action}"),
                Concealment::Forbidden,
            )),
        };
    }
    let member = resource.members.contains(&user.user);
    let public = resource.visibility == Visibility::Public;
    let reads = action.verb() == "read";
    if member && (held || reads) {
        return Ok(Allowed::by("member", "the user is a member of it"));
    }
    if public && reads {
        return Ok(Allowed::by("public", "it is public"));
    }
    if owner || member || public {
        let why = match held {
            true => format!("the user sees it, but {action} is for its owner and members"),
            false => format!("the user sees it, but none of their roles holds {action}"),
        };
        return Err(("role", why, Concealment::Forbidden));
    }
    Err((
        "stranger",
        "the user has no part in it".to_owned(),
        Concealment::NotFound,
    ))
}
