//! Projects: the place where people work together.

use crate::{
    access::{
        ledger::QuotaLedger,
        quota::{Quota, QuotaExceeded},
    },
    aggregate::{Aggregate, event},
    authz::{Action, PartyRole, Requirement, Resource, Shared},
    decision::{LoadedState, NewEvents, ReadSet},
    execute::{Command, Context, Decision},
    id::{ProjectId, UserId},
    rights,
    text::{Label, TextProblems},
};

/// A project.
#[derive(Clone, Debug, Default)]
pub struct Project {
    /// Who founded it, once created.
    pub owner: Option<UserId>,
    /// Its name.
    pub name: String,
}

/// Facts about a project.
#[event(context = "projects", subject = owner)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProjectEvent {
    /// It came to be.
    #[event(name = "ProjectCreated")]
    Created {
        /// The project.
        project: ProjectId,
        /// The founder.
        owner: UserId,
        /// Its name.
        #[plain]
        name: String,
        /// Its subject.
        #[plain]
        description: String,
    },
}

impl Aggregate for Project {
    const CATEGORY: &'static str = "projects.project";
    type Event = ProjectEvent;
    fn evolve(&mut self, event: &ProjectEvent) {
        let ProjectEvent::Created { owner, name, .. } = event;
        self.owner = Some(*owner);
        self.name.clone_from(name);
    }
}

impl Shared for Project {
    type Id = ProjectId;
    const KIND: &'static str = "projects";
    const READ: Action = Action::ProjectsRead;
    const SHARE: Action = Action::ProjectsInvite;
    const ROLES: &'static [PartyRole] = &[PartyRole::Member, PartyRole::Owner];
    const GROUPS: bool = false;

    fn founder(&self) -> Option<UserId> {
        self.owner
    }
}

/// Why there is no new project.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateProjectRefusal {
    /// Texts are too long or empty.
    #[error(transparent)]
    Text(#[from] TextProblems),
    /// QU-1
    #[error(transparent)]
    Quota(#[from] QuotaExceeded),
    /// The id belongs to another project.
    #[error("this id is already used")]
    IdTaken,
}

/// Creates a project (PR-1).
#[derive(Clone, Debug)]
pub struct CreateProject {
    /// Its id.
    pub project: ProjectId,
    /// The founder.
    pub owner: UserId,
    /// Its name, 1 to 100 characters.
    pub name: String,
    /// What it is about, at most 2,000 characters.
    pub description: String,
}

impl Command for CreateProject {
    type Refusal = CreateProjectRefusal;

    fn reads(&self, loaded: &LoadedState, reads: &mut ReadSet) {
        reads.make::<Project>(self.project);
        rights::read_quotas(self.owner, loaded, reads);
    }

    fn requires(&self, _: &LoadedState) -> Requirement {
        Requirement::one(Action::ProjectsCreate, Resource::kind(Project::KIND))
    }

    fn decide(&self, loaded: &LoadedState, _: &Context<'_>) -> Decision<CreateProjectRefusal> {
        if loaded.get::<Project>(self.project).owner.is_some() {
            return Err(CreateProjectRefusal::IdTaken.into());
        }
        let Label { name, description } =
            Label::try_new(&self.name, &self.description).map_err(CreateProjectRefusal::Text)?;
        let ledger: QuotaLedger = loaded.get(self.owner);
        let taken = ledger
            .take(
                &rights::quotas(self.owner, loaded),
                Quota::Projects,
                self.project.to_string(),
            )
            .map_err(CreateProjectRefusal::Quota)?;
        let created = ProjectEvent::Created {
            project: self.project,
            owner: self.owner,
            name,
            description,
        };
        Ok(NewEvents::record::<Project>(self.project, &created).and::<QuotaLedger>(self.owner, &taken))
    }
}
