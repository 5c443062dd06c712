//! Datasets. Their bytes are uploaded and downloaded by plain HTTP.

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use domain::{
    datasets::dataset::{CreateDataset, DatasetRefusal},
    id::DatasetId,
};
use projections::{datasets::dataset::DatasetRow, datasets::dataset::Datasets, history::AsOf};

use super::{
    as_of::AsOfInput,
    as_of::resolve_as_of,
    context::{Outcome, app, honor_min_position, run, user, viewer, wait_for_position},
    errors::error_with_code,
    ids::id_or_not_found,
    paging::AsOfInfo,
    paging::{Connection, List},
    reads,
    reads::Wanted,
    scalars::Long,
    user_error::{UserError, UserErrorCode},
    visibility::Visibility,
};

pub use super::types::Dataset;

/// The list of datasets.
const DATASETS: List = List::by_id("datasets.newest");

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
}

/// Payload of `createDataset`.
#[derive(SimpleObject)]
pub struct CreateDatasetPayload {
    /// The dataset; null on error.
    pub dataset: Option<Dataset>,
    /// Log position of the recorded event; pass it as `minPosition` to read your own write.
    pub position: Option<Long>,
    /// Every error in the input; empty on success.
    pub user_errors: Vec<UserError>,
}

/// Queries about datasets.
#[derive(Default)]
pub struct DatasetsQuery;

#[Object]
impl DatasetsQuery {
    /// The datasets visible to the caller, newest first.
    async fn datasets(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Page size, 0 to 100; default 25.")] first: Option<i32>,
        #[graphql(desc = "Return rows after this cursor.")] after: Option<String>,
        #[graphql(desc = "Read as of this point in the past; now if omitted.")] as_of: Option<AsOfInput>,
        #[graphql(desc = "Wait until the response reflects this log position.")] min_position: Option<Long>,
    ) -> Result<Option<Connection<Dataset, AsOfInfo>>> {
        viewer(context)?;
        honor_min_position(context, min_position).await?;
        let resolved = resolve_as_of(context, as_of).await?;
        let wanted = Wanted {
            first,
            after,
            ..Wanted::default()
        };
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
    ) -> Result<CreateDatasetPayload> {
        let owner = user(context)?.user;
        let dataset = DatasetId(app(context)?.ports.ids.next());
        let command = CreateDataset {
            dataset,
            owner,
            name: input.name,
            description: input.description,
            visibility: input.visibility.into(),
        };
        let wrong = |user_errors| {
            Ok(CreateDatasetPayload {
                dataset: None,
                position: None,
                user_errors,
            })
        };
        let position = match run(context, &command).await? {
            Outcome::Done(position) => position,
            Outcome::Refused(DatasetRefusal::Text(problems)) => {
                let user_error = |problem: domain::text::TextProblem| {
                    UserError::at(problem.field, problem.message, UserErrorCode::Invalid)
                };
                return wrong(problems.0.into_iter().map(user_error).collect());
            }
            Outcome::Refused(reason) => {
                return wrong(vec![UserError::whole(
                    reason.to_string(),
                    UserErrorCode::QuotaExceeded,
                )]);
            }
            Outcome::NotFound => return Err(error_with_code("NOT_FOUND", "not found")),
        };
        wait_for_position(context, position).await?;
        let dataset = reads::find::<Datasets>(context, AsOf::Now, dataset.0).await?;
        let dataset = dataset.map(Dataset::now);
        Ok(CreateDatasetPayload {
            dataset,
            position: Some(position.into()),
            user_errors: Vec::new(),
        })
    }
}
