//! Datasets. Their bytes are uploaded and downloaded by plain HTTP.

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use domain::{
    datasets::dataset::{CreateDataset, DatasetRefusal},
    id::DatasetId,
};
use projections::{by_id::count_visible, datasets::dataset::Datasets, history::AsOf};

use super::{
    context::{Outcome, app, honor_min_position, run, user, viewer, wait_for_position},
    errors::{error_with_code, read_failed},
    ids::id_or_not_found,
    paging::{Connection, Count, List},
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
        #[graphql(desc = "Wait until the response reflects this log position.")] min_position: Option<Long>,
    ) -> Result<Option<Connection<Dataset>>> {
        let (viewer, request) = (viewer(context)?, DATASETS.page(first, after.as_deref())?);
        honor_min_position(context, min_position).await?;
        let pool = app(context)?.pool.clone();
        let rows = projections::datasets::dataset::list(&pool, viewer, &request).await;
        let rows = rows.map_err(|error| read_failed(&error))?;
        let count = Count::with(move || {
            let pool = pool.clone();
            async move { count_visible::<Datasets>(&pool, AsOf::Now, viewer, None).await }
        });
        let connection = DATASETS.connect(rows, after.as_deref(), count, |row| {
            (row.id.0.to_string(), Dataset(row))
        });
        Ok(Some(connection))
    }

    /// One dataset.
    async fn dataset(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The dataset.")] id: ID,
        #[graphql(desc = "Wait until the response reflects this log position.")] min_position: Option<Long>,
    ) -> Result<Option<Dataset>> {
        let viewer = viewer(context)?;
        honor_min_position(context, min_position).await?;
        let Ok(id) = id_or_not_found::<DatasetId>(&id) else {
            return Ok(None);
        };
        let row = projections::datasets::dataset::find(&app(context)?.pool, viewer, id).await;
        Ok(row.map_err(|error| read_failed(&error))?.map(Dataset))
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
        let row = projections::datasets::dataset::find(&app(context)?.pool, viewer(context)?, dataset).await;
        let dataset = row.map_err(|error| read_failed(&error))?.map(Dataset);
        Ok(CreateDatasetPayload {
            dataset,
            position: Some(position.into()),
            user_errors: Vec::new(),
        })
    }
}
