//! The loaders of one request.
//!
//! One rule: each is made when it is first asked for, so that a request pays for those that it uses, and a subscription
//! holds no others as long as it lasts.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

use async_graphql::{
    Context, Error, Result,
    dataloader::{CacheFactory, DataLoader, HashMapCache, Loader, NoCache},
    runtime::{TokioSpawner, TokioTimer},
};

use crate::app::App;

/// A loader that can be made for a request.
pub trait Fresh: Send + Sync + 'static {
    /// One that knows nothing of earlier requests.
    fn fresh(app: &App) -> Self;
}

/// The loaders of one request.
pub struct Loaders {
    app: App,
    made: Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
}

impl Loaders {
    /// None yet.
    #[must_use]
    pub fn new(app: App) -> Self {
        let made = Mutex::default();
        Self { app, made }
    }

    fn of<L: Fresh, C: CacheFactory + Send + Sync + 'static>(
        &self,
        cache: C,
    ) -> Result<Arc<DataLoader<L, C>>> {
        // No step under the lock can panic half way.
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let loader = made.entry(TypeId::of::<DataLoader<L, C>>()).or_insert_with(|| {
            let (spawner, timer) = (TokioSpawner::current(), TokioTimer::default());
            Arc::new(DataLoader::with_cache(L::fresh(&self.app), spawner, timer, cache))
        });
        // It is filed under its type.
        Arc::clone(loader)
            .downcast()
            .map_err(|_| Error::new("a loader is not what it is filed as"))
    }
}

/// The request's loader `L`, which remembers nothing beyond the rows that are asked for at the same time.
///
/// # Errors
/// When the request has no loaders, which is a defect.
pub fn loader<L: Fresh>(context: &Context<'_>) -> Result<Arc<DataLoader<L>>> {
    context.data::<Loaders>()?.of(NoCache)
}

/// What the request's loader `L` finds under a key. Boxed: each field of a type has room for the largest of its fields, for
/// each row of a list.
///
/// # Errors
/// As [`loader`]; within it, that the loader failed.
pub async fn load<L, K>(context: &Context<'_>, key: K) -> Result<Result<Option<L::Value>, L::Error>>
where
    L: Fresh + Loader<K>,
    K: Send + Sync + Hash + Eq + Clone + 'static,
{
    let loader = loader::<L>(context)?;
    Ok(Box::pin(loader.load_one(key)).await)
}

/// The request's loader `L`, which answers a key for the whole request as it did first.
///
/// # Errors
/// As [`loader`].
pub fn remembering<L: Fresh>(context: &Context<'_>) -> Result<Arc<DataLoader<L, HashMapCache>>> {
    context.data::<Loaders>()?.of(HashMapCache::default())
}
