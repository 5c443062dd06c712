//! Models, their versions and where those come from. Files are downloaded by plain HTTP.

mod import;

pub use super::types::{Model, ModelFilter, ModelOrder};
use async_graphql::{Context, ID, Object, Result};
use domain::id::ModelId;
pub use import::{ImportModelInput, ImportModelPayload, ModelsMutation};
use projections::models::model::{ModelRow, Models};

use super::{
    as_of::AsOfInput,
    as_of::resolve_as_of,
    context::{honor_min_position, viewer},
    ids::id_or_not_found,
    paging::AsOfInfo,
    paging::{Connection, List},
    reads,
    reads::Wanted,
    scalars::Long,
};

/// The list of models.
const MODELS: List = List::by_id("models");

/// Queries about models.
#[derive(Default)]
pub struct ModelsQuery;

#[Object]
impl ModelsQuery {
    /// The models visible to the caller.
    #[expect(
        clippy::too_many_arguments,
        reason = "a resolver has an argument for each of its field"
    )]
    async fn models(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Filter; all models if omitted.")] filter: Option<ModelFilter>,
        #[graphql(desc = "Order; newest first if omitted.")] order: Option<ModelOrder>,
        #[graphql(desc = "Page size, 0 to 100; default 25.")] first: Option<i32>,
        #[graphql(desc = "Return rows after this cursor.")] after: Option<String>,
        #[graphql(desc = "Read as of this point in the past; now if omitted.")] as_of: Option<AsOfInput>,
        #[graphql(desc = "Wait until the response reflects this log position.")] min_position: Option<Long>,
    ) -> Result<Option<Connection<Model, AsOfInfo>>> {
        viewer(context)?;
        honor_min_position(context, min_position).await?;
        let resolved = resolve_as_of(context, as_of).await?;
        let wanted = Wanted::of(filter, order, first, after)?;
        let node = |row: ModelRow| (row.id.0.to_string(), Model(row, resolved));
        let connection = reads::list::<Models, _>(context, MODELS, resolved, wanted, node).await?;
        Ok(Some(connection))
    }

    /// One model.
    async fn model(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The model.")] id: ID,
        #[graphql(desc = "Read as of this point in the past; now if omitted.")] as_of: Option<AsOfInput>,
        #[graphql(desc = "Wait until the response reflects this log position.")] min_position: Option<Long>,
    ) -> Result<Option<Model>> {
        viewer(context)?;
        honor_min_position(context, min_position).await?;
        let Ok(id) = id_or_not_found::<ModelId>(&id) else {
            return Ok(None);
        };
        let resolved = resolve_as_of(context, as_of).await?;
        let row = reads::find::<Models>(context, resolved.as_of, id.0).await?;
        Ok(row.map(|row| Model(row, resolved)))
    }
}
