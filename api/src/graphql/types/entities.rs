//! Objects as the result of a mutation.
//!
//! One rule: each is read again as its own query reads it, so a payload shows nothing that the caller may not see.

use async_graphql::{Context, Result};
use domain::{
    access::assignment::Assignments,
    expectation::Expectation,
    id::{DatasetId, ExperimentId, JobId, ModelId, ProjectId, UserId, WorkerId},
    identity::user::User as Account,
    jobs::{job::Job as RecordedJob, worker::Worker as RecordedWorker},
};
use projections::{
    datasets::dataset::Datasets,
    history::AsOf,
    identity::user::Users,
    jobs::job::Jobs,
    models::model::Models,
    projects::{experiment::Experiments, project::Projects},
    read_model::{self, ReadModel, Viewer},
};

use super::{Dataset, Experiment, Job, Model, Project, User, Worker, node};
use crate::graphql::{
    context::{app, readable, user},
    errors::read_failed,
    mutation::Entity,
};

async fn row<M: ReadModel>(context: &Context<'_>, id: uuid::Uuid) -> Result<Option<M::Row>> {
    let Some(viewer) = readable(context) else {
        return Ok(None);
    };
    let row = read_model::find::<M>(&app(context)?.read_models, &viewer, AsOf::Now, id).await;
    row.map_err(|error| read_failed(&error))
}

macro_rules! entities {
    ($($object:ident of $model:ident by $id:ident $(counting $counted:ident)?),+ $(,)?) => {$(
        impl Entity for $object {
            type Id = $id;

            $(fn expectation(id: $id, version: u64) -> Expectation {
                Expectation::version(version).of::<$counted>(id)
            })?

            async fn load(context: &Context<'_>, id: $id) -> Result<Option<Self>> {
                Ok(row::<$model>(context, id.0).await?.map(Self::now))
            }
        }
    )+};
}

entities! {
    Project of Projects by ProjectId,
    Experiment of Experiments by ExperimentId,
    Dataset of Datasets by DatasetId,
    Model of Models by ModelId,
    Job of Jobs by JobId counting RecordedJob,
}

impl Entity for User {
    type Id = UserId;

    fn expectation(id: UserId, version: u64) -> Expectation {
        Expectation::version(version)
            .of::<Account>(id)
            .of::<Assignments>(id)
    }

    /// Whoever has just registered sees the account that came of it.
    async fn load(context: &Context<'_>, id: UserId) -> Result<Option<Self>> {
        let (app, caller) = (app(context)?, user(context));
        let viewer = match caller {
            Ok(caller) => Viewer::of(caller, app.now()),
            Err(_) => Viewer::everything(app.now()),
        };
        let row = read_model::find::<Users>(&app.read_models, &viewer, AsOf::Now, id.0).await;
        Ok(row.map_err(|error| read_failed(&error))?.map(Self))
    }
}

impl Entity for Worker {
    type Id = WorkerId;

    fn expectation(id: WorkerId, version: u64) -> Expectation {
        Expectation::version(version).of::<RecordedWorker>(id)
    }

    async fn load(context: &Context<'_>, id: WorkerId) -> Result<Option<Self>> {
        match readable(context) {
            Some(_) => node::worker(context, id).await,
            None => Ok(None),
        }
    }
}
