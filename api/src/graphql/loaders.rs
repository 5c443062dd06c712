//! Loaders: one statement for all the rows that a request wants of a kind. Made anew for each request, so
//! nothing is carried from one caller to another.

use std::{collections::HashMap, hash::Hash, marker::PhantomData, sync::Arc};

use async_graphql::{
    dataloader::{DataLoader, Loader},
    runtime::{TokioSpawner, TokioTimer},
};
use domain::id::{DatasetId, ModelId, UserId};
use projections::{
    access::assignment::{self, AssignmentRow},
    by_id::{ById, find_many},
    datasets::{
        dataset::Datasets,
        version::{self, VersionRow},
    },
    history::AsOf,
    identity::user::{self, UserRow},
    jobs::job::Jobs,
    models::{
        model::Models,
        version::{self as model_version, ModelVersionRow},
    },
    paging::Viewer,
    projects::{experiment::Experiments, project::Projects},
    read_model::ReadError,
};
use sqlx::PgPool;

use super::as_of::AsOfLoader;
use crate::app::App;

fn group<K: Eq + Hash, R>(rows: Vec<R>, key: impl Fn(&R) -> K) -> HashMap<K, Vec<R>> {
    let mut groups: HashMap<K, Vec<R>> = HashMap::new();
    for row in rows {
        groups.entry(key(&row)).or_default().push(row);
    }
    groups
}

/// Roles of users, at moments.
pub struct RolesLoader(PgPool);

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

/// Versions of datasets.
pub struct DatasetVersionsLoader(PgPool);

impl Loader<DatasetId> for DatasetVersionsLoader {
    type Value = Vec<VersionRow>;
    type Error = Arc<ReadError>;
    async fn load(&self, keys: &[DatasetId]) -> Result<HashMap<DatasetId, Self::Value>, Self::Error> {
        Ok(group(version::of_datasets(&self.0, keys).await?, |row| {
            row.dataset_id
        }))
    }
}

/// Versions of models.
pub struct ModelVersionsLoader(PgPool);

impl Loader<ModelId> for ModelVersionsLoader {
    type Value = Vec<ModelVersionRow>;
    type Error = Arc<ReadError>;
    async fn load(&self, keys: &[ModelId]) -> Result<HashMap<ModelId, Self::Value>, Self::Error> {
        Ok(group(model_version::of_models(&self.0, keys).await?, |row| {
            row.model_id
        }))
    }
}

/// Rows of a read model, at moments, within what a viewer may see: the key carries the caller's scope.
pub struct VisibleLoader<M>(PgPool, PhantomData<fn() -> M>);

impl<M: ById<Row: Clone>> Loader<(M::Id, AsOf, Viewer)> for VisibleLoader<M> {
    type Value = M::Row;
    type Error = Arc<ReadError>;
    async fn load(
        &self,
        keys: &[(M::Id, AsOf, Viewer)],
    ) -> Result<HashMap<(M::Id, AsOf, Viewer), M::Row>, Self::Error> {
        let mut found = HashMap::new();
        for ((as_of, viewer), keys) in group(keys.to_vec(), |key| (key.1, key.2)) {
            let ids: Vec<M::Id> = keys.into_iter().map(|(id, ..)| id).collect();
            let rows = find_many::<M>(&self.0, as_of, viewer, &ids).await?;
            found.extend(rows.into_iter().map(|row| ((M::id(&row), as_of, viewer), row)));
        }
        Ok(found)
    }
}

/// Accounts, for who may read them.
pub struct UsersLoader(PgPool);

impl Loader<UserId> for UsersLoader {
    type Value = UserRow;
    type Error = Arc<ReadError>;
    async fn load(&self, keys: &[UserId]) -> Result<HashMap<UserId, UserRow>, Self::Error> {
        let rows = user::find_many(&self.0, keys).await?;
        Ok(rows.into_iter().map(|row| (row.id, row)).collect())
    }
}

fn visible<M: ById>(pool: &PgPool) -> DataLoader<VisibleLoader<M>> {
    fresh(VisibleLoader(pool.clone(), PhantomData))
}

fn fresh<L: Send + Sync + 'static>(loader: L) -> DataLoader<L> {
    DataLoader::new(loader, TokioSpawner::current(), TokioTimer::default())
}

/// Adds fresh loaders to a request.
#[must_use]
pub fn with_loaders(request: async_graphql::Request, app: &App) -> async_graphql::Request {
    let pool = &app.pool;
    request
        .data(AsOfLoader::fresh(app.clone()))
        .data(fresh(RolesLoader(pool.clone())))
        .data(fresh(DatasetVersionsLoader(pool.clone())))
        .data(fresh(ModelVersionsLoader(pool.clone())))
        .data(fresh(UsersLoader(pool.clone())))
        .data(visible::<Projects>(pool))
        .data(visible::<Experiments>(pool))
        .data(visible::<Jobs>(pool))
        .data(visible::<Datasets>(pool))
        .data(visible::<Models>(pool))
}
