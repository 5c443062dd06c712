//! The catalogue of actions, which is the catalogue of permissions.

use std::{collections::HashMap, sync::LazyLock};

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
    OrganizationsRead "organizations.read" "See organizations."
    OrganizationsUpdate "organizations.update" "Change organizations."
    OrganizationsStats "organizations.stats" "See the statistics of one's organization."
    AuditRead "audit.read" "Read the audit log; without system.admin that of one's own organization."
    AuditExport "audit.export" "Export the audit log."
    SystemAdmin "system.admin" "Administer the system; sees and may do everything, on record."
    SystemConfig "system.config" "Change the configuration."
    SystemLogs "system.logs" "Read the system's logs."
}

impl Action {
    /// The action of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        static BY_NAME: LazyLock<HashMap<&'static str, Action>> = LazyLock::new(|| {
            Action::ALL
                .iter()
                .map(|action| (action.name(), *action))
                .collect()
        });
        BY_NAME.get(name).copied()
    }

    /// What stands after the last dot: `read`, `create`, …
    #[must_use]
    pub fn verb(self) -> &'static str {
        self.name().rsplit('.').next().unwrap_or_default()
    }

    /// What stands before the last dot: the kind of thing, `models`, `provider_keys.shared`, …
    #[must_use]
    pub fn resource(self) -> &'static str {
        self.name().rsplit_once('.').map_or("", |(kind, _)| kind)
    }

    /// Whether owning a resource is enough, without the permission: seeing it, changing it, ending it.
    /// Creating and exporting always need the permission.
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
