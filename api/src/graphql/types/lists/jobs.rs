//! Lists of jobs.
//!
//! One rule: see [`super`].

use async_graphql::{ID, InputObject, Result};
use domain::{
    id::{DatasetId, ExperimentId, ModelId, ProjectId, UserId},
    jobs::job::{JobState as State, KindName},
};
use projections::{jobs::job, read_model::RowFilter};

use super::super::{JobKind, JobState};
use crate::graphql::{
    filters::{Conditions, Created, ListFilter},
    paging::list_order,
};

/// Filter of jobs; all conditions must match.
#[derive(Debug, Default, InputObject)]
pub struct JobFilter {
    /// Text in the name, at most 100 characters; case-insensitive.
    pub name_contains: Option<String>,
    /// Of one of these kinds; an empty list matches no job.
    pub kinds: Option<Vec<JobKind>>,
    /// In one of these states; an empty list matches no job.
    pub states: Option<Vec<JobState>>,
    /// Owned by this user.
    pub owner_id: Option<ID>,
    /// Of this project.
    pub project_id: Option<ID>,
    /// Of this experiment.
    pub experiment_id: Option<ID>,
    /// Training on this dataset, in any version.
    pub dataset_id: Option<ID>,
    /// Starting from this model, in any version.
    pub base_model_id: Option<ID>,
    /// With this resulting model.
    pub model_id: Option<ID>,
    /// When it was queued first.
    #[graphql(flatten)]
    pub created: Created,
}

impl ListFilter for JobFilter {
    fn rows(self) -> Result<RowFilter> {
        let name = self.name_contains.as_deref();
        let states = self
            .states
            .map(|states| states.into_iter().map(|state| State::from(state).name()));
        let kinds = self
            .kinds
            .map(|kinds| kinds.into_iter().map(|kind| KindName::from(kind).name()));
        let conditions = Conditions::default()
            .contains("filter.nameContains", &[job::NAME], name)?
            .any_of(job::KIND, kinds)
            .any_of(job::STATE, states)
            .id::<UserId>(job::OWNER, self.owner_id.as_ref())
            .id::<ProjectId>(job::PROJECT, self.project_id.as_ref())
            .id::<ExperimentId>(job::EXPERIMENT, self.experiment_id.as_ref())
            .id::<DatasetId>(job::DATASET, self.dataset_id.as_ref())
            .id::<ModelId>(job::BASE_MODEL, self.base_model_id.as_ref())
            .id::<ModelId>(job::MODEL, self.model_id.as_ref())
            .created(job::QUEUED, self.created);
        Ok(conditions.rows())
    }
}

list_order! {
    /// Order of jobs.
    JobOrder by
    /// What jobs can be ordered by.
    JobOrderField = Created {
        /// Time of creation.
        Created,
        /// Name.
        Name => job::NAME,
        /// Priority.
        Priority => job::PRIORITY,
    }
}
