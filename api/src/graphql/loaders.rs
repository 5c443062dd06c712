//! Loaders: one statement for all the rows that a request wants of a kind. Made anew for each request, so
//! nothing is carried from one caller to another.

use std::{collections::HashMap, hash::Hash, sync::Arc};

use async_graphql::{
    dataloader::{DataLoader, Loader},
    runtime::{TokioSpawner, TokioTimer},
};
use domain::id::{DatasetId, ModelId, UserId};
use projections::{
    access::assignment::{self, AssignmentRow},
    datasets::version::{self, VersionRow},
    history::AsOf,
    models::version::{self as model_version, ModelVersionRow},
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

/// Adds fresh loaders to a request.
#[must_use]
pub fn with_loaders(request: async_graphql::Request, app: &App) -> async_graphql::Request {
    let pool = &app.pool;
    let timer = TokioTimer::default;
    request
        .data(AsOfLoader::fresh(app.clone()))
        .data(DataLoader::new(
            RolesLoader(pool.clone()),
            TokioSpawner::current(),
            timer(),
        ))
        .data(DataLoader::new(
            DatasetVersionsLoader(pool.clone()),
            TokioSpawner::current(),
            timer(),
        ))
        .data(DataLoader::new(
            ModelVersionsLoader(pool.clone()),
            TokioSpawner::current(),
            timer(),
        ))
}
