//! The types of a connection (GraphQL Cursor Connections Specification).
//!
//! One rule: `totalCount` is counted when it is asked for, never before.

use std::{borrow::Cow, fmt, sync::Arc};

use async_graphql::{Object, ObjectType, OutputType, Result, SimpleObject, TypeName, connection::PageInfo};
use futures::future::BoxFuture;
use projections::read_model::ReadError;

use crate::graphql::{as_of::LogInstant, errors::read_failed};

/// Counts the rows of a whole list, when somebody asks.
pub struct Count(Option<Box<Counting>>);

type Counting = dyn Fn() -> BoxFuture<'static, Result<i64, Arc<ReadError>>> + Send + Sync;

impl fmt::Debug for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Count").field(&self.0.is_some()).finish()
    }
}

impl Count {
    /// The list is not counted: `totalCount` is null.
    pub const NONE: Self = Self(None);

    /// Counts with `count`.
    pub fn with<F>(count: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<i64, Arc<ReadError>>> + Send + 'static,
    {
        Self(Some(Box::new(move || Box::pin(count()))))
    }
}

/// The field `totalCount` of a connection.
#[derive(Debug)]
pub struct Counted(pub Count);

#[Object]
impl Counted {
    /// Number of rows of the whole list, under the same conditions; null where a list is not counted. Counted only
    /// when it is asked for.
    async fn total_count(&self) -> Result<Option<i32>> {
        let Some(count) = &self.0.0 else { return Ok(None) };
        let counted = count().await.map_err(|error| read_failed(&error))?;
        Ok(Some(i32::try_from(counted).unwrap_or(i32::MAX)))
    }
}

/// The fields of a connection whose rows have a history.
#[derive(Debug, SimpleObject)]
pub struct AsOfInfo {
    /// The past log position that the rows reflect; null for the present.
    pub as_of: Option<LogInstant>,
    #[graphql(flatten)]
    pub(super) counted: Counted,
}

/// A row with its cursor.
#[derive(SimpleObject)]
#[graphql(name_type)]
pub struct Edge<N: OutputType> {
    /// Pass it as `after` to go on after this row.
    pub cursor: String,
    /// The row.
    pub node: N,
}

impl<N: OutputType> TypeName for Edge<N> {
    fn type_name() -> Cow<'static, str> {
        format!("{}Edge", N::type_name()).into()
    }
}

/// A page of a list; `X` are its fields besides those of every connection.
pub struct Connection<N: OutputType, X: ObjectType = Counted> {
    edges: Vec<Edge<N>>,
    has_previous_page: bool,
    has_next_page: bool,
    additional: X,
}

impl<N: OutputType, X: ObjectType> Connection<N, X> {
    /// A page of `edges`.
    pub fn new(edges: Vec<Edge<N>>, has_previous_page: bool, has_next_page: bool, additional: X) -> Self {
        Self {
            edges,
            has_previous_page,
            has_next_page,
            additional,
        }
    }
}

impl<N: OutputType, X: ObjectType> TypeName for Connection<N, X> {
    fn type_name() -> Cow<'static, str> {
        format!("{}Connection", N::type_name()).into()
    }
}

/// A page of a list.
#[Object(name_type)]
impl<N: OutputType, X: ObjectType> Connection<N, X> {
    /// The rows with their cursors.
    async fn edges(&self) -> &[Edge<N>] {
        &self.edges
    }
    /// The rows.
    async fn nodes(&self) -> Vec<&N> {
        self.edges.iter().map(|edge| &edge.node).collect()
    }
    /// Where the page stands in the list.
    async fn page_info(&self) -> PageInfo {
        PageInfo {
            has_previous_page: self.has_previous_page,
            has_next_page: self.has_next_page,
            start_cursor: self.edges.first().map(|edge| edge.cursor.clone()),
            end_cursor: self.edges.last().map(|edge| edge.cursor.clone()),
        }
    }
    #[graphql(flatten)]
    async fn additional(&self) -> &X {
        &self.additional
    }
}
