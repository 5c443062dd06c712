//! Lists of projects and experiments.
//!
//! One rule: see [`super`].

use async_graphql::{ID, InputObject, Result};
use domain::id::{ProjectId, UserId};
use projections::{
    projects::{experiment, project},
    read_model::RowFilter,
};

use crate::graphql::{
    filters::{AccessFilter, Conditions, Created, ListFilter},
    paging::list_order,
};

/// Filter of projects; all conditions must match.
#[derive(Debug, Default, InputObject)]
pub struct ProjectFilter {
    /// Text in the name, at most 100 characters; case-insensitive.
    pub name_contains: Option<String>,
    /// Owned by this user.
    pub owner_id: Option<ID>,
    /// Readable by the caller for this reason; an administrator's right to read everything is none.
    pub access: Option<AccessFilter>,
    /// When it was created.
    #[graphql(flatten)]
    pub created: Created,
}

impl ListFilter for ProjectFilter {
    fn rows(self) -> Result<RowFilter> {
        let name = self.name_contains.as_deref();
        let conditions = Conditions::default()
            .contains("filter.nameContains", &[project::NAME], name)?
            .id::<UserId>(project::OWNER, self.owner_id.as_ref())
            .access(self.access)
            .created(project::CREATED, self.created);
        Ok(conditions.rows())
    }
}

list_order! {
    /// Order of projects.
    ProjectOrder by
    /// What projects can be ordered by.
    ProjectOrderField = Created {
        /// Time of creation.
        Created,
        /// Name.
        Name => project::NAME,
    }
}

/// Filter of experiments; all conditions must match.
#[derive(Debug, Default, InputObject)]
pub struct ExperimentFilter {
    /// Text in the name, at most 100 characters; case-insensitive.
    pub name_contains: Option<String>,
    /// In this project.
    pub project_id: Option<ID>,
    /// Created by this user.
    pub created_by_id: Option<ID>,
    /// When it was created.
    #[graphql(flatten)]
    pub created: Created,
}

impl ListFilter for ExperimentFilter {
    fn rows(self) -> Result<RowFilter> {
        let name = self.name_contains.as_deref();
        let conditions = Conditions::default()
            .contains("filter.nameContains", &[experiment::NAME], name)?
            .id::<ProjectId>(experiment::PROJECT, self.project_id.as_ref())
            .id::<UserId>(experiment::CREATED_BY, self.created_by_id.as_ref())
            .created(experiment::CREATED, self.created);
        Ok(conditions.rows())
    }
}

list_order! {
    /// Order of experiments.
    ExperimentOrder by
    /// What experiments can be ordered by.
    ExperimentOrderField = Created {
        /// Time of creation.
        Created,
        /// Name.
        Name => experiment::NAME,
    }
}
