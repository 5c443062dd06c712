//! Datasets. Their bytes are uploaded and downloaded by plain HTTP.

use async_graphql::{Context, ID, InputObject, Object, Result};
use domain::{
    datasets::dataset::{CreateDataset, DatasetRefusal},
    id::DatasetId,
};
use projections::datasets::dataset::{DatasetRow, Datasets};
use uuid::Uuid;

pub use super::types::{Dataset, DatasetFilter, DatasetOrder};

use super::{
    as_of::{AsOfInput, resolve_as_of},
    context::{honor_min_position, user, viewer},
    ids::id_or_not_found,
    mutation::{MutationCall, payload},
    paging::{AsOfInfo, Connection, List},
    reads::{self, Wanted},
    scalars::Long,
    user_error::{UserError, UserErrorCode, UserErrors},
    visibility::Visibility,
};

/// The list of datasets.
const DATASETS: List = List::by_id("datasets");

/// A new, empty dataset.
#[derive(InputObject)]
pub struct CreateDatasetInput {
    /// 1 to 100 characters.
    pub name: String,
    /// At most 2,000 characters.
    #[graphql(default)]
    pub description: String,
    /// Visibility; private if omitted.
    #[graphql(default_with = "Visibility::Private")]
    pub visibility: Visibility,
    /// Your id of this request, a random UUID: repeating it with the same input changes nothing and gives the first result.
    pub client_request_id: Option<Uuid>,
}

payload! {
    /// Payload of `createDataset`.
    CreateDatasetPayload {
        /// The dataset; null on error.
        dataset: Dataset
    }
}

impl UserErrors for DatasetRefusal {
    fn user_errors(self) -> Vec<UserError> {
        let message = self.to_string();
        match self {
            Self::Text(problems) => problems.user_errors(),
            Self::Quota(_) | Self::Storage(_) => {
                vec![UserError::whole(message, UserErrorCode::QuotaExceeded)]
            }
            Self::IdTaken => vec![UserError::whole(message, UserErrorCode::Invalid)],
        }
    }
}

/// Queries about datasets.
#[derive(Default)]
pub struct DatasetsQuery;

#[Object]
impl DatasetsQuery {
    /// The datasets visible to the caller.
    #[expect(
        clippy::too_many_arguments,
        reason = "a resolver has an argument for each of its field"
    )]
    async fn datasets(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Filter; all datasets if omitted.")] filter: Option<DatasetFilter>,
        #[graphql(desc = "Order; newest first if omitted.")] order: Option<DatasetOrder>,
        #[graphql(desc = "Page size, 0 to 100; default 25.")] first: Option<i32>,
        #[graphql(desc = "Return rows after this cursor.")] after: Option<String>,
        #[graphql(desc = "Read as of this point in the past; now if omitted.")] as_of: Option<AsOfInput>,
        #[graphql(desc = "Wait until the response reflects this log position.")] min_position: Option<Long>,
    ) -> Result<Option<Connection<Dataset, AsOfInfo>>> {
        viewer(context)?;
        honor_min_position(context, min_position).await?;
        let resolved = resolve_as_of(context, as_of).await?;
        let wanted = Wanted::of(filter, order, first, after)?;
        let node = |row: DatasetRow| (row.id.0.to_string(), Dataset(row, resolved));
        let connection = reads::list::<Datasets, _>(context, DATASETS, resolved, wanted, node).await?;
        Ok(Some(connection))
    }

    /// One dataset.
    async fn dataset(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The dataset.")] id: ID,
        #[graphql(desc = "Read as of this point in the past; now if omitted.")] as_of: Option<AsOfInput>,
        #[graphql(desc = "Wait until the response reflects this log position.")] min_position: Option<Long>,
    ) -> Result<Option<Dataset>> {
        viewer(context)?;
        honor_min_position(context, min_position).await?;
        let Ok(id) = id_or_not_found::<DatasetId>(&id) else {
            return Ok(None);
        };
        let resolved = resolve_as_of(context, as_of).await?;
        let row = reads::find::<Datasets>(context, resolved.as_of, id.0).await?;
        Ok(row.map(|row| Dataset(row, resolved)))
    }
}

/// Changes of datasets.
#[derive(Default)]
pub struct DatasetsMutation;

#[Object]
impl DatasetsMutation {
    /// Creates an empty dataset. Requires `datasets.create`, for a public one also `datasets.share`, and enough quota.
    async fn create_dataset(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The dataset.")] input: CreateDatasetInput,
    ) -> Result<Option<CreateDatasetPayload>> {
        let mut call = MutationCall::signed_in(context, &input)?;
        let (dataset, owner) = (call.fresh(), user(context)?.user);
        let command = CreateDataset {
            dataset,
            owner,
            name: input.name,
            description: input.description,
            visibility: input.visibility.into(),
        };
        call.finish(dataset, &command).await
    }
}
