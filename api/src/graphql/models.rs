//! Models, their versions and where those come from. Files are downloaded by plain HTTP.

mod import;

pub use super::types::Model;
use async_graphql::{Context, ID, Object, Result};
use domain::id::ModelId;
pub use import::{ImportModelInput, ImportModelPayload, ModelsMutation};
use projections::{by_id::count_visible, history::AsOf, models::model::Models};

use super::{
    context::{app, honor_min_position, viewer},
    errors::read_failed,
    ids::id_or_not_found,
    paging::{Connection, Count, List},
    scalars::Long,
};

/// The list of models.
const MODELS: List = List::by_id("models.newest");

/// Queries about models.
#[derive(Default)]
pub struct ModelsQuery;

#[Object]
impl ModelsQuery {
    /// The models visible to the caller, newest first.
    async fn models(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Page size, 0 to 100; default 25.")] first: Option<i32>,
        #[graphql(desc = "Return rows after this cursor.")] after: Option<String>,
        #[graphql(desc = "Wait until the response reflects this log position.")] min_position: Option<Long>,
    ) -> Result<Option<Connection<Model>>> {
        let (viewer, request) = (viewer(context)?, MODELS.page(first, after.as_deref())?);
        honor_min_position(context, min_position).await?;
        let pool = app(context)?.pool.clone();
        let rows = projections::models::model::list(&pool, viewer, &request).await;
        let rows = rows.map_err(|error| read_failed(&error))?;
        let count = Count::with(move || {
            let pool = pool.clone();
            async move { count_visible::<Models>(&pool, AsOf::Now, viewer, None).await }
        });
        let connection = MODELS.connect(rows, after.as_deref(), count, |row| {
            (row.id.0.to_string(), Model(row))
        });
        Ok(Some(connection))
    }

    /// One model.
    async fn model(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The model.")] id: ID,
        #[graphql(desc = "Wait until the response reflects this log position.")] min_position: Option<Long>,
    ) -> Result<Option<Model>> {
        let viewer = viewer(context)?;
        honor_min_position(context, min_position).await?;
        let Ok(id) = id_or_not_found::<ModelId>(&id) else {
            return Ok(None);
        };
        let row = projections::models::model::find(&app(context)?.pool, viewer, id).await;
        Ok(row.map_err(|error| read_failed(&error))?.map(Model))
    }
}
