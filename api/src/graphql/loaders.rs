//! Loaders: one statement for all the rows that a request wants of a kind. Made anew for each request, so
//! nothing is carried from one caller to another.

mod ledgers;
mod made;
mod nested;

use std::{collections::HashMap, hash::Hash, marker::PhantomData, sync::Arc};

use async_graphql::dataloader::Loader;
use domain::id::{DatasetId, JobId, ModelId, ProjectId, UserId};
use projections::{
    access::assignment::{self, AssignmentRow},
    datasets::version::{self, VersionRow},
    history::AsOf,
    jobs::{
        queue::{self, Place},
        usage::{self, WorkerTime},
    },
    models::version::{self as model_version, ModelVersionRow},
    read_model::{ReadError, ReadModel, ReadModels, Viewer, find_many, shared_with},
};
use uuid::Uuid;

use crate::app::App;
pub use ledgers::LedgerLoader;
pub use made::{Fresh, Loaders, load, loader, remembering};
pub use nested::{CountLoader, Nested, NestedList, PageLoader};

fn group<K: Eq + Hash, R>(rows: Vec<R>, key: impl Fn(&R) -> K) -> HashMap<K, Vec<R>> {
    let mut groups: HashMap<K, Vec<R>> = HashMap::new();
    for row in rows {
        groups.entry(key(&row)).or_default().push(row);
    }
    groups
}

/// Roles of users, at moments.
pub struct RolesLoader(ReadModels);

impl Loader<(UserId, AsOf)> for RolesLoader {
    type Value = Vec<AssignmentRow>;
    type Error = Arc<ReadError>;
    async fn load(
        &self,
        keys: &[(UserId, AsOf)],
    ) -> Result<HashMap<(UserId, AsOf), Self::Value>, Self::Error> {
        let mut found = HashMap::new();
        for (as_of, users) in group(keys.to_vec(), |key| key.1) {
            let users: Vec<UserId> = users.into_iter().map(|(user, _)| user).collect();
            let rows = assignment::of_users(&self.0, as_of, &users).await?;
            found.extend(group(rows, |row| (row.user_id, as_of)));
        }
        Ok(found)
    }
}

/// Time on workers of the jobs in projects.
pub struct WorkerTimeLoader(ReadModels);

impl Loader<(ProjectId, AsOf)> for WorkerTimeLoader {
    type Value = WorkerTime;
    type Error = Arc<ReadError>;
    async fn load(
        &self,
        keys: &[(ProjectId, AsOf)],
    ) -> Result<HashMap<(ProjectId, AsOf), Self::Value>, Self::Error> {
        let mut found = HashMap::new();
        for (as_of, keys) in group(keys.to_vec(), |key| key.1) {
            let ids: Vec<ProjectId> = keys.into_iter().map(|(id, _)| id).collect();
            let times = usage::of_projects(&self.0, as_of, &ids).await?;
            found.extend(times.into_iter().map(|(id, time)| ((id, as_of), time)));
        }
        Ok(found)
    }
}

/// Places of waiting jobs.
pub struct PlaceLoader(ReadModels);

impl Loader<(JobId, AsOf)> for PlaceLoader {
    type Value = Place;
    type Error = Arc<ReadError>;
    async fn load(&self, keys: &[(JobId, AsOf)]) -> Result<HashMap<(JobId, AsOf), Self::Value>, Self::Error> {
        let mut found = HashMap::new();
        for (as_of, keys) in group(keys.to_vec(), |key| key.1) {
            let ids: Vec<JobId> = keys.into_iter().map(|(id, _)| id).collect();
            let places = queue::places(&self.0, as_of, &ids).await?;
            found.extend(places.into_iter().map(|(id, place)| ((id, as_of), place)));
        }
        Ok(found)
    }
}

/// Versions of datasets.
pub struct DatasetVersionsLoader(ReadModels);

impl Loader<(DatasetId, AsOf)> for DatasetVersionsLoader {
    type Value = Vec<VersionRow>;
    type Error = Arc<ReadError>;
    async fn load(
        &self,
        keys: &[(DatasetId, AsOf)],
    ) -> Result<HashMap<(DatasetId, AsOf), Self::Value>, Self::Error> {
        let mut found = HashMap::new();
        for (as_of, keys) in group(keys.to_vec(), |key| key.1) {
            let ids: Vec<DatasetId> = keys.into_iter().map(|(id, _)| id).collect();
            let rows = version::of_datasets(&self.0, as_of, &ids).await?;
            found.extend(group(rows, |row| (row.dataset_id, as_of)));
        }
        Ok(found)
    }
}

/// Versions of models.
pub struct ModelVersionsLoader(ReadModels);

impl Loader<(ModelId, AsOf)> for ModelVersionsLoader {
    type Value = Vec<ModelVersionRow>;
    type Error = Arc<ReadError>;
    async fn load(
        &self,
        keys: &[(ModelId, AsOf)],
    ) -> Result<HashMap<(ModelId, AsOf), Self::Value>, Self::Error> {
        let mut found = HashMap::new();
        for (as_of, keys) in group(keys.to_vec(), |key| key.1) {
            let ids: Vec<ModelId> = keys.into_iter().map(|(id, _)| id).collect();
            let rows = model_version::of_models(&self.0, as_of, &ids).await?;
            found.extend(group(rows, |row| (row.model_id, as_of)));
        }
        Ok(found)
    }
}

/// Rows of a read model, at moments, within what a viewer may see: the key carries the caller's scope.
pub struct VisibleLoader<M>(ReadModels, PhantomData<fn() -> M>);

type VisibleKey = (Uuid, AsOf, Viewer);

impl<M: ReadModel<Row: Clone>> Loader<VisibleKey> for VisibleLoader<M> {
    type Value = M::Row;
    type Error = Arc<ReadError>;
    async fn load(&self, keys: &[VisibleKey]) -> Result<HashMap<VisibleKey, M::Row>, Self::Error> {
        let mut found = HashMap::new();
        for ((as_of, viewer), keys) in group(keys.to_vec(), |key| (key.1, key.2.clone())) {
            let ids: Vec<String> = keys.iter().map(|(id, ..)| id.to_string()).collect();
            for (key, row) in find_many::<M>(&self.0, &viewer, as_of, &ids).await? {
                if let Ok(id) = key.parse() {
                    found.insert((id, as_of, viewer.clone()), row);
                }
            }
        }
        Ok(found)
    }
}

/// Which things were shared with a viewer.
pub struct SharedLoader(ReadModels);

impl Loader<(Uuid, Viewer)> for SharedLoader {
    type Value = ();
    type Error = Arc<ReadError>;
    async fn load(&self, keys: &[(Uuid, Viewer)]) -> Result<HashMap<(Uuid, Viewer), ()>, Self::Error> {
        let mut found = HashMap::new();
        for (viewer, keys) in group(keys.to_vec(), |key| key.1.clone()) {
            let ids: Vec<Uuid> = keys.into_iter().map(|(id, _)| id).collect();
            let shared = shared_with(&self.0, &viewer, &ids).await?;
            found.extend(shared.into_iter().map(|id| ((id, viewer.clone()), ())));
        }
        Ok(found)
    }
}

/// A loader that needs nothing but the read models.
macro_rules! of_read_models {
    ($($loader:ident),+) => {
        $(impl Fresh for $loader {
            fn fresh(app: &App) -> Self {
                Self(app.read_models.clone())
            }
        })+
    };
}

of_read_models!(
    RolesLoader,
    WorkerTimeLoader,
    PlaceLoader,
    DatasetVersionsLoader,
    ModelVersionsLoader,
    SharedLoader
);

impl<M: ReadModel> Fresh for VisibleLoader<M> {
    fn fresh(app: &App) -> Self {
        Self(app.read_models.clone(), PhantomData)
    }
}

/// Adds what makes loaders to a request.
#[must_use]
pub fn with_loaders(request: async_graphql::Request, app: &App) -> async_graphql::Request {
    request.data(Loaders::new(app.clone()))
}
