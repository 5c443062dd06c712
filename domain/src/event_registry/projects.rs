//! Samples of the events of projects and experiments.

use super::{id, samples_of};
use crate::{
    id::{ExperimentId, ProjectId, UserId},
    projects::{experiment::ExperimentEvent, project::ProjectEvent},
};

const USER: UserId = UserId(id(1));
const PROJECT: ProjectId = ProjectId(id(4));

samples_of! {
    ProjectEvent {
        Created => ProjectEvent::Created {
            project: PROJECT,
            owner: USER,
            name: "Corpus".into(),
            description: "Poems and prose.".into(),
        },
    }
}

samples_of! {
    ExperimentEvent {
        Created => ExperimentEvent::Created {
            experiment: ExperimentId(id(5)),
            project: PROJECT,
            created_by: USER,
            name: "First".into(),
            description: String::new(),
        },
    }
}
