//! Lists in the rows of a list: a page, or a count, for all of them by one statement.

use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
    marker::PhantomData,
    sync::Arc,
};

use async_graphql::dataloader::Loader;
use projections::{
    history::AsOf,
    paging::{Column, Page, PageRequest},
    read_model::{self, ReadError, ReadModel, ReadModels, RowFilter, Viewer},
};
use uuid::Uuid;

use super::{Fresh, group};
use crate::app::App;

/// The list of the rows that have `thing` in `column`.
#[derive(Clone, Debug)]
pub struct Nested {
    /// The thing that they are in.
    pub thing: Uuid,
    /// What is the same for all things of a list.
    pub list: Arc<NestedList>,
}

/// What is wanted of each thing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NestedList {
    /// The column that names the thing.
    pub column: Column,
    /// As of when.
    pub as_of: AsOf,
    /// Who reads.
    pub viewer: Viewer,
    /// Which rows.
    pub filter: RowFilter,
    /// Which page of them.
    pub page: PageRequest,
}

impl PartialEq for Nested {
    fn eq(&self, other: &Self) -> bool {
        self.thing == other.thing && self.list == other.list
    }
}

impl Eq for Nested {}

impl Hash for Nested {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Things tell most apart; lists of one thing are few.
        self.thing.hash(state);
    }
}

/// The keys by what is wanted of each thing.
fn lists(keys: &[Nested]) -> HashMap<Arc<NestedList>, Vec<Uuid>> {
    let groups = group(keys.to_vec(), |key| Arc::clone(&key.list)).into_iter();
    let things = |keys: Vec<Nested>| keys.into_iter().map(|key| key.thing).collect();
    groups.map(|(list, keys)| (list, things(keys))).collect()
}

/// Pages.
pub struct PageLoader<M>(ReadModels, PhantomData<fn() -> M>);

impl<M: ReadModel> Fresh for PageLoader<M> {
    fn fresh(app: &App) -> Self {
        Self(app.read_models.clone(), PhantomData)
    }
}

impl<M: ReadModel<Row: Clone>> Loader<Nested> for PageLoader<M> {
    type Value = Page<M::Row>;
    type Error = Arc<ReadError>;
    async fn load(&self, keys: &[Nested]) -> Result<HashMap<Nested, Self::Value>, Self::Error> {
        let mut found = HashMap::new();
        for (list, things) in lists(keys) {
            let of = (list.column, things.as_slice());
            let (viewer, filter, page) = (&list.viewer, &list.filter, &list.page);
            for (thing, page) in read_model::pages::<M>(&self.0, viewer, list.as_of, of, filter, page).await?
            {
                let list = Arc::clone(&list);
                found.insert(Nested { thing, list }, page);
            }
        }
        Ok(found)
    }
}

/// Counts.
pub struct CountLoader<M>(ReadModels, PhantomData<fn() -> M>);

impl<M: ReadModel> Fresh for CountLoader<M> {
    fn fresh(app: &App) -> Self {
        Self(app.read_models.clone(), PhantomData)
    }
}

impl<M: ReadModel> Loader<Nested> for CountLoader<M> {
    type Value = i64;
    type Error = Arc<ReadError>;
    async fn load(&self, keys: &[Nested]) -> Result<HashMap<Nested, i64>, Self::Error> {
        let mut found = HashMap::new();
        for (list, things) in lists(keys) {
            let of = (list.column, things.as_slice());
            let counts = read_model::counts::<M>(&self.0, &list.viewer, list.as_of, of, &list.filter).await?;
            for (thing, count) in counts {
                let list = Arc::clone(&list);
                found.insert(Nested { thing, list }, count);
            }
        }
        Ok(found)
    }
}
