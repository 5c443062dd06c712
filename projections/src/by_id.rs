//! Rows by their ids, many at once, and how many there are: within what a viewer may see.
//!
//! One rule: the condition of a read model is that of its `find` and `list`, written once here as SQL.

use std::hash::Hash;

use domain::id::{DatasetId, ExperimentId, JobId, ModelId, ProjectId};
use sqlx::PgPool;

use crate::{
    datasets::dataset::{DatasetRow, Datasets},
    history::AsOf,
    jobs::job::{JobRow, Jobs},
    models::model::{ModelRow, Models},
    paging::Viewer,
    projects::{
        experiment::{ExperimentRow, Experiments},
        project::{ProjectRow, Projects},
    },
    read_model::{ReadError, ReadModel, count, fetch},
};

/// A read model whose rows belong to somebody.
pub trait ById: ReadModel {
    /// Names a row.
    type Id: Copy + Eq + Hash + Send + Sync + 'static;
    /// When the viewer `$1` may see the row `t`, in SQL.
    const VISIBLE: &'static str;
    /// The table, or what it was at a position; the present for a read model without history.
    fn table(as_of: AsOf) -> String;
    /// The row's id.
    fn id(row: &Self::Row) -> Self::Id;
    /// The id as the database keeps it.
    fn uuid(id: Self::Id) -> uuid::Uuid;
}

macro_rules! by_id {
    ($model:ident, $row:ident, $id:ident, $as_of:ident => $table:expr, $visible:literal) => {
        impl ById for $model {
            type Id = $id;
            const VISIBLE: &'static str = $visible;
            fn table($as_of: AsOf) -> String {
                $table
            }
            fn id(row: &$row) -> $id {
                row.id
            }
            fn uuid(id: $id) -> uuid::Uuid {
                id.0
            }
        }
    };
}

by_id!(Projects, ProjectRow, ProjectId, as_of => as_of.of::<Self>(), "t.owner_id = $1");
// The project as it is now: who may see the past is decided by the rights of today.
by_id!(Experiments, ExperimentRow, ExperimentId, as_of => as_of.of::<Self>(),
    "exists (select from projects_project p where p.id = t.project_id and p.owner_id = $1)");
by_id!(Jobs, JobRow, JobId, as_of => as_of.of::<Self>(), "t.owner_id = $1");
by_id!(Datasets, DatasetRow, DatasetId, _as_of => Self::TABLE.to_owned(), "(t.owner_id = $1 or t.visibility = 'public')");
by_id!(Models, ModelRow, ModelId, _as_of => Self::TABLE.to_owned(), "(t.owner_id = $1 or t.visibility = 'public')");

/// Those of `ids` that `viewer` may see, in no order.
///
/// # Errors
/// When the database fails.
pub async fn find_many<M: ById>(
    pool: &PgPool,
    as_of: AsOf,
    viewer: Viewer,
    ids: &[M::Id],
) -> Result<Vec<M::Row>, ReadError> {
    let (table, visible) = (M::table(as_of), M::VISIBLE);
    let statement = format!(
        "select to_jsonb(t)::text from {table} t where t.id = any($2) and ($1::uuid is null or {visible})"
    );
    let ids: Vec<uuid::Uuid> = ids.iter().copied().map(M::uuid).collect();
    fetch(pool, as_of.query(statement).bind(viewer.parameter()).bind(ids)).await
}

/// How many rows `viewer` may see; of one parent, where `of` names its column and its id.
///
/// # Errors
/// When the database fails.
pub async fn count_visible<M: ById>(
    pool: &PgPool,
    as_of: AsOf,
    viewer: Viewer,
    of: Option<(&'static str, uuid::Uuid)>,
) -> Result<i64, ReadError> {
    let (table, visible) = (M::table(as_of), M::VISIBLE);
    let within = of.map_or_else(String::new, |(column, _)| format!(" and t.{column} = $2"));
    let statement = format!("select count(*) from {table} t where ($1::uuid is null or {visible}){within}");
    let query = as_of.query(statement).bind(viewer.parameter());
    match of {
        Some((_, parent)) => count(pool, query.bind(parent)).await,
        None => count(pool, query).await,
    }
}
